"""Records in SQLite or PostgreSQL, by one code: a table with one row per record, replaced by compare-and-swap.

One thread with one connection does all the work. What is asked for while a transaction runs goes together into the
next one, in the order of the record's names (so two replicas never wait for each other), and is answered after the
commit: a hundred grants at once cost one flush of the disk, and none is told before it is on it.

SQLite: write-ahead log with synchronous=FULL, so a commit is on the disk when it returns; any number of processes of
one host. PostgreSQL: READ COMMITTED; an UPDATE that names the old revision waits for a faster one and then fits no row.
"""

import asyncio
import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar
from urllib.parse import parse_qsl

import msgspec
import sqlalchemy
from sqlalchemy import URL, Connection, Engine, event, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from kube_upgrade.fleetlock.settings import BadSettings, Postgres
from kube_upgrade.fleetlock.stores import TRIES, Interest, StoreUnavailable
from kube_upgrade.kube.wire.lock import BadLockObject, HolderNote, TurnNote, holder_note, read_holder
from kube_upgrade.model.lock import LockGroup, Turn
from kube_upgrade.model.moment import time_or_none, time_text
from kube_upgrade.telemetry import logs

T = TypeVar("T")

BUSY_SECONDS = 5.0  # to wait for another replica's transaction, or for the database to answer
PATIENCE_SECONDS = 15.0  # for an answer of the thread, whatever the database does
AT_ONCE = 256  # operations in one transaction
EAGER_SECONDS, CALM_SECONDS = 0.01, 0.5  # between looks for what other replicas wrote: while somebody waits, and not
GROUP, TURN = "group/", "turn"  # names of records; a turn comes after all groups

TABLE = "fleetlock_records"
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS fleetlock_records"
    " (name VARCHAR(300) PRIMARY KEY, revision BIGINT NOT NULL, body TEXT NOT NULL)"
)
# A server that vanished without a word is noticed: the thread must not wait for ever.
_LIBPQ = {
    "connect_timeout": int(BUSY_SECONDS),
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
_READ = text("SELECT revision, body FROM fleetlock_records WHERE name = :name")
_READ_ALL = text("SELECT name, revision, body FROM fleetlock_records")
_REVISIONS = text("SELECT name, revision FROM fleetlock_records")
_INSERT = text(
    "INSERT INTO fleetlock_records (name, revision, body) VALUES (:name, 1, :body) ON CONFLICT (name) DO NOTHING"
)
_UPDATE = text("UPDATE fleetlock_records SET revision = :old + 1, body = :body WHERE name = :name AND revision = :old")

_log = logs.logger("fleetlock.sql")


def sqlite_url(file: Path) -> URL:
    """This file, which is made where it is missing."""
    return URL.create("sqlite", database=str(file))


def postgres_url(settings: Postgres) -> URL:
    """This database. Raises BadSettings."""
    host, _, port = settings.address.rpartition(":") if ":" in settings.address else (settings.address, "", "5432")
    if not port.isdecimal():
        raise BadSettings(f"storage.postgres.address: {settings.address!r} must be like db.example.com:5432")
    return URL.create(
        "postgresql+psycopg",
        username=settings.username or None,
        password=settings.password or None,
        host=host.removeprefix("[").removesuffix("]"),
        port=int(port),
        database=settings.database or None,
        query=dict(parse_qsl(settings.options)),
    )


class _Body(msgspec.Struct, frozen=True, omit_defaults=True):
    """A group's row."""

    holders: list[HolderNote] = []
    waiting: list[str] = []
    last: str = ""


@dataclass(frozen=True, slots=True)
class _Ask(Generic[T]):
    """Work inside a transaction on one record (`key`), and who waits for it."""

    key: str
    writes: bool
    work: Callable[[Connection], T]
    answer: "asyncio.Future[T]"
    loop: asyncio.AbstractEventLoop


class SqlRecords:
    """The groups named in `slots`, and others that have holders, in the database at `url`."""

    def __init__(self, url: URL, slots: Mapping[str, int]) -> None:
        self._slots = slots
        self._worker = _Worker(url)
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


def _engine(url: URL) -> Engine:
    """Raises BadSettings where the driver is missing."""
    if url.drivername == "sqlite":
        # isolation_level None: the driver begins nothing by itself, see _Worker._begin
        made = sqlalchemy.create_engine(
            url, poolclass=NullPool, connect_args={"timeout": BUSY_SECONDS, "isolation_level": None}
        )
        event.listen(made, "connect", _durable_sqlite)
        return made
    try:
        made = sqlalchemy.create_engine(
            url, poolclass=NullPool, isolation_level="READ COMMITTED", connect_args=dict(_LIBPQ)
        )
    except ModuleNotFoundError as missing:
        advice = f"storage.type: postgres needs psycopg: pip install 'kube-upgrade[postgres]' ({missing})"
        raise BadSettings(advice) from None
    event.listen(made, "connect", _durable_postgres)
    return made


def _durable_sqlite(connection: Any, record: object) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}")


