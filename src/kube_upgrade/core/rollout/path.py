"""The way from here to the target: minor by minor, one full pass of the cluster per hop."""

from collections.abc import Iterable
from dataclasses import dataclass

from kube_upgrade.model.node import Node
from kube_upgrade.model.plan import Plan
from kube_upgrade.model.pod import STATIC_PODS
from kube_upgrade.model.snapshot import ClusterSnapshot
from kube_upgrade.model.status import Hold, Reason
from kube_upgrade.model.version import KubeVersion

WORKER_SKEW = 3  # minors that a kubelet may be behind an API server (version skew policy)


@dataclass(frozen=True, slots=True)
class Path:
    """All hops, the last one being the target, or the reason why there is no way."""

    hops: tuple[KubeVersion, ...]
    down: bool = False  # a downgrade: versions must be met exactly
    problem: Hold | None = None

    @property
    def target(self) -> KubeVersion:
        """Where the plan wants the cluster."""
        return self.hops[-1]

    def passed(self, version: KubeVersion | None, hop: KubeVersion) -> bool:
        """True where something at `version` need not move for this hop."""
        if version is None:
            return False
        return version == hop if self.down or hop == self.target else version >= hop


def find_path(seen: ClusterSnapshot) -> Path:
    """The hops of the plan, checked against the API servers that are there."""
    plan, servers = seen.plan, api_servers(seen)
    known = [version for version in servers.values() if version is not None]
    hops = (*sorted({hop for hop in plan.via if hop < plan.version}), plan.version)
    if not servers or len(known) < len(servers):
        return Path(hops, problem=_unknown(servers))
    lowest, highest = min(known), max(known)
    if highest > plan.version:
        return _downgrade(plan, highest)
    return Path(hops, problem=_skipped(lowest, hops))


def control_planes(seen: ClusterSnapshot) -> list[Node]:
    """The nodes with kubeadm's label, and those on which Kubernetes' static pods run though somebody took it away:
    else two could be upgraded at once, and workers before them."""
    running = {pod.node for pod in seen.static_pods if pod.component in STATIC_PODS}
    return [node for node in seen.nodes if node.control_plane or node.name in running]


def api_servers(seen: ClusterSnapshot) -> dict[str, KubeVersion | None]:
    """Version of the API server on each control-plane node; None where its mirror pod does not show one.

    kubeadm takes the pod of a claimed node away for a moment: then its kubelet tells, which is never newer.
    """
    pods = {pod.node: pod.version for pod in seen.static_pods if pod.component == "kube-apiserver"}
    claimed = {claim.node for claim in seen.plan.status.claims}
    found = control_planes(seen)
    known = {node.name: node.kubelet for node in found if node.name in claimed}
    return {node.name: pods.get(node.name) or known.get(node.name) for node in found}


def too_far(plan: Plan, node: Node, hop: KubeVersion, *, control_plane: bool) -> Hold | None:
    """The step this one node would make, where it skips minors that the plan does not let it skip."""
    if node.kubelet is None:
        return Hold(Reason.VERSION_UNKNOWN, "the node reports no kubelet version")
    if node.kubelet > hop and hop != plan.version:
        return Hold(Reason.DOWNGRADE_REFUSED, f"kubelet {node.kubelet} is beyond {hop}, a version on the way")
    if node.kubelet > hop and not plan.allow_downgrade:
        why = f"kubelet {node.kubelet} is newer than {hop}: allowDowngrade is false"
        return Hold(Reason.DOWNGRADE_REFUSED, why)
    distance = hop.minors_above(node.kubelet)
    reach = WORKER_SKEW if plan.workers_skip_hops and not control_plane else 1
    if distance > reach:
        why = f"kubelet {node.kubelet} is {distance} minors behind {hop}: {_mend(control_plane)}"
        return Hold(Reason.MINOR_SKIPPED, why)
    return None


def _mend(control_plane: bool) -> str:
    if control_plane:
        return "add the versions in between to spec.via"
    return "add the versions in between to spec.via, or set spec.workersSkipHops"


def _unknown(servers: dict[str, KubeVersion | None]) -> Hold:
    blind = [name for name, version in servers.items() if version is None]
    if not blind:
        return Hold(Reason.VERSION_UNKNOWN, "no control-plane node is known: the API server's version can't be told")
    return Hold(Reason.VERSION_UNKNOWN, f"no mirror pod shows the API server's version on {', '.join(blind)}")


def _downgrade(plan: Plan, highest: KubeVersion) -> Path:
    hops = (plan.version,)
    if not plan.allow_downgrade:
        why = f"an API server runs {highest}, newer than {plan.version}: allowDowngrade is false"
        return Path(hops, down=True, problem=Hold(Reason.DOWNGRADE_REFUSED, why))
    if highest.minors_above(plan.version) > 1:
        why = f"{highest} to {plan.version} is more than one minor down: kubeadm refuses that"
        return Path(hops, down=True, problem=Hold(Reason.DOWNGRADE_REFUSED, why))
    return Path(hops, down=True)


def _skipped(lowest: KubeVersion, hops: Iterable[KubeVersion]) -> Hold | None:
    at = lowest
    for hop in hops:
        if hop.minors_above(at) > 1:
            missing = ", ".join(f"{at.major}.{minor}" for minor in range(at.minor + 1, hop.minor))
            why = f"{at} to {hop} skips minor {missing}: add a version of each to spec.via"
            return Hold(Reason.MINOR_SKIPPED, why)
        at = max(at, hop)
    return None
