"""TLS whose certificate is renewed without a restart: the files are looked at, and read again when they changed."""

import asyncio
import ssl
from pathlib import Path
from typing import NoReturn

from kube_upgrade.fleetlock.settings import BadSettings, Tls
from kube_upgrade.telemetry import logs

LOOK_SECONDS = 3.0

_log = logs.logger("fleetlock.tls")


def context(tls: Tls) -> ssl.SSLContext:
    """A server's context with these files. Raises BadSettings."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        made.load_cert_chain(tls.cert, tls.key)
    except OSError as error:  # ssl.SSLError is one
        raise BadSettings(f"server.ssl: {tls.cert}, {tls.key}: {error}") from None
    return made


async def keep_fresh(current: ssl.SSLContext, tls: Tls, *, every: float = LOOK_SECONDS) -> NoReturn:
    """Load changed files into the context until cancelled; new connections use them. A bad pair leaves the old one."""
    seen = await asyncio.to_thread(_state, tls)
    while True:
        await asyncio.sleep(every)
        now = await asyncio.to_thread(_state, tls)
        if now == seen:
            continue
        seen = now
        try:
            context(tls)  # a pair that does not fit must not get half-way into the context in use
            current.load_cert_chain(tls.cert, tls.key)
        except (BadSettings, OSError) as error:
            _log.warning("keeping the old certificate", reason=str(error))
        else:
            _log.info("using the new certificate", cert=str(tls.cert))


def _state(tls: Tls) -> tuple[tuple[int, int, int] | None, ...]:
    return tuple(_one(path) for path in (tls.cert, tls.key))


def _one(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
