"""Every kind of store, each with several replicas on one place, for tests that hold for all of them."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from kube_upgrade.fleetlock.stores import Interest, Records
from kube_upgrade.fleetlock.stores.database import postgres_url, sqlite_url
from kube_upgrade.fleetlock.stores.kubernetes import LeaseRecords
from kube_upgrade.fleetlock.stores.sql import SqlRecords
from kube_upgrade.fleetlock.stores.store import LockStore
from kube_upgrade.kube.clock import stop
from support.async_memory_api import AsyncMemoryApi
from support.memory_api import MemoryApi
from support.postgres import Server

KINDS = ("kubernetes", "sqlite", "postgres")
Opener = Callable[[Mapping[str, int]], Records]


@dataclass(frozen=True)
class Place:
    """Somewhere to keep slots: each call of `open` is another replica's view of it."""

    open: Opener

    @asynccontextmanager
    async def replica(self, slots: Mapping[str, int], now: Callable[[], datetime]) -> AsyncIterator[LockStore]:
        """A store whose records run."""
        async with running(self.open(slots)) as records:
            yield LockStore(records, now)


@asynccontextmanager
async def running(records: Records, changed: Callable[[], None] = lambda: None) -> AsyncIterator[Records]:
    """Records whose copy is filled."""
    task = asyncio.create_task(records.run(changed, Interest(waiting=lambda: True)))
    try:
        async with asyncio.timeout(20):
            await records.synced.wait()
        yield records
    finally:
        await stop(task)


def in_memory_leases() -> Place:
    """Leases of an API server that is an object."""
    api = AsyncMemoryApi(MemoryApi())
    return Place(lambda slots: LeaseRecords(api, "locks", slots))


def in_sqlite(folder: Path) -> Place:
    """A file."""
    file = folder / f"{secrets.token_hex(4)}.db"
    return Place(lambda slots: SqlRecords(sqlite_url(file), slots))


def in_postgres(server: Server) -> Place:
    """A database of a real server."""
    url = postgres_url(server.database(f"locks_{secrets.token_hex(4)}"))
    return Place(lambda slots: SqlRecords(url, slots))
