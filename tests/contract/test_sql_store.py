"""What SQLite and PostgreSQL promise as places for slots: durable, one code, compare-and-swap, trouble by name."""

import asyncio
import secrets
import sqlite3
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from kube_upgrade.core.fleetlock.slots import Verdict, Wish, reserve
from kube_upgrade.fleetlock.settings import BadSettings, Postgres
from kube_upgrade.fleetlock.stores import Interest, StoreUnavailable
from kube_upgrade.fleetlock.stores.database import BUSY_SECONDS, postgres_url, sqlite_url
from kube_upgrade.fleetlock.stores.sql import TABLE, SqlRecords
from kube_upgrade.fleetlock.stores.sql_worker import Worker
from kube_upgrade.fleetlock.stores.store import LockStore
from kube_upgrade.kube.clock import stop
from kube_upgrade.model.lock import LockGroup
from support.lock_stores import Place, in_postgres, in_sqlite, running
from support.postgres import Server

T0 = datetime(2026, 11, 24, tzinfo=UTC)
ONE = {"a": 1}


def now() -> datetime:
    """A clock that stands still."""
    return T0


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "sqlite":
        return in_sqlite(tmp_path)
    server: Server = request.getfixturevalue("postgres")
    return in_postgres(server)


async def test_a_slot_survives_every_replica(place: Place) -> None:
    async with place.replica(ONE, now) as store:
        assert (await store.reserve("a", Wish(id="x", node="w1", uid="u1"))).verdict is Verdict.TAKEN
    async with place.replica(ONE, now) as store:
        held = (await store.read("a")).holder("x")
        assert held is not None
        assert (held.node, held.uid, held.since) == ("w1", "u1", T0)
        assert (await store.reserve("a", Wish(id="y"))).verdict is Verdict.FULL


async def test_many_at_once_at_three_replicas_never_hold_more_than_the_slots(place: Place) -> None:
    slots = {"a": 3}
    async with place.replica(slots, now) as one, place.replica(slots, now) as two, place.replica(slots, now) as three:
        wishes = [(one, two, three)[n % 3].reserve("a", Wish(id=f"n{n}")) for n in range(30)]
        verdicts = [outcome.verdict for outcome in await asyncio.gather(*wishes)]
        assert verdicts.count(Verdict.TAKEN) == 3
        assert len((await two.read("a")).holders) == 3


async def test_groups_that_are_no_longer_configured_keep_their_holders_and_can_be_released(place: Place) -> None:
    async with place.replica({"old": 2}, now) as store:
        await store.reserve("old", Wish(id="x"))
        await store.reserve("old", Wish(id="y"))
    async with running(place.open({"old": 1, "new": 1})) as records:
        store = LockStore(records, now)
        assert [holder.id for holder in records.groups()["old"].holders] == ["x", "y"]
        assert (await store.reserve("old", Wish(id="z"))).verdict is Verdict.FULL
    async with running(place.open({"new": 1})) as records:
        assert sorted(records.groups()) == ["new", "old"]
        assert await LockStore(records, now).release("old", "x") is not None


async def test_the_copy_follows_what_another_replica_writes(place: Place) -> None:
    changed = asyncio.Event()
    async with running(place.open(ONE), changed.set) as here, place.replica(ONE, now) as there:
        changed.clear()
        await there.reserve("a", Wish(id="x"))
        async with asyncio.timeout(5):
            while here.groups()["a"].holder("x") is None:
                await changed.wait()
                changed.clear()


async def test_a_change_that_loses_its_race_is_made_again_on_what_the_winner_wrote(postgres: Server) -> None:
    """Between the read and the write of one replica another writes: the rule is asked again, on the new group."""
    place, loop, seen = in_postgres(postgres), asyncio.get_running_loop(), list[int]()
    async with running(place.open(ONE)) as records, place.replica(ONE, now) as faster:

        def change(group: LockGroup) -> LockGroup:
            if not seen:
                asyncio.run_coroutine_threadsafe(faster.reserve("a", Wish(id="x")), loop).result()
            seen.append(len(group.holders))
            return reserve(group, Wish(id="y"), T0)[0]

        await records.change_group("a", change)

        assert seen == [0, 1]
        assert [holder.id for holder in (await faster.read("a")).holders] == ["x"]


async def test_a_turn_is_written_by_compare_and_swap(place: Place) -> None:
    async with running(place.open(ONE)) as records:
        assert await records.read_turn() == (None, "")
        assert await records.write_turn(None, "")
        assert not await records.write_turn(None, "")
        _, revision = await records.read_turn()
        assert await records.write_turn(None, revision)
        assert not await records.write_turn(None, revision)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "locks.db"


async def test_a_commit_of_sqlite_is_on_the_disk_and_the_file_is_private(file: Path) -> None:
    async with running(SqlRecords(sqlite_url(file), ONE)) as records:
        await LockStore(records, now).reserve("a", Wish(id="x"))
        assert file.stat().st_mode & 0o077 == 0  # noqa: ASYNC240 - nothing else runs
        with sqlite3.connect(file) as other:
            assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
            assert other.execute("SELECT count(*) FROM fleetlock_records").fetchone() == (1,)


async def test_sqlite_flushes_its_log_at_every_commit(file: Path) -> None:
    """A grant that a power cut undoes is an over-grant. 2 is FULL; NORMAL would flush from time to time."""
    worker = Worker(sqlite_url(file), TABLE, "CREATE TABLE fleetlock_records (name)")
    with worker:
        assert await worker.do("a", lambda db: db.exec_driver_sql("PRAGMA synchronous").scalar()) == 2


