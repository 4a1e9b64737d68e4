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
    """Lock what is staged where any reboot would apply it; after as many failures as are allowed it is let be.

    What is not ours, too: bootc stages tags, and one that moved meanwhile is an image that nobody checked.
    """
    staged = seen.staged
    ours = staged is not None and bool(facts.digest) and staged.digest == facts.digest
    if staged is None or staged.locked or (not ours and _let_be(seen)):
        return None
    tried = facts.tries.get("lock-staged")
    return LockStaged() if tried is None or tried.count < seen.rules.attempts else None


def _let_be(seen: HostSnapshot) -> bool:
    """True while a shutdown of ours may be on its way, or somebody is changing what is staged."""
    reboot = seen.facts.reboot
    rebooting = reboot is not None and reboot.boot_id == seen.boot_id
    return rebooting or (seen.os is not None and bool(seen.os.transaction))
