"""Trying again and giving up: bounded, with back-off, and never with the lock of a node that nothing was done to."""

from datetime import datetime, timedelta

from kube_upgrade.core.node_steps.case import Case
from kube_upgrade.core.node_steps.pace import CEILING, pause_after
from kube_upgrade.core.node_steps.release import give_back, relock
from kube_upgrade.core.node_steps.verify import well
from kube_upgrade.model.host import HostSnapshot, Try
from kube_upgrade.model.step import Failed, Step, Wait

RELEASE_SOONEST = timedelta(seconds=2)
RELEASE_CEILING = timedelta(minutes=1)


def attempt(case: Case, name: str, step: Step) -> Step:
    """The step, a wait until its next try is due, or the end of trying.

    What nobody ordered and nobody waits for (an OS update, a prefetch) is tried for ever, with pauses; after as many
    tries as an order gets its pauses are spent in service.
    """
    tried = case.facts.tries.get(name)
    if tried is None:
        return step
    waits = backing_off(case.seen, name, tried)
    if tried.count < case.seen.rules.attempts:
        return waits or step
    if case.ordered or case.committed:
        return _worn_out(case, name, tried)
    in_service = returned(case, waits.message) if waits and case.locked else None
    return in_service or waits or step


def spent(case: Case) -> Step | None:
    """What comes after the lock was tried as often as may be: the node is not taken out of service for it again.

    For what nobody ordered it is, once in each pause.
    """
    if case.locked:
        return None
    for name in ("etcd", "kubeadm", "kubeadm-effect", "reboot"):
        tried = case.facts.tries.get(name)
        if tried is not None and tried.count >= case.seen.rules.attempts:
            return _worn_out(case, name, tried) if case.ordered else backing_off(case.seen, name, tried)
    return None


def _worn_out(case: Case, name: str, tried: Try) -> Step:
    return give_up(case, tried.reason, f"{name} failed {tried.count} times, the last time: {tried.message}")


def backing_off(
    seen: HostSnapshot, name: str, tried: Try, *, soonest: timedelta | None = None, ceiling: timedelta = CEILING
) -> Wait | None:
    """The wait until the next try, if it is not due yet. A clock that was set back never lengthens it."""
    base = seen.config.retry_interval or timedelta(minutes=1)
    base = base if soonest is None else min(base, soonest)
    seed = f"{seen.machine_id}/{name}"
    again = min(tried.last, seen.now) + pause_after(tried.count, base=base, seed=seed, ceiling=ceiling)
    message = f"{name} failed, next try later: {tried.message}"
    return Wait(reason=tried.reason, message=message, until=again) if seen.now < again else None


def give_up(case: Case, reason: str, message: str, until: datetime | None = None) -> Step:
    """Say why. Before step 3 the lock goes back first; from step 3 on lock and cordon stay. Nothing stays unlocked."""
    if catch := relock(case.seen, case.facts):
        return catch
    if not case.committed and (release := returned(case, message)):
        return release
    soon = case.now + case.seen.rules.poll if case.touched and not case.committed else None
    return Failed(reason=reason, message=message + _kept(case), until=until or soon)


def _kept(case: Case) -> str:
    """What stays, in words. A record without a yes is one that was lost, or a confirmation that was refused."""
    if case.locked and (case.committed or case.touched):
        return " (lock and cordon are kept)"
    return " (a lock may be held)" if case.touched else ""


def returned(case: Case, message: str) -> Step | None:
    """The way back of a lock that is or may be held, for a goal that is not reached. None where there is none.

    A lock under which something was begun, or may have been, goes back with a node that is well; as long as it is not,
    and where kubeadm has run here of which nothing is known, it stays.
    """
    if case.touched and (_unknown_run(case) or not well(case)):
        return None
    return resting(case.seen, give_back(case.seen, case.facts, message=message))


def _unknown_run(case: Case) -> bool:
    job, run = case.seen.kubeadm_job, case.facts.kubeadm
    return job is not None and (run is None or run.key != job.key)


def resting(seen: HostSnapshot, step: Step | None) -> Step | None:
    """A release is asked for ever, with short pauses: a slot that is not given back stops others.

    After the reboot of a cluster's only control plane the lock server comes up seconds after the node is proven.
    """
    tried = seen.facts.tries.get("release")
    if step is None or tried is None:
        return step
    return backing_off(seen, "release", tried, soonest=RELEASE_SOONEST, ceiling=RELEASE_CEILING) or step
