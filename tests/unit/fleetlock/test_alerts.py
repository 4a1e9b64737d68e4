"""The alert rules that ship name metrics that exist."""

import re
import subprocess
import sys
from pathlib import Path

import yaml
from prometheus_client import REGISTRY

from kube_upgrade.telemetry import metrics

RULES = Path(__file__).parents[3] / "deploy/monitoring/fleetlock-alerts.yaml"


def test_a_counter_that_an_alert_watches_is_there_before_it_counts() -> None:
    """Prometheus takes a series that begins at 1 for no increase: the first drain given up would alert nobody."""
    code = (
        "import kube_upgrade.fleetlock.main; from prometheus_client import REGISTRY;"
        "print(REGISTRY.get_sample_value('fleetlock_drains_total', {'outcome': 'gave_up'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout.strip() == "0.0"


def test_every_metric_of_the_alert_rules_is_one_of_ours() -> None:
    assert metrics.OLDEST_HOLDER
    known = {name for family in REGISTRY.collect() for name in (family.name, f"{family.name}_total")}
    rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]

    used = {name for rule in rules for name in re.findall(r"\bfleetlock_[a-z_]+", rule["expr"])}

    assert {rule["alert"] for rule in rules} >= {"FleetLockHeldForLong", "FleetLockDrainBlocked"}
    assert used
    assert used <= known
