"""Records in SQLite or PostgreSQL, by one code: a table with one row per record, replaced by compare-and-swap.

SQLite: any number of processes of one host. PostgreSQL: READ COMMITTED; an UPDATE that names the old revision waits for
a faster one and then fits no row.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, NoReturn

import msgspec
from sqlalchemy import URL, Connection, text

from kube_upgrade.fleetlock.stores import TRIES, Interest, StoreUnavailable
from kube_upgrade.fleetlock.stores.sql_worker import Worker
from kube_upgrade.kube.wire.lock import BadLockObject, HolderNote, TurnNote, holder_note, read_holder
from kube_upgrade.model.lock import LockGroup, Turn
from kube_upgrade.model.moment import time_or_none, time_text
from kube_upgrade.telemetry import logs

EAGER_SECONDS, CALM_SECONDS = 0.01, 0.5  # between looks for what other replicas wrote: while somebody waits, and not
GROUP, TURN = "group/", "turn"  # names of records; a turn comes after all groups

TABLE = "fleetlock_records"
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS fleetlock_records"
    " (name VARCHAR(300) PRIMARY KEY, revision BIGINT NOT NULL, body TEXT NOT NULL)"
)
_READ = text("SELECT revision, body FROM fleetlock_records WHERE name = :name")
_READ_ALL = text("SELECT name, revision, body FROM fleetlock_records")
_REVISIONS = text("SELECT name, revision FROM fleetlock_records")
_INSERT = text(
    "INSERT INTO fleetlock_records (name, revision, body) VALUES (:name, 1, :body) ON CONFLICT (name) DO NOTHING"
)
_UPDATE = text("UPDATE fleetlock_records SET revision = :old + 1, body = :body WHERE name = :name AND revision = :old")

_log = logs.logger("fleetlock.sql")


class _Body(msgspec.Struct, frozen=True, omit_defaults=True):
    """A group's row."""

    holders: list[HolderNote] = []
    waiting: list[str] = []
    last: str = ""


