"""Step 1, in service and without a lock: find out the digest, fetch and stage it, fetch the control plane's images."""

from datetime import timedelta

from kube_upgrade.core.node_steps.case import Case
from kube_upgrade.core.node_steps.failure import attempt, give_up, returned
from kube_upgrade.core.node_steps.goal import next_check
from kube_upgrade.core.node_steps.kubeadm import binary
from kube_upgrade.core.node_steps.release import relock
from kube_upgrade.model.host import GoalKind
from kube_upgrade.model.step import Idle, PullImages, ResolveImage, StageImage, Step, VerifyImage, Wait, Why


def allowed(case: Case) -> Step | None:
    """Only streams that the host's owner allows."""
    streams = case.seen.rules.allowed_streams
    if not streams or case.goal.repository in streams:
        return None
    message = f"stream {case.goal.repository!r} is not among allowedStreams of this host: {', '.join(streams)}"
    if case.goal.kind is GoalKind.KUBERNETES:
        return give_up(case, Why.STREAM_NOT_ALLOWED, message)
    return Wait(reason=Why.STREAM_NOT_ALLOWED, message=message, until=case.now + case.seen.rules.poll * 30)


def catch(case: Case) -> Step | None:
    """What is staged and unlocked is locked before anything else, as long as no reboot was asked for in this boot."""
    asked = case.facts.reboot is not None and case.facts.reboot.boot_id == case.seen.boot_id
    return None if asked else relock(case.seen, case.facts)


def resolve(case: Case) -> Step | None:
    """A tag becomes a digest once; in service a running tag is looked up again each check interval."""
    due = case.goal.kind is GoalKind.OS and not case.locked and case.now >= next_check(case.seen)
    if not due and (case.facts.digest or case.wanted_booted):
        return None
    return attempt(case, "resolve", ResolveImage(reference=case.goal.reference))


def trusted(case: Case) -> Step | None:
    """Signed by the owner's key before it is staged, and before one that is staged already is used."""
    policy, digest = case.seen.rules.verification, case.facts.digest
    if policy is None or case.wanted_booted or case.facts.trusted == policy.proof(digest):
        return None
    step = VerifyImage(reference=case.goal.reference, digest=digest, proof=policy.proof(digest))
    return attempt(case, "verify-image", step)


def stage(case: Case) -> Step | None:
    """Staged and locked, by digest."""
    if case.wanted_booted or case.wanted_staged:
        return None
    unsigned = bool(case.seen.config.allow_unsigned_ostree_images)
    step = StageImage(reference=case.goal.reference, digest=case.facts.digest, unsigned=unsigned)
    return attempt(case, "stage", step)


def pull_images(case: Case) -> Step | None:
    """On a control plane the new static pods' images, by the kubeadm that will need them."""
    version, found = case.goal.version, binary(case)
    if not case.seen.control_plane or version is None or case.goal.kind is GoalKind.OS or case.kubeadm_done:
        return None
    if case.facts.images_for == version or found is None:
        return None
    return attempt(case, "images", PullImages(version=version, kubeadm=found))


def os_busy(case: Case) -> Step | None:
    """One transaction at a time: another one is waited for."""
    os = case.seen.os
    if os is None or not os.transaction or case.wanted_booted:
        return None
    return Wait(reason=Why.OS_BUSY, message=f"rpm-ostree is busy: {os.transaction}", until=case.now + _soon(case))


def only_fetch(case: Case) -> Step | None:
    """A prefetch ends here, with no lock."""
    if case.goal.kind is not GoalKind.PREFETCH:
        return None
    return returned(case, "only to be fetched") or Idle(until=next_check(case.seen))


def _soon(case: Case) -> timedelta:
    return case.seen.rules.poll
