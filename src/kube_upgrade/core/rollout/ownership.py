"""Is somebody else writing this plan's status? The Lease keeps upstream's controller out only where both use one."""

from datetime import datetime, timedelta

from kube_upgrade.model.snapshot import ClusterSnapshot

CONDITION = "ForeignController"
SILENCE = timedelta(minutes=2)  # upstream's controller writes each minute


def foreign_until(seen: ClusterSnapshot) -> datetime | None:
    """Until when another controller has to be reckoned with; None where there is no sign of one.

    Upstream replaces the whole status by its two fields, so ours vanish beside a summary that stays.
    """
    status = seen.plan.status
    if status.summary and not status.observed_generation:
        return seen.now + SILENCE
    known = next((each for each in status.conditions if each.type == CONDITION and each.status), None)
    if known is None or seen.now >= known.last_transition + SILENCE:
        return None
    return known.last_transition + SILENCE
