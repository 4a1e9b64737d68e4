"""What deploy/base lets the programs do is what they call, and nothing else: a new right is written down here first."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from kube_upgrade.lab import data

BASE = data.folder("deploy") / "base"
CONTROLLER = {
    "nodes": {"list", "watch", "patch"},  # informer; orders are patched
    "kubeupgradeplans": {"get", "list", "watch"},  # informer; read again after a conflict
    "kubeupgradeplans/status": {"update"},  # claims by compare-and-swap
    "configmaps": {"get"},  # kubeadm-config
    "pods": {"list", "watch"},  # the control plane's, in kube-system
    "leases": {"get", "create", "update"},  # election by client-go's rules
    "events": {"create", "patch"},  # a repetition patches its series
}
FLEETLOCK = {
    "nodes": {"get", "list", "watch", "patch"},  # informer; the cordon
    "pods": {"list", "watch"},  # of a node that is drained
    "pods/eviction": {"create"},
    "leases": {"get", "list", "watch", "create", "update"},  # slots by compare-and-swap
    "events": {"create", "patch"},
}


@pytest.mark.parametrize(
    ("file", "called"), [("upgrade-controller-rbac.yaml", CONTROLLER), ("fleetlock-rbac.yaml", FLEETLOCK)]
)
def test_nothing_is_allowed_that_is_not_called(file: str, called: dict[str, set[str]]) -> None:
    allowed: dict[str, set[str]] = {}
    for resource, verb in rights(BASE / file):
        allowed.setdefault(resource, set()).add(verb)
    assert allowed == called


def rights(file: Path) -> Iterator[tuple[str, str]]:
    documents: list[dict[str, Any]] = list(yaml.safe_load_all(file.read_text()))
    for role in documents:
        for rule in role.get("rules", []):
            yield from ((resource, verb) for resource in rule["resources"] for verb in rule["verbs"])
