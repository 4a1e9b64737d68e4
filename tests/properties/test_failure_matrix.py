"""Every step × every fault: the node ends proven, or in `error` with the right reason, lock and cordon."""

from pathlib import Path

import pytest

from kube_upgrade.telemetry import logs
from support.failure_matrix import CELLS, Cell, outcome, play, wrong
from support.matrix_page import page

TABLE = Path(__file__).parents[2] / "docs/reference/failure-matrix.md"


@pytest.fixture(autouse=True)
def _quiet() -> None:
    logs.configure("error")


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_the_node_comes_to_an_end_that_it_may_come_to(cell: Cell) -> None:
    world = play(cell)
    complaint = wrong(cell, world)
    assert not complaint, "\n".join([complaint, *world.log[-30:], str(world.saved)])


def test_the_table_in_the_docs_is_what_happens(request: pytest.FixtureRequest) -> None:
    """Regenerate with --update-golden and read what changed."""
    seen = page({cell: outcome(cell, play(cell)) for cell in CELLS})
    if request.config.getoption("--update-golden"):
        TABLE.write_text(seen)
    assert seen == TABLE.read_text()
