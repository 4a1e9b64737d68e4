"""What docs/reference says of metrics and phases is what there is."""

import re

from kube_upgrade.core.node_steps.report import PHASES
from support.pages import REFERENCE, rows, words
from support.series import metric_labels

PAGES = {"controller.md": "kube_upgrade_", "upgraded.md": "upgraded_", "fleetlock.md": "fleetlock_"}
METRIC = re.compile(r"(\w+)(?:\{([\w,]+)\})?")


def told(page: str) -> dict[str, frozenset[str]]:
    """The metrics of a page with their labels."""
    named = (METRIC.fullmatch(word) for row in rows(page, "Metrics") for word in words(row[0]))
    return {found[1]: frozenset(found[2].split(",") if found[2] else ()) for found in named if found}


def test_every_metric_is_in_the_table_of_its_program_with_its_labels_and_no_other_is() -> None:
    known = metric_labels()
    for page, prefix in PAGES.items():
        table = told(page)
        assert {name for name in known if name.startswith(prefix)} <= table.keys(), page
        assert table.items() <= known.items(), page


def test_every_phase_of_a_daemon_is_named_and_no_other() -> None:
    said = (REFERENCE / "upgraded.md").read_text().partition("`attempt` say more: ")[2].partition(".")[0]
    assert set(re.split(r",\s+", said)) == PHASES
