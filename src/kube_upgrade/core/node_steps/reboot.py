"""Step 4: into the staged image. A command that returned is not a reboot; only a new boot-id is."""

from kube_upgrade.core.node_steps.case import Case
from kube_upgrade.core.node_steps.failure import attempt, give_up
from kube_upgrade.core.node_steps.lock import confirmed
from kube_upgrade.model.step import Reboot, Step, Wait, Why


def under_way(case: Case) -> Step | None:
    """A reboot that was asked for in this boot and unlocked the image is waited for before anything else."""
    asked = case.facts.reboot
    staged = case.seen.staged
    if asked is None or asked.boot_id != case.seen.boot_id or staged is None or staged.locked:
        return None
    deadline = asked.asked + case.seen.rules.reboot_within
    if case.now >= deadline:
        return None
    return Wait(reason=Why.REBOOTING, message=f"rebooting into {case.goal.reference}", until=deadline)


def kubelet_is_local(case: Case) -> Step | None:
    """A kubelet of a new minor may not start against another, older API server (stories.md 2 #15)."""
    version, kubelet = case.goal.version, case.node.kubelet
    if case.wanted_booted or not case.seen.control_plane or version is None or kubelet is None:
        return None
    if kubelet.release == version.release or case.seen.kubelet_server_local:
        return None
    server = case.seen.kubelet_server or "unreadable"
    message = (
        f"kubelet.conf points at {server}, not at this node's own API server, and a {version} kubelet may not talk to "
        "an older one: set `server:` to the local API server, or enable ControlPlaneKubeletLocalMode; then retry"
    )
    return give_up(case, Why.KUBELET_NOT_LOCAL, message, case.now + case.seen.rules.poll * 5)


def reboot(case: Case) -> Step | None:
    """Ask, and ask again where no reboot came or the image was lost on the way."""
    staged = case.seen.staged
    if case.wanted_booted or staged is None:
        return None
    step = attempt(case, "reboot", Reboot(digest=case.facts.digest, allow_unlocked=not staged.locked))
    return confirmed(case, step) if isinstance(step, Reboot) else step
