"""What is given back: the slot, and the safety catch of a staged image."""

from kube_upgrade.model.host import Facts, HostSnapshot
from kube_upgrade.model.step import LockStaged, ReleaseLock


def give_back(seen: HostSnapshot, facts: Facts, *, proven: bool = False, message: str = "") -> ReleaseLock | None:
    """The release of a lock that is or may be held, there where it was asked for. None where there is none."""
    lock = facts.lock
    if lock is None:
        return None
    url, group = lock.url or seen.config.fleetlock_url or "", lock.group or seen.config.fleetlock_group or ""
    return ReleaseLock(url=url, group=group, proven=proven, message=message) if url else None


def relock(seen: HostSnapshot, facts: Facts) -> LockStaged | None:
    """Lock our staged image where any reboot would apply it; after as many failures as are allowed it is let be."""
    staged = seen.staged
    if staged is None or staged.locked or not facts.digest or staged.digest != facts.digest:
        return None
    tried = facts.tries.get("lock-staged")
    return LockStaged() if tried is None or tried.count < seen.rules.attempts else None
