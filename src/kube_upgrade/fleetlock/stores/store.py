"""Slots by compare-and-swap on records: the one algorithm for every kind of store.

The order of its steps is what core.fleetlock.slots proves things about; each step may be the last one.
"""

from collections.abc import Callable
from datetime import datetime

from kube_upgrade.core.fleetlock import slots
from kube_upgrade.core.fleetlock.slots import Verdict, Wish
from kube_upgrade.fleetlock.stores import TRIES, Outcome, Records, StoreUnavailable
from kube_upgrade.model.lock import Holder, LockGroup, Turn


class LockStore:
    """Reservations in `records`; `now` is the wall clock. Methods raise StoreUnavailable."""

    def __init__(self, records: Records, now: Callable[[], datetime]) -> None:
        self._records = records
        self._now = now

    async def read(self, group: str) -> LockGroup:
        """The group as it is stored now, not as a cache remembers it."""
        return await self._records.read_group(group)

    async def reserve(self, group: str, wish: Wish) -> Outcome:
        """Try for a slot once; durable when it returns. A control-plane node holds it only together with the turn.

        That there is none may be old news, and no harm: whoever waits is woken by the newer.
        """
        if wish.control_plane and (busy := await self._other_turn(group, wish.id)):
            return _busy(wish.id, await self._records.read_group(group), busy)
        now = self._now()
        before, stored = await self._records.change_group(
            group, lambda seen: slots.reserve(seen, wish, now)[0], lag=True
        )
        verdict = slots.reserve(before, wish, now)[1]
        holder = stored.holder(wish.id)
        if not wish.control_plane or holder is None:
            return Outcome(id=wish.id, verdict=verdict, group=stored)
        return await self._with_turn(stored, verdict, holder)

    async def release(
        self, group: str, id: str, since: datetime | None = None, asks: int | None = None
    ) -> Holder | None:
        """Take this id's reservation away (with `since` and `asks`: only that one), then the turn that went with it.

        Returns it, None where there was none.
        """
        before, after = await self._records.change_group(group, lambda seen: slots.release(seen, id, since, asks))
        gone = before.holder(id) if after.holder(id) is None else None
        if gone is not None:
            await self._end_turn(Turn(group=group, holder=gone))
        return gone

    async def leave(self, group: str, replica: str) -> None:
        """Take a replica out of the line of those whose clients wait."""
        await self._records.change_group(group, lambda seen: slots.leave(seen, replica))

    async def _with_turn(self, stored: LockGroup, verdict: Verdict, holder: Holder) -> Outcome:
        """The reservation together with the turn; without it a new reservation is given back."""
        busy = await self._take_turn(Turn(group=stored.name, holder=holder))
        if busy is None:
            return Outcome(id=holder.id, verdict=verdict, group=stored)
        if verdict is Verdict.TAKEN:
            _, stored = await self._records.change_group(
                stored.name, lambda seen: slots.release(seen, holder.id, holder.since)
            )
        return _busy(holder.id, stored, busy)

    async def _other_turn(self, group: str, id: str) -> Turn | None:
        """A backed turn of someone else: a look before the leap, so that a busy turn costs no write."""
        turn, _ = await self._records.read_turn()
        if turn is None or (turn.group, turn.holder.id) == (group, id):
            return None
        return turn if slots.backed(turn, await self._records.read_group(turn.group)) else None

    async def _take_turn(self, mine: Turn) -> Turn | None:
        """None: the turn is this reservation's. Otherwise whose it is."""
        for _ in range(TRIES):
            turn, revision = await self._records.read_turn()
            if slots.names(turn, mine.group, mine.holder):
                return None
            if turn is not None and slots.backed(turn, await self._records.read_group(turn.group)):
                return turn
            if await self._records.write_turn(mine, revision):
                return None
        raise StoreUnavailable(f"control-plane turn: lost {TRIES} compare-and-swaps in a row")

    async def _end_turn(self, mine: Turn) -> None:
        """Leave the turn to the next. Whoever is faster may take it: it is not backed any more."""
        turn, revision = await self._records.read_turn()
        if slots.names(turn, mine.group, mine.holder):
            await self._records.write_turn(None, revision)


def _busy(id: str, group: LockGroup, turn: Turn) -> Outcome:
    return Outcome(id=id, verdict=Verdict.CONTROL_PLANE_BUSY, group=group, busy=turn)