@pytest.mark.parametrize(("setting", "used"), [("off", "on"), ("local", "on"), ("remote_apply", "remote_apply")])
async def test_postgres_flushes_its_log_at_every_commit_whatever_the_server_does(
    setting: str, used: str, postgres: Server
) -> None:
    url = postgres_url(postgres.database(f"flush_{secrets.token_hex(4)}"))
    with (first := Worker(url, TABLE, "CREATE TABLE fleetlock_records (name text)")):
        alter = f"ALTER DATABASE {url.database} SET synchronous_commit = {setting}"
        await first.do("a", lambda db: db.execute(text(alter)), writes=True)
    with (worker := Worker(url, TABLE, "")):
        assert await worker.do("a", lambda db: db.execute(text("SHOW synchronous_commit")).scalar()) == used


async def test_a_row_that_somebody_wrote_over_is_no_free_slot(file: Path) -> None:
    async with running(SqlRecords(sqlite_url(file), ONE)) as records:
        store = LockStore(records, now)
        await store.reserve("a", Wish(id="x"))
        with sqlite3.connect(file) as other:
            other.execute("UPDATE fleetlock_records SET body = 'nonsense'")
        with pytest.raises(StoreUnavailable, match="group/a"):
            await store.reserve("a", Wish(id="y"))
        with sqlite3.connect(file) as other:
            other.execute("UPDATE fleetlock_records SET revision = revision + 1")
        async with asyncio.timeout(10):
            while "a" in records.groups():  # noqa: ASYNC110 - the copy follows: nothing is known of this group
                await asyncio.sleep(0.01)


async def test_a_row_that_makes_no_sense_at_all_is_told_at_once_and_ends_no_thread(file: Path) -> None:
    async with running(SqlRecords(sqlite_url(file), ONE)) as records:
        store = LockStore(records, now)
        await store.reserve("a", Wish(id="x"))
        with sqlite3.connect(file) as other:
            other.execute("UPDATE fleetlock_records SET revision = 'none'")
        for _ in range(2):
            async with asyncio.timeout(5):
                with pytest.raises(StoreUnavailable, match="ValueError"):
                    await store.reserve("a", Wish(id="y"))
        with sqlite3.connect(file) as other:
            other.execute("UPDATE fleetlock_records SET revision = 7")
        assert (await store.reserve("a", Wish(id="y"))).verdict is Verdict.FULL


async def test_what_nobody_waits_for_any_more_is_not_done_once_the_database_is_back(file: Path) -> None:
    """The thread was busy when they gave up: a slot that is taken for them now would be nobody's."""
    begun, back, done = asyncio.Event(), threading.Event(), list[str]()
    loop, worker = asyncio.get_running_loop(), Worker(sqlite_url(file), TABLE, "CREATE TABLE fleetlock_records (name)")

    def hang(db: Connection) -> None:
        loop.call_soon_threadsafe(begun.set)
        back.wait(10)

    with worker:
        hanging = asyncio.create_task(worker.do("a", hang))
        await begun.wait()
        late = asyncio.create_task(worker.do("b", lambda db: done.append("late")))
        await asyncio.sleep(0)
        await stop(late)
        back.set()
        await hanging
        await worker.do("c", lambda db: done.append("next"))
    assert done == ["next"]


async def test_a_replica_that_stands_still_in_a_transaction_loses_it_and_holds_nobody_up(postgres: Server) -> None:
    """Stopped between UPDATE and COMMIT: the server ends its session, and what it wrote was never granted."""
    database = postgres.database(f"still_{secrets.token_hex(4)}")
    url, loop, begun = postgres_url(database), asyncio.get_running_loop(), asyncio.Event()
    back = threading.Event()
    async with running(SqlRecords(url, ONE)) as records:
        other = LockStore(records, now)
        await other.reserve("a", Wish(id="x"))
        still = Worker(url, TABLE, "")

        def stand(db: Connection) -> None:
            db.execute(text("UPDATE fleetlock_records SET revision = revision + 1, body = '{}' WHERE name = 'group/a'"))
            loop.call_soon_threadsafe(begun.set)
            back.wait(60)

        with still:
            writing = asyncio.create_task(still.do("group/a", stand, writes=True))
            await begun.wait()
            async with asyncio.timeout(4 * BUSY_SECONDS):
                while not await _released(other, "x"):
                    pass
            back.set()
            with pytest.raises(StoreUnavailable, match="database"):
                await writing


async def _released(store: LockStore, id: str) -> bool:
    try:
        return await store.release("a", id) is not None
    except StoreUnavailable:
        return False


async def test_a_database_that_is_away_is_named_and_comes_back(file: Path) -> None:
    """The file is a folder for a while."""
    file.mkdir(parents=True)  # noqa: ASYNC240 - nothing else runs
    records = SqlRecords(sqlite_url(file), ONE)
    task = asyncio.create_task(records.run(lambda: None, Interest(waiting=lambda: True)))
    with pytest.raises(StoreUnavailable, match="database"):
        await records.read_group("a")
    file.rmdir()  # noqa: ASYNC240 - nothing else runs
    async with asyncio.timeout(10):
        await records.synced.wait()
    assert (await records.read_group("a")).holders == ()
    task.cancel()


async def test_a_postgres_that_refuses_is_named_without_its_password() -> None:
    wrong = Postgres(address="127.0.0.1:1", username="u", password="s3cret", database="d")
    records = SqlRecords(postgres_url(wrong), ONE)
    task = asyncio.create_task(records.run(lambda: None, Interest(waiting=lambda: True)))
    with pytest.raises(StoreUnavailable) as refused:
        await records.read_group("a")
    assert "s3cret" not in str(refused.value)
    task.cancel()


def test_an_address_without_a_number_is_refused() -> None:
    with pytest.raises(BadSettings, match=r"storage\.postgres\.address"):
        postgres_url(Postgres(address="db:postgres"))
