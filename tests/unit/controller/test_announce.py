"""Which decisions become Events, on what, and in which words."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from kube_upgrade.controller.announce import of_actions, of_status
from kube_upgrade.model.action import Decision, OrderNode, WithdrawOrder
from kube_upgrade.model.labels import CONTROL_PLANE_LABEL
from kube_upgrade.model.node import KubeadmRole, Node, NodeStatus, Order, Report
from kube_upgrade.model.plan import Plan
from kube_upgrade.model.snapshot import ClusterSnapshot
from kube_upgrade.model.status import Claim, HoldSummary, PlanStatus, Reason
from kube_upgrade.model.version import KubeVersion

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
OLD, NEW = KubeVersion.parse("v1.36.3"), KubeVersion.parse("v1.37.2")
NODE = Node(name="w1", uid="u", resource_version="1", created=NOON, ready=True, kubelet=OLD)
CLAIM = Claim(node="w1", uid="u", group="workers", version=NEW, since=NOON)
BUSY = PlanStatus(summary="Progressing: Upgrading groups [workers]", claims=(CLAIM,))


def said(
    node: Node,
    before: PlanStatus,
    after: PlanStatus,
    *actions: OrderNode | WithdrawOrder,
    others: tuple[Node, ...] = (),
) -> list[tuple[str, ...]]:
    plan = Plan(
        name="cluster", uid="p", resource_version="1", generation=1, created=NOON, version=NEW, groups=(), status=before
    )
    seen = ClusterSnapshot(now=NOON, plan=plan, nodes=(node, *others))
    decision = Decision(actions=actions, status=after, holds={}, hop=NEW, wake_at=None)
    found = [*of_actions(seen, actions), *of_status(seen, decision)]
    return [(each.type, each.regarding.kind, each.regarding.name, each.reason, each.note) for each in found]


def test_an_order_is_announced_on_its_node() -> None:
    order = OrderNode(
        node="w1", resource_version="1", claim=CLAIM, kubeadm=KubeadmRole.NODE, start_before=None, config={}
    )

    note = "upgrade to v1.37.2 ordered (kubeadm upgrade node)"
    assert said(NODE, BUSY, BUSY, order) == [("Normal", "Node", "w1", "UpgradeOrdered", note)]


@pytest.mark.parametrize(
    ("members", "note"),
    [
        (1, "the API will be away while cp1, one of 1 control planes, is upgraded"),
        (2, "the API will be away while cp1, one of 2 control planes, is upgraded"),
        (3, None),
    ],
)
def test_the_order_of_one_of_one_or_two_control_planes_warns_of_an_outage_of_the_api(
    members: int, note: str | None
) -> None:
    """etcd has no quorum while one of two members reboots."""
    first, *others = [replace(NODE, name=f"cp{n + 1}", labels={CONTROL_PLANE_LABEL: ""}) for n in range(members)]
    claim = replace(CLAIM, node="cp1")
    order = OrderNode(
        node="cp1", resource_version="1", claim=claim, kubeadm=KubeadmRole.APPLY, start_before=None, config={}
    )

    (_, *warnings) = said(first, BUSY, BUSY, order, others=(*others, NODE))
    assert warnings == ([("Warning", "Node", "cp1", "ApiOutageExpected", note)] if note else [])


def test_a_workers_order_warns_of_no_outage() -> None:
    order = OrderNode(
        node="w1", resource_version="1", claim=CLAIM, kubeadm=KubeadmRole.NODE, start_before=None, config={}
    )
    master = replace(NODE, name="cp1", labels={CONTROL_PLANE_LABEL: ""})

    assert [each[3] for each in said(NODE, BUSY, BUSY, order, others=(master,))] == ["UpgradeOrdered"]


def test_a_withdrawal_names_its_reason() -> None:
    action = WithdrawOrder(node="w1", resource_version="1", at=NOON, reason="the plan is paused: spec.paused")

    assert said(NODE, BUSY, BUSY, action) == [
        ("Normal", "Node", "w1", "UpgradeWithdrawn", "the plan is paused: spec.paused")
    ]


def test_a_released_claim_with_evidence_is_a_completed_upgrade() -> None:
    done = replace(NODE, kubelet=NEW)

    assert said(done, BUSY, replace(BUSY, claims=())) == [
        ("Normal", "Node", "w1", "UpgradeCompleted", "runs v1.37.2 and is Ready")
    ]


def test_a_claim_given_up_without_evidence_is_no_completed_upgrade() -> None:
    assert said(NODE, BUSY, replace(BUSY, claims=())) == []


def test_a_failed_node_is_a_warning_with_the_daemons_own_words() -> None:
    report = Report(status=NodeStatus.ERROR, message="kubeadm: etcd did not come up")
    broken = replace(NODE, order=Order(version=NEW), report=report)

    assert said(broken, BUSY, BUSY) == [("Warning", "Node", "w1", "UpgradeFailed", "kubeadm: etcd did not come up")]


def test_a_new_summary_and_a_new_hold_are_announced_on_the_plan_once() -> None:
    hold = HoldSummary(reason=Reason.PAUSED, message="the plan is paused: spec.paused", nodes=6, sample=("w1",))
    waiting = PlanStatus(summary="Waiting", holds=(hold,))

    assert said(NODE, PlanStatus(), waiting) == [
        ("Normal", "KubeUpgradePlan", "cluster", "Waiting", "Waiting"),
        ("Normal", "KubeUpgradePlan", "cluster", "Paused", "6 wait: the plan is paused: spec.paused"),
    ]
    assert said(NODE, waiting, waiting) == []