class SqlRecords:
    """The groups named in `slots`, and others that have holders, in the database at `url`."""

    def __init__(self, url: URL, slots: Mapping[str, int]) -> None:
        self._slots = slots
        self._worker = Worker(url, TABLE, _SCHEMA)
        self._seen: dict[str, int] = {}
        self._groups: dict[str, LockGroup] = {}
        self._turn: Turn | None = None
        self._synced = asyncio.Event()

    @property
    def synced(self) -> asyncio.Event:
        """Set once all rows were read."""
        return self._synced

    async def read_group(self, name: str) -> LockGroup:
        """The group as the database has it. Raises StoreUnavailable."""
        return await self._worker.do(GROUP + name, lambda db: self._read(db, name))

    async def change_group(
        self, name: str, change: Callable[[LockGroup], LockGroup], *, lag: bool = False
    ) -> tuple[LockGroup, LockGroup]:
        """Read, change, compare-and-swap in one transaction, so that no copy is needed. Raises StoreUnavailable."""
        return await self._worker.do(GROUP + name, lambda db: self._change(db, name, change), writes=True)

    async def read_turn(self) -> tuple[Turn | None, str]:
        """The turn and its revision. Raises StoreUnavailable."""

        def read(db: Connection) -> tuple[Turn | None, str]:
            row = db.execute(_READ, {"name": TURN}).one_or_none()
            return (_turn(row.body), str(row.revision)) if row is not None else (None, "")

        return await self._worker.do(TURN, read)

    async def write_turn(self, turn: Turn | None, revision: str) -> bool:
        """False where the turn has another revision by now. Raises StoreUnavailable."""
        note = TurnNote(group=turn.group, holder=holder_note(turn.holder)) if turn is not None else None
        body = msgspec.json.encode(note).decode()
        return await self._worker.do(TURN, lambda db: _swap(db, TURN, revision, body), writes=True)

    def groups(self) -> Mapping[str, LockGroup]:
        """The copy."""
        unread = self._seen.keys() - {GROUP + name for name in self._groups}
        empty = {name for name in self._slots if GROUP + name not in unread}
        found = {name: LockGroup(name=name, slots=self._slots[name]) for name in empty}
        held = {name: group for name, group in self._groups.items() if name in self._slots or group.holders}
        return found | held

    def turn(self) -> Turn | None:
        """The copy of the turn."""
        return self._turn

    async def run(self, changed: Callable[[], None], interest: Interest) -> NoReturn:
        """Look for changes until cancelled: the databases have no common way of telling them."""
        trouble = ""
        with self._worker:
            while True:
                try:
                    if await self._renewed():
                        changed()
                    trouble = ""
                except StoreUnavailable as error:
                    if str(error) != trouble:
                        trouble = str(error)
                        _log.warning("cannot read the locks", reason=trouble)
                await _pause(interest, troubled=bool(trouble))

    async def _renewed(self) -> bool:
        """Read everything where anything is new."""
        seen = await self._worker.do("", _revisions)
        if seen == self._seen and self._synced.is_set():
            return False
        rows = await self._worker.do("", lambda db: list(db.execute(_READ_ALL)))
        self._seen = {row.name: row.revision for row in rows}
        self._groups = dict(self._readable(rows))
        self._turn = next((_turn_or_none(row.body) for row in rows if row.name == TURN), None)
        self._synced.set()
        return True

    def _readable(self, rows: Iterable[Any]) -> Iterator[tuple[str, LockGroup]]:
        """The groups of these rows; of one that can't be read nothing is known."""
        for row in rows:
            if row.name.startswith(GROUP):
                name = row.name.removeprefix(GROUP)
                try:
                    yield name, self._group(name, row)
                except BadLockObject as bad:
                    _log.warning("unreadable lock", reason=str(bad))

    def _read(self, db: Connection, name: str) -> LockGroup:
        row = db.execute(_READ, {"name": GROUP + name}).one_or_none()
        return self._group(name, row) if row is not None else LockGroup(name=name, slots=self._slots.get(name, 0))

    def _change(
        self, db: Connection, name: str, change: Callable[[LockGroup], LockGroup]
    ) -> tuple[LockGroup, LockGroup]:
        for _ in range(TRIES):
            seen = self._read(db, name)
            new = change(seen)
            if new == seen or _swap(db, GROUP + name, seen.revision, _body(new)):
                return seen, replace(new, revision=str(int(seen.revision or 0) + (new != seen)))
        raise StoreUnavailable(f"group {name}: lost {TRIES} compare-and-swaps in a row")

    def _group(self, name: str, row: Any) -> LockGroup:
        at = f"fleetlock_records, {GROUP}{name}"
        body = _decoded(at, row.body, _Body)
        return LockGroup(
            name=name,
            slots=self._slots.get(name, 0),
            holders=tuple(read_holder(at, note) for note in body.holders),
            waiting=tuple(body.waiting),
            revision=str(row.revision),
            last=time_or_none(body.last),
        )


def _body(group: LockGroup) -> str:
    notes = [holder_note(holder) for holder in group.holders]
    last = time_text(group.last) if group.last is not None else ""
    return msgspec.json.encode(_Body(holders=notes, waiting=list(group.waiting), last=last)).decode()


def _turn(body: str) -> Turn | None:
    note = _decoded(f"fleetlock_records, {TURN}", body, TurnNote | None)
    return Turn(group=note.group, holder=read_holder(TURN, note.holder)) if note is not None else None


def _turn_or_none(body: str) -> Turn | None:
    """For the copy, which is only shown."""
    with suppress(BadLockObject):
        return _turn(body)
    return None


def _decoded(at: str, body: str, type: Any) -> Any:
    try:
        return msgspec.json.decode(body, type=type)
    except msgspec.DecodeError as error:
        raise BadLockObject(f"{at}: {error}") from None


def _swap(db: Connection, name: str, revision: str, body: str) -> bool:
    """Write the row where it has this revision, or is not there and has none."""
    if not revision:
        return db.execute(_INSERT, {"name": name, "body": body}).rowcount == 1
    return db.execute(_UPDATE, {"name": name, "old": int(revision), "body": body}).rowcount == 1


def _revisions(db: Connection) -> dict[str, int]:
    return {row.name: row.revision for row in db.execute(_REVISIONS)}


async def _pause(interest: Interest, *, troubled: bool) -> None:
    """Until the next look: a moment while somebody waits, and otherwise until somebody comes."""
    if troubled:
        await asyncio.sleep(CALM_SECONDS)
    elif interest.waiting():
        await asyncio.sleep(EAGER_SECONDS)
    else:
        interest.begins.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(CALM_SECONDS):
                await interest.begins.wait()
