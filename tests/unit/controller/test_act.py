"""What each action writes on a Node."""

from datetime import UTC, datetime

from kube_upgrade.controller.act import annotations
from kube_upgrade.model.action import ConfigureNode, ForgetNode, OrderNode, WithdrawOrder
from kube_upgrade.model.node import KubeadmRole
from kube_upgrade.model.status import Claim
from kube_upgrade.model.version import KubeVersion

NODE = "node.kube-upgrade.heathcliff.eu/"
CONFIG = "config.kube-upgrade.heathcliff.eu/"
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
CLAIM = Claim(node="w1", uid="u", group="workers", version=KubeVersion.parse("v1.37.2"), since=NOON)


def test_an_order_is_one_patch_with_version_role_status_and_settings() -> None:
    order = OrderNode(
        node="w1",
        resource_version="5",
        claim=CLAIM,
        kubeadm=KubeadmRole.NODE,
        start_before=NOON,
        config={"stream": "example.com/os", "log-level": None},
    )

    assert annotations(order) == {
        NODE + "kubernetesVersion": "v1.37.2",
        NODE + "kubeadm": "node",
        NODE + "status": "pending",
        NODE + "startBefore": "2026-11-24T12:00:00Z",
        NODE + "stage": None,
        NODE + "osUpdates": "no",
        CONFIG + "stream": "example.com/os",
        CONFIG + "log-level": None,
    }


def test_an_order_without_a_window_removes_an_old_start_before() -> None:
    order = OrderNode(
        node="w1", resource_version="5", claim=CLAIM, kubeadm=KubeadmRole.APPLY, start_before=None, config={}
    )

    assert annotations(order)[NODE + "startBefore"] is None


def test_a_withdrawal_takes_the_order_and_leaves_its_moment() -> None:
    withdrawal = WithdrawOrder(node="w1", resource_version="5", at=NOON, reason="the plan is paused")

    assert annotations(withdrawal) == {
        NODE + "kubernetesVersion": None,
        NODE + "kubeadm": None,
        NODE + "startBefore": None,
        NODE + "withdrawn": "2026-11-24T12:00:00Z",
    }


def test_a_permission_and_a_fetch_are_written_with_the_settings_in_one_patch() -> None:
    action = ConfigureNode(
        node="w1", resource_version="5", config={}, os_updates=NOON, stage=KubeVersion.parse("v1.37.2")
    )

    assert annotations(action) == {NODE + "osUpdates": "2026-11-24T12:00:00Z", NODE + "stage": "v1.37.2"}
    over = ConfigureNode(node="w1", resource_version="5", config={}, os_updates="no", unstage=True)
    assert annotations(over) == {NODE + "osUpdates": "no", NODE + "stage": None}


def test_a_forgotten_node_keeps_only_what_its_daemon_said() -> None:
    action = ForgetNode(node="w1", resource_version="5", config=("stream",))

    gone = ("kubernetesVersion", "kubeadm", "startBefore", "stage", "osUpdates", "withdrawn")
    assert annotations(action) == dict.fromkeys([NODE + key for key in gone] + [CONFIG + "stream"])


def test_settings_alone_touch_nothing_else() -> None:
    action = ConfigureNode(node="w1", resource_version="5", config={"fleetlock-group": "workers"})

    assert annotations(action) == {CONFIG + "fleetlock-group": "workers"}
