"""docs/reference/failure-matrix.md: what was seen of each cell in memory, and the cells of real processes."""

from collections.abc import Sequence

from support.failure_matrix import FAULTS, OS_STEPS, STEPS, Cell
from support.real_cells import CELLS, PROVEN, Who

INTRODUCTION = """\
# What becomes of a node when something goes wrong

One control-plane node in memory, with the daemon's own rules, effects and loop; the fault strikes at the
step's first call, in the last three columns at each. `tests/properties/test_failure_matrix.py` runs every cell and
compares this page with what it saw (`--update-golden` writes it).
*proven*: at the target, reported, lock given back. —: no such case, since nobody can doubt an answer that says yes.
`lock image`: the staged image whose reboot never comes is locked again. `clean up`: one that did not boot goes.
"""
ORDERED = """
## An order: `kubeadm upgrade apply`
"""
OS = """
## An OS update: the running tag was rebuilt, nothing is ordered

The same without kubeadm. Nobody waits for it: what fails before the reboot is tried again for ever, with pauses and
without the lock; `status` is never touched. An image that did not boot is not tried again; the tag's next build is.
"""
REAL = """
## With real processes

The daemon's own process on a stand-in disk, and the lock server's, against a real API server and etcd; kill -9,
SIGTERM, a power cut, a full disk and an API server away for ten seconds strike when the node says that it is at the
step.
All end proven but where another end is named. *lock kept*: the lock server counts its slot and the node is cordoned;
else the slot is free and the node in service, whatever the daemon says. An OS update never changed `status`.
`tests/integration/test_failure_cells.py` plays a sample with another seed each time and every cell that ever failed;
`make campaign` all of them, with what was seen in docs/campaigns/.

| step | worker | control plane | OS update |
|---|---|---|---|
"""


def page(ends: dict[Cell, str]) -> str:
    """The whole page, from the ends that were seen."""
    tables = (INTRODUCTION, ORDERED, _table(ends, STEPS, os=False), OS, _table(ends, OS_STEPS, os=True), REAL)
    steps = dict.fromkeys(cell.step for cell in CELLS)
    rows = (f"| {step} | {' | '.join(_faults(who, step) for who in Who)} |" for step in steps)
    return "\n".join((*(text.rstrip("\n") for text in tables), *rows)) + "\n"


def _table(ends: dict[Cell, str], steps: Sequence[str], *, os: bool) -> str:
    lines = ["", f"| step | {' | '.join(FAULTS)} |", f"|---|{'---|' * len(FAULTS)}"]
    for step in steps:
        row = (ends.get(Cell(step=step, fault=fault, os=os), "—") for fault in FAULTS)
        lines.append(f"| {step} | {' | '.join(row)} |")
    return "\n".join(lines)


def _faults(who: Who, step: str) -> str:
    cells = [cell for cell in CELLS if (cell.who, cell.step) == (who, step)]
    return ", ".join(cell.fault + ("" if cell.end == PROVEN else f" (*{cell.end}*)") for cell in cells) or "—"
