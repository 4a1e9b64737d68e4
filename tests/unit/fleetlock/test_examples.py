"""The config files that ship are read, and mean what their folder says."""

import re
from pathlib import Path

import yaml

from kube_upgrade.fleetlock.config import Surroundings, parse
from kube_upgrade.fleetlock.settings import StoreKind

DEPLOY = Path(__file__).parents[3] / "deploy"


def test_the_example_for_a_fleet_keeps_its_slots_in_the_units_own_folder(tmp_path: Path) -> None:
    found = parse((DEPLOY / "fleetlock/config.yaml").read_text(), Surroundings(state=tmp_path))

    assert (found.store, found.cluster, found.sqlite) == (StoreKind.SQLITE, False, tmp_path / "locks.db")


def test_what_only_root_may_read_reaches_the_units_user_as_a_credential() -> None:
    """DynamicUser= can't open a key of root's with mode 0600."""
    config = (DEPLOY / "fleetlock/config.yaml").read_text()
    unit = (DEPLOY / "fleetlock/fleetlock.service").read_text()
    named = re.findall(r"\b(key|pathPrefixFile|readTokenFile): ([^\s}]+)", config)
    shown = re.findall(r"^#?LoadCredential=(\S+?):/etc/fleetlock/", unit, re.M)

    assert len(named) == 3
    assert [path for _, path in named] == [f"/run/credentials/fleetlock.service/{name}" for name in shown]


def test_the_config_of_the_cluster_uses_its_own_api_server() -> None:
    documents = yaml.safe_load_all((DEPLOY / "base/fleetlock.yaml").read_text())
    text = next(each for each in documents if each["kind"] == "ConfigMap")["data"]["config.yaml"]

    found = parse(text, Surroundings(in_pod=True))

    assert (found.store, found.cluster) == (StoreKind.KUBERNETES, True)
    assert found.slots == {"default": 1, "control-plane": 1, "workers": 1}


def test_every_right_that_the_lock_server_gets_is_in_its_reference_and_no_other() -> None:
    rules = [
        rule
        for each in yaml.safe_load_all((DEPLOY / "base/fleetlock-rbac.yaml").read_text())
        for rule in each.get("rules", ())
    ]
    rights = {resource: rule["verbs"] for rule in rules for resource in rule["resources"]}

    assert rights == {
        "nodes": ["get", "list", "watch", "patch"],
        "pods": ["list", "watch"],
        "pods/eviction": ["create"],
        "leases": ["get", "list", "watch", "create", "update"],
        "events": ["create", "patch"],
    }
