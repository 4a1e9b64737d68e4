"""What each reason to wait means, and what to do about it: the page docs/reference/reasons.md and people read this."""

from dataclasses import dataclass

from kube_upgrade.model.status import Reason


@dataclass(frozen=True, slots=True)
class Remedy:
    """One reason in words."""

    meaning: str
    remedy: str


NOTHING = "Nothing: it passes."

REMEDIES: dict[Reason, Remedy] = {
    Reason.FOREIGN_CONTROLLER: Remedy(
        "Another controller overwrites the plan's status; nothing is started until it was silent for two minutes.",
        "Stop one of the two, usually upstream's upgrade-controller.",
    ),
    Reason.ANOTHER_PLAN_ACTIVE: Remedy("An older plan exists; only the oldest acts.", "Delete one of them."),
    Reason.PLAN_DELETED: Remedy("The plan is being deleted.", NOTHING),
    Reason.PAUSED: Remedy("`spec.paused` of the plan or of the group is set.", "Set it to false to go on."),
    Reason.NODE_HOLD: Remedy(
        "The node carries the annotation `node.kube-upgrade.heathcliff.eu/hold`.", "Remove it when you are done."
    ),
    Reason.GROUP_CONFLICT: Remedy(
        "Several groups select the node.", "Change the selectors so that one group selects it."
    ),
    Reason.INVALID_SETTING: Remedy(
        "A setting that the API server can't check is wrong, such as an unknown time zone.",
        "The message names field, value and what would be right.",
    ),
    Reason.UNMANAGED_CONTROL_PLANE: Remedy(
        "A control-plane node is behind and not exactly one group selects it; everything else waits for it.",
        "Let one group select it.",
    ),
    Reason.ORDER_WITHDRAWN: Remedy(
        "The node's order was taken back; its lock and cordon are not yet given back.",
        "Nothing, unless it stays: then look at the node's daemon.",
    ),
    Reason.VERSION_UNKNOWN: Remedy(
        "No mirror pod shows the version of a control plane's API server, a node reports no kubelet version, "
        "or the ConfigMap kubeadm-config can't be read.",
        "Look at the pod kube-apiserver-NODE in kube-system and at the node's kubelet, or at what the message names.",
    ),
    Reason.DOWNGRADE_REFUSED: Remedy(
        "Something is newer than the target.", "Correct `spec.kubernetesVersion`, or set `spec.allowDowngrade`."
    ),
    Reason.MINOR_SKIPPED: Remedy(
        "The way to the target skips a minor.",
        "Add a version of each minor in between to `spec.via`; for workers `spec.workersSkipHops` may do.",
    ),
    Reason.KUBELET_TOO_OLD: Remedy(
        "After the next hop a kubelet would be more than three minors behind an API server, and kubeadm refuses that. "
        "It may be on a node that no group selects.",
        "Upgrade the nodes that the message names first (a group that selects them and each minor in between in "
        "`spec.via` will do), or take them out of the cluster.",
    ),
    Reason.OUTSIDE_WINDOW: Remedy(
        "No window is open, or a node of this group would not be done before it closes or a freeze begins. In the "
        "first quarter of a window that no freeze cuts short, one node of each group at a time may begin all the same.",
        "Wait for the next, or widen `spec.windows`.",
    ),
    Reason.FREEZE: Remedy("A freeze covers this moment.", "Wait for its end, or remove it from `spec.freezes`."),
    Reason.API_UNHEALTHY: Remedy(
        "An API server or etcd member that is not being upgraded is not Ready.", "Repair that control-plane node."
    ),
    Reason.CONTROL_PLANE_FIRST: Remedy("Control-plane nodes go one at a time, and before all workers.", NOTHING),
    Reason.QUORUM_AT_RISK: Remedy(
        "Without this node too few etcd members would be healthy.", "Repair the other members first."
    ),
    Reason.DEPENDENCY: Remedy(
        "A group that this one depends on is not done.", "Nothing, unless that group is empty or failed."
    ),
    Reason.TOO_MANY_FAILURES: Remedy(
        "As many nodes of the group have failed as `maxFailures` allows.",
        "Repair them; `node.kube-upgrade.heathcliff.eu/retry` with the current time lets a node try again.",
    ),
    Reason.SOAKING: Remedy("A finished node has to stay healthy for the group's `soak`.", NOTHING),
    Reason.NODE_NOT_READY: Remedy(
        "The node is not Ready, and such a node is never started.", "Repair it or take it out of the cluster."
    ),
    Reason.NOT_PROVEN: Remedy(
        "The daemon reports completed, but the evidence is missing: kubelet version, Ready or static pods.",
        "Look at the node; the message says what is missing.",
    ),
    Reason.BUDGET: Remedy(
        "As many nodes of the group are out of service as `maxUnavailable` allows; cordoned and not-Ready ones count.",
        "Nothing, or uncordon and repair the nodes that the message names.",
    ),
    Reason.LOCK_BUSY: Remedy(
        "The node waits for a FleetLock slot.", "Nothing; give the lock group more slots if that is meant."
    ),
    Reason.DRAIN_BLOCKED: Remedy(
        "The node holds a slot and its drain does not get on; the message names pod and PodDisruptionBudget.",
        "Let the workload have one more replica, or relax its budget.",
    ),
    Reason.STALLED: Remedy(
        "The node has been at it for longer than `spec.progressDeadline` since kubeadm began; it counts as failed.",
        "Look at the node. It keeps its lock, if it has one, and goes on by itself if it can; one that was rolled back "
        "after its daemon had said completed is freed and ordered anew.",
    ),
    Reason.PATCH_REFUSED: Remedy(
        "The node is claimed, and the API server refuses its order; the message has the server's words.",
        "Mend the right, the admission policy or the webhook that refuses it. It is tried again each minute at least.",
    ),
}  # fmt: skip
