"""FleetLock v1 over HTTP, for the node daemon. Works with any FleetLock server; only status 200 is a grant."""

import asyncio
import random
import re
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx2
import msgspec

from kube_upgrade.core.backoff import no_sooner
from kube_upgrade.core.fleetlock.protocol import (
    HEADER,
    Granted,
    Operation,
    Refused,
    read_answer,
    write_request,
)

__all__ = ["FleetLock", "Granted", "Refused"]

REQUEST_SECONDS = 70.0  # longer than our server holds a request open (50 s)
CONNECT_SECONDS = 5.0
MOST_RETRY_AFTER = 300.0  # seconds: longer than any server of sense asks, shorter than a wrong clock or header does
_BEHIND_HOST = re.compile(r"[/?#\\]")
_ANSWER_LIMIT = 64 * 1024  # bytes read of an answer; more is not FleetLock's
_dice = random.SystemRandom()


class FleetLock:
    """One client's view of one lock server: the slot of `id` in `group`.

    `base_url` may have a path prefix, with or without a trailing slash. `timeout` bounds a whole call in seconds.
    `ca` is a PEM file that replaces the system's authorities. `dice` gives numbers in 0..1 that spread the pauses which
    the server asks for. Raises ValueError for a URL that is not http(s) and for a file that is missing, unreadable or
    holds no certificate.
    """

    def __init__(
        self,
        base_url: str,
        group: str,
        id: str,
        timeout: float = REQUEST_SECONDS,
        ca: Path | None = None,
        dice: Callable[[], float] = _dice.random,
    ) -> None:
        self._base = read_base_url(base_url)
        self._server = httpx2.URL(self._base).netloc.decode()  # messages name no path: its prefix may be a secret
        self._body = write_request(group, id)
        self._timeout = timeout
        self._dice = dice
        self._http = httpx2.AsyncClient(
            headers={HEADER: "true", "Content-Type": "application/json", "Accept": "application/json"},
            timeout=httpx2.Timeout(timeout, connect=min(CONNECT_SECONDS, timeout)),
            verify=_authorities(ca) if ca else True,
            follow_redirects=False,
        )

    async def pre_reboot(self) -> Granted | Refused:
        """Take the slot, or confirm it. Granted means that it is held (and, by our server, the node drained)."""
        return await self._call(Operation.PRE_REBOOT)

    async def steady_state(self) -> Granted | Refused:
        """Give the slot back; Granted too where none was held."""
        return await self._call(Operation.STEADY_STATE)

    async def reachable(self) -> str:
        """Why nobody there can be a lock server; empty where one may be. A GET, which takes and gives back nothing."""
        try:
            answer = await self._http.get(f"{self._base}/{Operation.PRE_REBOOT.path}")
        except (httpx2.HTTPError, OSError) as trouble:
            return f"{self._server}: {str(trouble) or type(trouble).__name__}"
        wrong = answer.status_code == 404 or answer.status_code >= 500
        return f"{self._server}: HTTP {answer.status_code}" if wrong else ""

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _call(self, operation: Operation) -> Granted | Refused:
        url = f"{self._base}/{operation.path}"
        try:
            async with asyncio.timeout(self._timeout), self._http.stream("POST", url, content=self._body) as answer:
                body = await _read_at_most(answer, _ANSWER_LIMIT)
        except TimeoutError:
            return Refused("unreachable", f"{self._server}: no answer within {self._timeout:g} s", 0)
        except (httpx2.HTTPError, OSError) as trouble:
            return Refused("unreachable", f"{self._server}: {str(trouble) or type(trouble).__name__}", 0)
        asked = read_retry_after(answer.headers.get("Retry-After"), datetime.now(UTC))
        retry_after = no_sooner(asked, dice=self._dice()) if asked is not None else None
        return read_answer(answer.status_code, body, retry_after)


class Unreadable(Exception):
    """The lock server did not tell who holds what; the text says why and names no path."""


class ShownHolder(msgspec.Struct, frozen=True):
    """A holder in the answer to GET /v1/locks; `id` and `uid` only where the server trusts us."""

    who: str
    since: str
    node: str = ""
    reason: str = ""
    id: str = ""
    uid: str = ""


class ShownGroup(msgspec.Struct, frozen=True):
    """A group in that answer."""

    slots: int
    waiting: int
    holders: list[ShownHolder]


class _Shown(msgspec.Struct, frozen=True):
    groups: dict[str, ShownGroup]


async def read_locks(url: str, *, token: str = "", ca: Path | None = None) -> dict[str, ShownGroup]:
    """Who holds what at a lock server of ours. Raises Unreadable, and ValueError as FleetLock does."""
    base = read_base_url(url)
    server = httpx2.URL(base).netloc.decode()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    verify = _authorities(ca) if ca else True
    async with httpx2.AsyncClient(headers=headers, timeout=10.0, verify=verify) as http:
        try:
            answer = await http.get(f"{base}/v1/locks")
            return msgspec.json.decode(answer.raise_for_status().content, type=_Shown).groups
        except httpx2.HTTPStatusError as refused:
            raise Unreadable(f"{server}: HTTP status {refused.response.status_code} for GET /v1/locks") from None
        except msgspec.DecodeError as error:
            raise Unreadable(f"{server}: no answer of our lock server: {error}") from None
        except (httpx2.HTTPError, OSError) as trouble:
            raise Unreadable(f"{server}: {str(trouble) or type(trouble).__name__}") from None


def _authorities(ca: Path) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(ca))
    except OSError as error:  # ssl.SSLError is one
        reason = error.strerror if error.filename is None and error.strerror else error
        raise ValueError(f"fleetlock CA: {ca} must be a PEM file with certificates: {reason}") from None


def read_base_url(text: str) -> str:
    """The URL without trailing slashes, query and fragment. Raises ValueError where it is not http(s) with a host."""
    try:
        url = httpx2.URL(text.strip())
    except httpx2.InvalidURL:
        raise ValueError(f"fleetlock URL: {server_of(text)!r} is no URL") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(f"fleetlock URL: {server_of(text)!r} must be like https://host:port/prefix")
    return str(url.copy_with(query=None, fragment=None)).rstrip("/")


def server_of(url: str) -> str:
    """Scheme, host and port of what may be a URL: its path and user may be secrets, and no message names them."""
    scheme, colon, rest = url.strip().partition("://")
    if not (colon and scheme.isalnum()):
        scheme, colon, rest = "", "", url.strip()
    host = _BEHIND_HOST.split(rest, maxsplit=1)[0].rpartition("@")[2]
    return f"{scheme}{colon}{host}"


def read_retry_after(text: str | None, now: datetime) -> float | None:
    """Seconds to wait, from either form of the header (RFC 9110 10.2.3); None where it is absent or unreadable.

    Never more than MOST_RETRY_AFTER: a server that is wrong about it does not put a node to sleep for hours.
    """
    if text is None:
        return None
    if text.strip().isdecimal():
        return min(float(text), MOST_RETRY_AFTER)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max(0.0, (moment - now).total_seconds()), MOST_RETRY_AFTER)


async def _read_at_most(answer: httpx2.Response, limit: int) -> bytes:
    body = b""
    async for chunk in answer.aiter_bytes():
        body += chunk
        if len(body) > limit:
            break
    return body[:limit]
