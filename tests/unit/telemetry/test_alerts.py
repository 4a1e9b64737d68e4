"""The alert rules that ship ask for metrics, labels and values that exist, and say what to do."""

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import pytest
import yaml

from kube_upgrade.core.node_steps.report import PHASES
from kube_upgrade.core.rollout.report import BROKEN
from kube_upgrade.model.status import NodeCounts, Reason
from support.pages import anchors
from support.series import metric_labels

TOP = Path(__file__).parents[3]
TARGET = frozenset({"job", "instance"})  # Prometheus adds them to every series
KNOWN = metric_labels() | {"up": frozenset()}  # and makes this one for every target
VALUES: dict[str, set[str]] = {
    "reason": set(Reason),
    "state": {field.name for field in fields(NodeCounts)},
    "phase": {*PHASES, "unknown"},
}
SELECTOR = re.compile(r"\b((?:kube_upgrade|upgraded|fleetlock)_\w+|up)\b(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)(=~|!~|!=|=)"([^"]*)"')
BY = re.compile(r"\bby \(([^)]*)\)")


@dataclass(frozen=True)
class Alert:
    """One rule; `selected` are its metrics with what they are filtered by."""

    name: str
    expr: str
    annotations: dict[str, str]

    @property
    def selected(self) -> list[tuple[str, list[tuple[str, str, str]]]]:
        return [(name, MATCHER.findall(filters)) for name, filters in SELECTOR.findall(self.expr)]

    @property
    def labels(self) -> set[str]:
        """Those of all its metrics."""
        return {label for name, _ in self.selected for label in KNOWN[name] | TARGET}

    @property
    def kept(self) -> set[str]:
        """Those that the alert has: what it sums by, or all."""
        by = {label.strip() for said in BY.findall(self.expr) for label in said.split(",")}
        return by if "by (" in self.expr else self.labels


def alerts() -> Iterator[Alert]:
    for file in sorted((TOP / "deploy/monitoring").glob("*.yaml")):
        for group in yaml.safe_load(file.read_text())["groups"]:
            for rule in group["rules"]:
                yield Alert(rule["alert"], rule["expr"], rule["annotations"])


ALERTS = list(alerts())
each_alert = pytest.mark.parametrize("alert", ALERTS, ids=[alert.name for alert in ALERTS])


def test_there_are_rules_for_each_program() -> None:
    names = [alert.name for alert in ALERTS]
    assert len(set(names)) == len(names)
    assert {re.match("KubeUpgrade|Upgraded|FleetLock", name).group() for name in names} == {  # type: ignore[union-attr]
        "KubeUpgrade",
        "Upgraded",
        "FleetLock",
    }


@each_alert
def test_metrics_and_labels_are_ours(alert: Alert) -> None:
    assert alert.selected
    for name, filters in alert.selected:
        assert name in KNOWN
        assert {label for label, _, _ in filters} <= KNOWN[name] | TARGET
    assert alert.kept <= alert.labels


@each_alert
def test_values_that_are_asked_for_can_be_there(alert: Alert) -> None:
    for _, filters in alert.selected:
        for label, _, value in filters:
            assert label not in VALUES or set(value.split("|")) <= VALUES[label]


@each_alert
def test_it_says_what_to_do_of_what_it_knows_and_where_more_stands(alert: Alert) -> None:
    said = alert.annotations
    assert set(said) == {"summary", "description", "runbook"}
    assert set(re.findall(r"\$labels\.(\w+)", " ".join(said.values()))) <= alert.kept
    page, _, anchor = said["runbook"].partition("#")
    assert not anchor or anchor in anchors(TOP / page)
    assert (TOP / page).exists()


def test_every_reason_that_makes_a_plan_degraded_alerts_when_it_stays() -> None:
    (blocked,) = [alert for alert in ALERTS if alert.name == "KubeUpgradeBlocked"]
    ((_, [(label, _, value)]),) = blocked.selected
    assert label == "reason"
    assert {str(reason) for reason in BROKEN} <= set(value.split("|"))


def test_a_counter_that_an_alert_watches_is_there_before_it_counts() -> None:
    """Prometheus takes a series that begins at 1 for no increase: the first drain given up would alert nobody."""
    code = (
        "import kube_upgrade.fleetlock.main; from prometheus_client import REGISTRY;"
        "print(REGISTRY.get_sample_value('fleetlock_drains_total', {'outcome': 'gave_up'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout.strip() == "0.0"
