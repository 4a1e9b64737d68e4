"""SQLite and PostgreSQL as places where a commit is on the disk when it returns."""

import os
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import sqlalchemy
from sqlalchemy import URL, Connection, Engine, event
from sqlalchemy.pool import NullPool

from kube_upgrade.fleetlock.settings import BadSettings, Postgres

BUSY_SECONDS = 5.0  # to wait for another replica's transaction, or for the database to answer
# A server that vanished without a word is noticed: the thread must not wait for ever.
_LIBPQ = {
    "connect_timeout": int(BUSY_SECONDS),
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}


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


def open_engine(url: URL) -> Engine:
    """Raises BadSettings where the driver is missing."""
    if url.drivername == "sqlite":
        # isolation_level None: the driver begins nothing by itself, see `begin`
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
    # a replica that stands still (SIGSTOP, a paused machine) answers keep-alives, and would keep its rows locked
    connection.execute(f"SET idle_in_transaction_session_timeout = {milliseconds}")
    connection.execute(
        "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit')"
        " IN ('off', 'local')"
    )
    connection.commit()


def prepare(url: URL) -> None:
    """Make SQLite's file where it is missing. Raises OSError."""
    if url.drivername == "sqlite" and url.database:
        _make_private(Path(url.database))


def begin(url: URL, db: Connection, *, writes: bool) -> None:
    """Start SQLite's transaction, with the right to write from its start on: one that asks later may be refused it."""
    if url.drivername == "sqlite":
        db.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _make_private(file: Path) -> None:
    """The file with its folder, for our eyes only: the ids in it suffice to release. Raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))
