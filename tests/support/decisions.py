"""Questions that tests ask of one decision."""

from kube_upgrade.core.rollout.decide import decide
from kube_upgrade.model.action import ConfigureNode, OrderNode, WithdrawOrder
from kube_upgrade.model.snapshot import ClusterSnapshot
from kube_upgrade.model.status import Claim, Hold, PlanStatus, Reason


def held(snapshot: ClusterSnapshot, node: str) -> Reason | None:
    """The word for why this node waits."""
    hold = decide(snapshot).holds.get(node)
    return hold.reason if hold else None


def why(snapshot: ClusterSnapshot, node: str) -> str:
    """The sentence for it."""
    hold = decide(snapshot).holds.get(node)
    return hold.message if hold else ""


def holding(snapshot: ClusterSnapshot, node: str) -> Hold | None:
    return decide(snapshot).holds.get(node)


def status(snapshot: ClusterSnapshot) -> PlanStatus:
    return decide(snapshot).status


def claims(snapshot: ClusterSnapshot) -> dict[str, Claim]:
    """Claims after the decision, by node."""
    return {claim.node: claim for claim in decide(snapshot).status.claims}


def started(snapshot: ClusterSnapshot) -> list[str]:
    """The nodes that are newly claimed, in order."""
    before = {(claim.node, claim.uid) for claim in snapshot.plan.status.claims}
    return [claim.node for claim in decide(snapshot).status.claims if (claim.node, claim.uid) not in before]


def orders(snapshot: ClusterSnapshot) -> dict[str, OrderNode]:
    return {each.node: each for each in decide(snapshot).actions if isinstance(each, OrderNode)}


def withdrawals(snapshot: ClusterSnapshot) -> dict[str, WithdrawOrder]:
    return {each.node: each for each in decide(snapshot).actions if isinstance(each, WithdrawOrder)}


def configured(snapshot: ClusterSnapshot) -> dict[str, ConfigureNode]:
    return {each.node: each for each in decide(snapshot).actions if isinstance(each, ConfigureNode)}