def _durable_postgres(connection: Any, record: object) -> None:
    milliseconds = int(BUSY_SECONDS * 1000)
    connection.execute(f"SET statement_timeout = {milliseconds}")
    connection.execute(f"SET lock_timeout = {milliseconds}")
    connection.execute(
        "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit')"
        " IN ('off', 'local')"
    )
    connection.commit()


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


class _Worker:
    """The thread with the connection, while its `with` block lasts; made anew after any trouble with the database."""

    def __init__(self, url: URL) -> None:
        self._url = url
        self._engine = _engine(url)
        self._asks: queue.SimpleQueue[_Ask[Any] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="fleetlock-sql", daemon=True)
        self._db: Connection | None = None

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._asks.put(None)

    async def do(self, key: str, work: Callable[[Connection], T], *, writes: bool = False) -> T:
        """What the work comes to, once its transaction is committed. Raises StoreUnavailable."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        self._asks.put(_Ask(key, writes, work, answer, loop))
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await answer
        except TimeoutError:
            raise StoreUnavailable(f"the database: no answer within {PATIENCE_SECONDS:g} s") from None

    def _work(self) -> None:
        while (batch := self._next()) is not None:
            self._answer(batch)
        self._disconnect()

    def _next(self) -> list[_Ask[Any]] | None:
        """Everything that is asked for by now; waits for the first. None: the end."""
        first = self._asks.get()
        if first is None:
            return None
        batch = [first]
        while len(batch) < AT_ONCE:
            try:
                more = self._asks.get_nowait()
            except queue.Empty:
                break
            if more is None:
                self._asks.put(None)
                break
            batch.append(more)
        return sorted(batch, key=lambda ask: ask.key)  # stable: two asks for one record keep their order

    def _answer(self, batch: list[_Ask[Any]]) -> None:
        try:
            results = self._committed(batch)
        except (SQLAlchemyError, OSError) as error:
            self._disconnect()
            reason = StoreUnavailable(f"the database: {_without_sql(error)}")
            results = [reason for _ in batch]
        for loop in {ask.loop for ask in batch}:
            mine = [(ask.answer, result) for ask, result in zip(batch, results, strict=True) if ask.loop is loop]
            try:
                loop.call_soon_threadsafe(_tell, mine)
            except RuntimeError:
                return  # the loop is closed: nobody waits any more

    def _committed(self, batch: list[_Ask[Any]]) -> list[Any]:
        """One result for each, or the StoreUnavailable of that one; all of it is durable. Raises SQLAlchemyError."""
        db = self._db if self._db is not None else self._connected()
        with self._begin(db, writes=any(ask.writes for ask in batch)):
            return [_attempted(db, ask) for ask in batch]

    @contextmanager
    def _begin(self, db: Connection, *, writes: bool) -> Iterator[None]:
        """A transaction. SQLite's has the right to write from its start on: one that asks later may be refused it."""
        with db.begin():
            if self._url.drivername == "sqlite":
                db.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
            yield

    def _connected(self) -> Connection:
        if self._url.drivername == "sqlite" and self._url.database:
            _make_private(Path(self._url.database))
        self._db = db = self._engine.connect()
        with self._begin(db, writes=True):
            if not sqlalchemy.inspect(db).has_table(TABLE):  # who may not create tables needs no right to try
                db.execute(text(_SCHEMA))
        return db

    def _disconnect(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            with suppress(SQLAlchemyError):
                db.close()


def _make_private(file: Path) -> None:
    """The file with its folder, for our eyes only: the ids in it suffice to release. Raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))


def _attempted(db: Connection, ask: _Ask[Any]) -> Any:
    try:
        return ask.work(db)
    except StoreUnavailable as error:
        return error
    except BadLockObject as error:
        return StoreUnavailable(str(error))


def _tell(answers: "list[tuple[asyncio.Future[Any], Any]]") -> None:
    for answer, result in answers:
        if answer.done():
            continue
        if isinstance(result, StoreUnavailable):
            answer.set_exception(result)
        else:
            answer.set_result(result)


def _without_sql(error: Exception) -> str:
    """The driver's own words: the statement tells nobody anything, and no message of the driver has the password."""
    return str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
