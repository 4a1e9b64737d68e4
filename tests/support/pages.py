"""Tables of the pages in docs/reference, so that tests can hold them to the code."""

import re
from pathlib import Path

REFERENCE = Path(__file__).parents[2] / "docs/reference"
QUOTED = re.compile(r"`([^`]+)`")


def rows(page: str, section: str) -> list[list[str]]:
    """The cells of every row below this heading, without the tables' heads."""
    _, _, rest = (REFERENCE / page).read_text().partition(f"\n## {section}\n")
    lines = [line for line in rest.partition("\n## ")[0].splitlines() if line.startswith("|")]
    heads = {at - 1 for at, line in enumerate(lines) if line.startswith("|---")}
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for at, line in enumerate(lines)
        if at not in heads and not line.startswith("|---")
    ]


def words(cell: str) -> list[str]:
    """What stands in backticks."""
    return QUOTED.findall(cell)


def anchors(page: Path) -> set[str]:
    """The names by which a link finds the page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
