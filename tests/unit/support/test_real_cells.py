"""The list of cells that every run plays keeps up with what campaigns have seen."""

import re
from pathlib import Path

from support.real_cells import CELLS, EVER_FAILED, RENAMED

PAGES = Path(__file__).parents[3] / "docs/campaigns"
ROW = re.compile(r"^\| ((?:worker|control plane|OS update): [^|]+) \| ([^|]+) \|", re.MULTILINE)


def test_every_cell_that_a_campaign_saw_end_otherwise_is_played_in_every_run() -> None:
    """Under its present name, where it was renamed or replaced since."""
    ends = {str(cell): cell.end for cell in CELLS}
    seen = [row for page in PAGES.glob("*.md") for row in ROW.findall(page.read_text())]
    failed = {RENAMED.get(cell, cell) for cell, end in seen if end != ends.get(cell)}
    assert seen
    assert failed <= {str(cell) for cell in EVER_FAILED}
