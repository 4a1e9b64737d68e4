"""One thread with one connection that does all the work with a database.

What is asked for while a transaction runs goes together into the next one, in the order of the records' names (so two
replicas never wait for each other), and is answered after the commit: a hundred grants at once cost one flush of the
disk, and none is told before it is on it.
"""

import asyncio
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import sqlalchemy
from sqlalchemy import URL, Connection, text
from sqlalchemy.exc import SQLAlchemyError

from kube_upgrade.fleetlock.stores import StoreUnavailable, database
from kube_upgrade.kube.wire.lock import BadLockObject
from kube_upgrade.telemetry import logs

_log = logs.logger("fleetlock.sql")
T = TypeVar("T")

PATIENCE_SECONDS = 15.0  # for an answer of the thread, whatever the database does
AT_ONCE = 256  # operations in one transaction


@dataclass(frozen=True, slots=True)
class _Ask(Generic[T]):
    """Work inside a transaction on one record (`key`), and who waits for it."""

    key: str
    writes: bool
    work: Callable[[Connection], T]
    answer: "asyncio.Future[T]"  # done before the work: nobody waits any more, and nothing is to be done
    loop: asyncio.AbstractEventLoop


class Worker:
    """The thread with the connection, while its `with` block lasts; the connection is made anew after any trouble.

    `schema` makes the `table` where it is missing. Raises BadSettings where the driver is not installed.
    """

    def __init__(self, url: URL, table: str, schema: str) -> None:
        self._url = url
        self._table = table
        self._schema = schema
        self._engine = database.open_engine(url)
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
        """The thread's boundary: whatever happens is told to those who asked, and the thread lives on."""
        try:
            results = self._committed(batch)
        except (SQLAlchemyError, OSError) as error:
            results = self._failed(batch, _without_sql(error))
        except Exception as error:  # noqa: BLE001 - a dead thread would answer nobody any more
            _log.exception("unexpected trouble with the database")
            results = self._failed(batch, f"{type(error).__name__}: {error}")
        for loop in {ask.loop for ask in batch}:
            mine = [(ask.answer, result) for ask, result in zip(batch, results, strict=True) if ask.loop is loop]
            try:
                loop.call_soon_threadsafe(_tell, mine)
            except RuntimeError:
                return  # the loop is closed: nobody waits any more

    def _failed(self, batch: list[_Ask[Any]], why: str) -> list[Any]:
        self._disconnect()
        return [StoreUnavailable(f"the database: {why}") for _ in batch]

    def _committed(self, batch: list[_Ask[Any]]) -> list[Any]:
        """One result for each, or the StoreUnavailable of that one; all of it is durable. Raises SQLAlchemyError."""
        db = self._db if self._db is not None else self._connected()
        with self._begin(db, writes=any(ask.writes for ask in batch)):
            return [_attempted(db, ask) for ask in batch]

    @contextmanager
    def _begin(self, db: Connection, *, writes: bool) -> Iterator[None]:
        with db.begin():
            database.begin(self._url, db, writes=writes)
            yield

    def _connected(self) -> Connection:
        database.prepare(self._url)
        self._db = db = self._engine.connect()
        with self._begin(db, writes=True):
            if not sqlalchemy.inspect(db).has_table(self._table):  # who may not create tables needs no right to try
                db.execute(text(self._schema))
        return db

    def _disconnect(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            with suppress(SQLAlchemyError):
                db.close()


def _attempted(db: Connection, ask: _Ask[Any]) -> Any:
    if ask.answer.done():
        return None
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
