"""What the last life of this host left behind, read from deployments and boot-id."""

from enum import StrEnum

from kube_upgrade.core.node_steps.case import Case
from kube_upgrade.core.node_steps.failure import attempt, give_up, resting
from kube_upgrade.core.node_steps.release import give_back
from kube_upgrade.core.node_steps.verify import lacking, settled
from kube_upgrade.model.step import CleanUp, MarkBad, Step, Why


class Verdict(StrEnum):
    """Where the wanted image stands."""

    ABSENT = "absent"
    STAGED = "staged"
    BOOTED = "booted"
    FELL_BACK = "fell back"  # it was the next boot's default, was booted, and another image runs


def verdict(case: Case) -> Verdict:
    """BOOTED before FELL_BACK: a node that runs what is wanted has not fallen back.

    A finalised image that does not run has been tried. One that is gone after a reboot was never written to disk (a
    power cut before the shutdown ended): it is staged again, within the bounded tries of a reboot.
    """
    if case.wanted_booted:
        return Verdict.BOOTED
    if case.wanted_staged:
        return Verdict.STAGED
    return Verdict.FELL_BACK if _left_over(case) else Verdict.ABSENT


def fell_back(case: Case) -> Step | None:
    """Mark the image, take it out of the boot order, give the lock of a healthy node back, and say so."""
    digest = case.facts.digest
    if verdict(case) is Verdict.FELL_BACK and not case.bad:
        return MarkBad(digest=digest, message=f"the host fell back from {case.goal.reference} ({digest[:19]}…)")
    if not case.bad:
        return None
    os = case.seen.os
    if os is not None and os.failed_boot(digest):
        return attempt(case, "cleanup", CleanUp())
    message = f"{case.facts.bad_digests[digest]}; it is not tried again"
    if case.committed and settled(case):
        return resting(case.seen, give_back(case.seen, case.facts, message=message)) or give_up(
            case, Why.BAD_IMAGE, message
        )
    if case.committed:
        wrong = ", ".join(lacking(case)) or "settling"
        return give_up(case, Why.BAD_IMAGE, f"{message}; {wrong}", case.now + case.seen.rules.poll)
    return give_up(case, Why.BAD_IMAGE, message)


def _left_over(case: Case) -> bool:
    """The image is among the deployments, neither running nor staged: by rule the next default, or after our reboot."""
    os, digest, reboot = case.seen.os, case.facts.digest, case.facts.reboot
    if os is None or not digest:
        return False
    after_reboot = reboot is not None and reboot.boot_id != case.seen.boot_id and reboot.digest == digest
    return os.failed_boot(digest) or (after_reboot and any(found.digest == digest for found in os.deployments))
