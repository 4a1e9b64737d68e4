"""What deploy/base lets the programs do is what they call, and nothing else: a new right is written down here first."""

import pytest

from support.rights import BASE, Rights, rights

CONTROLLER = {
    "nodes": {"get", "list", "watch", "patch"},  # informer; orders are patched; one is read again before its claim ends
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
def test_nothing_is_allowed_that_is_not_called(file: str, called: Rights) -> None:
    assert rights(BASE / file) == called
