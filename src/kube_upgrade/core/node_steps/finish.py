"""Step 6: report, then release; and what is given back where nothing is wanted (any more)."""

from kube_upgrade.core.node_steps.case import Case
from kube_upgrade.core.node_steps.failure import resting, returned
from kube_upgrade.core.node_steps.release import give_back, relock
from kube_upgrade.core.node_steps.verify import verify
from kube_upgrade.model.host import HostSnapshot
from kube_upgrade.model.node import NodeStatus
from kube_upgrade.model.step import Idle, ReportCompleted, Step, Wait, Why


def complete(case: Case) -> Step | None:
    """`completed` where the order is still this one; another order's status is not ours to write."""
    order, reported = case.node.order, case.node.report.status
    if not case.ordered or reported is NodeStatus.COMPLETED or (order and order.version != case.goal.version):
        return None
    return ReportCompleted()


def release(case: Case) -> Step | None:
    """The lock of a proven node, given back for good."""
    return resting(case.seen, give_back(case.seen, case.facts, proven=True))


def withdrawn(case: Case) -> Step | None:
    """Not yet in step 3, an order ends by its own time or by a person's hold: the lock goes back, the image stays."""
    late = case.goal.start_before is not None and case.now > case.goal.start_before
    if case.committed or not case.ordered or not (late or case.node.hold is not None):
        return None
    why, message = Why.NODE_HOLD, "this node carries the hold annotation"
    if late:
        why, message = Why.WITHDRAWN, "too late to begin: startBefore has passed"
    soon = case.now + case.seen.rules.poll if case.touched else None
    return relock(case.seen, case.facts) or returned(case, message) or Wait(reason=why, message=message, until=soon)


def lock_without_use(case: Case) -> Step | None:
    """A lock is held only for an image that is staged or runs. One of unknown origin is kept while an order is open:

    the node may have been half-way when its state was lost.
    """
    lock = case.facts.lock
    if (
        lock is None
        or case.touched
        or case.committed
        or case.wanted_booted
        or case.wanted_staged
        or (case.ordered and not lock.url)
    ):
        return None
    return returned(case, "nothing is staged for it")


def well_again(case: Case) -> Step:
    """Nothing is wanted any more, but something was begun under the lock: it goes back when the node is well."""
    return relock(case.seen, case.facts) or verify(case) or release(case) or Idle()


def loose_ends(seen: HostSnapshot) -> Step | None:
    """Nothing is wanted: nothing is kept either, except an image that is staged and locked."""
    return relock(seen, seen.facts) or resting(seen, give_back(seen, seen.facts))
