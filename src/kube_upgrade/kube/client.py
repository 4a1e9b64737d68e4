"""The connection to the API server: typed requests over HTTP/1.1, typed errors, one line per watch event.

Where the server is and who we are comes from lightkube (kubeconfig, TLS, tokens, exec plugins); bodies are decoded by
msgspec straight into the reduced struct that the caller names. Files that the credentials came from are looked at no
more than once a second, and a changed one means a new HTTP client for the requests from then on: running requests and
watches end on the old one. A file that cannot be read in the middle of its rotation leaves the old client in use.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self, TypeVar

import httpx2
import msgspec
from lightkube.core.exceptions import ConfigError

from kube_upgrade.kube import credentials
from kube_upgrade.kube.api import NO_PARAMS, PatchKind
from kube_upgrade.kube.credentials import Credentials
from kube_upgrade.kube.errors import BadAnswer, BadKubeconfig, Unreachable
from kube_upgrade.kube.paths import resource_of
from kube_upgrade.kube.wire.status import to_error
from kube_upgrade.telemetry import logs
from kube_upgrade.telemetry.metrics import API_BYTES, API_CALLS

__all__ = ["KubeApi", "PatchKind"]

T = TypeVar("T")

CONNECT_SECONDS = 5.0
# A watch hears a bookmark about every 60 s, 75 at the latest. A stream that is silent for longer is taken for broken:
# a wrong guess costs one reconnect from the last resourceVersion, a right one ends blindness behind a dead connection.
SILENCE_SECONDS = 90.0
RECHECK_SECONDS = 1.0

_JSON = MappingProxyType({"Content-Type": "application/json"})
_SENT, _RECEIVED = API_BYTES.labels("sent"), API_BYTES.labels("received")
_log = logs.logger("kube")


@dataclass(slots=True, kw_only=True)
class _Link:
    """One HTTP client and how many requests use it; a retired one is closed by its last user."""

    client: httpx2.AsyncClient
    credentials: Credentials
    users: int = 0
    retired: bool = False

    async def leave(self) -> None:
        if self.retired and not self.users:
            await self.client.aclose()


class KubeApi:
    """Requests to one API server. Every method raises KubeError's children and nothing else of the network."""

    def __init__(self, kubeconfig: Path | None, *, user_agent: str, timeout: float, silence: float) -> None:
        self._kubeconfig = kubeconfig
        self._user_agent = user_agent
        self._timeout = httpx2.Timeout(timeout, connect=min(CONNECT_SECONDS, timeout), pool=None)
        self._seconds = timeout
        self._silence = silence
        self._link: _Link | None = None
        self._look_again = 0.0
        self._lock = asyncio.Lock()

    @classmethod
    def connect(
        cls,
        kubeconfig: Path | None = None,
        *,
        user_agent: str,
        timeout: float = 10.0,
        silence: float = SILENCE_SECONDS,
    ) -> "KubeApi":
        """An API by this kubeconfig; None: the pod's service account, else $KUBECONFIG or ~/.kube/config.

        Nothing is read or sent before the first request, which raises BadKubeconfig where the file is unusable.
        `timeout` (seconds) bounds each wait for the server, not the wait for one of the 64 connections; `silence` how
        long an open watch may say nothing.
        """
        return cls(kubeconfig, user_agent=user_agent, timeout=timeout, silence=silence)

    async def get(self, path: str, type: type[T], params: Mapping[str, str] = NO_PARAMS) -> T:
        """One object, or a list where the path names a collection."""
        verb = "get" if resource_of(path)[1] else "list"
        return _decode(path, await self._call(verb, "GET", path, params=params), type)

    async def create(self, path: str, body: object, type: type[T]) -> T:
        """POST to a collection or a subresource such as eviction. Conflict.already_exists where the name is taken."""
        return _decode(path, await self._call("create", "POST", path, body=body, headers=_JSON), type)

    async def replace(self, path: str, body: object, type: type[T]) -> T:
        """PUT the whole object: only for what no one else writes. Conflict where its resourceVersion is not current."""
        return _decode(path, await self._call("update", "PUT", path, body=body, headers=_JSON), type)

    async def patch(
        self,
        path: str,
        body: object,
        type: type[T],
        *,
        kind: PatchKind = PatchKind.MERGE,
        params: Mapping[str, str] = NO_PARAMS,
    ) -> T:
        """Change fields. With metadata.resourceVersion or uid in the body, Conflict where they are not current."""
        headers = {"Content-Type": kind.value}
        return _decode(path, await self._call("patch", "PATCH", path, body=body, headers=headers, params=params), type)

    async def delete(self, path: str, body: object | None = None) -> None:
        """Delete one object; `body` is metav1.DeleteOptions (preconditions, gracePeriodSeconds)."""
        await self._call("delete", "DELETE", path, body=body, headers=_JSON if body is not None else NO_PARAMS)

    async def watch(
        self, path: str, params: Mapping[str, str], *, opened: Callable[[], None] | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Each event of a watch with bookmarks as its JSON line; ends without error when the server ends the stream.

        Give `resourceVersion` and `timeoutSeconds` in params, and wrap it in contextlib.aclosing to leave early.
        `opened` is called when the server has accepted the watch: the first event may be a minute away.
        """
        query = {**params, "watch": "1", "allowWatchBookmarks": "true"}
        async with self._borrowed() as client:
            answer = await self._open(client, path, query)
            if opened is not None:
                opened()
            try:
                async for line in _lines(answer):
                    _RECEIVED.inc(len(line))
                    yield line
            except (httpx2.RequestError, OSError) as error:
                raise Unreachable(f"watch {path}: {_why(error)}") from error
            finally:
                await answer.aclose()

    async def aclose(self) -> None:
        """Close the connections. Requests that still run end by themselves."""
        link, self._link = self._link, None
        if link is not None:
            link.retired = True
            await link.leave()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _call(
        self,
        verb: str,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] = NO_PARAMS,
        body: object = None,
        headers: Mapping[str, str] = NO_PARAMS,
    ) -> bytes:
        content = None if body is None else msgspec.json.encode(body)
        async with self._borrowed() as client:
            try:
                answer = await client.request(method, path, params=params or None, content=content, headers=headers)
            except (httpx2.RequestError, OSError) as error:
                raise _lost(verb, path, error) from error
            except ConfigError as error:  # an exec plugin or a token file, asked at the moment of the request
                raise BadKubeconfig(str(error)) from error
        _count(verb, path, str(answer.status_code))
        _SENT.inc(len(content or b""))
        _RECEIVED.inc(len(answer.content))
        if not answer.is_success:
            raise _refusal(answer, answer.content)
        return answer.content

    async def _open(self, client: httpx2.AsyncClient, path: str, query: Mapping[str, str]) -> httpx2.Response:
        patience = httpx2.Timeout(**{**self._timeout.as_dict(), "read": self._silence})
        request = client.build_request("GET", path, params=query, timeout=patience)
        try:
            async with asyncio.timeout(self._seconds):
                answer = await client.send(request, stream=True)
                body = b"" if answer.is_success else await answer.aread()
        except (httpx2.RequestError, OSError) as error:  # TimeoutError is an OSError
            raise _lost("watch", path, error) from error
        except ConfigError as error:
            raise BadKubeconfig(str(error)) from error
        _count("watch", path, str(answer.status_code))
        if not answer.is_success:
            raise _refusal(answer, body)
        return answer

    @asynccontextmanager
    async def _borrowed(self) -> AsyncIterator[httpx2.AsyncClient]:
        link = await self._current()
        link.users += 1
        try:
            yield link.client
        finally:
            link.users -= 1
            await link.leave()

    async def _current(self) -> _Link:
        async with self._lock:
            if self._link is None:
                self._link = await asyncio.to_thread(self._connect)
            elif time.monotonic() >= self._look_again:
                self._link = await self._renewed(self._link)
            return self._link

    async def _renewed(self, old: _Link) -> _Link:
        self._look_again = time.monotonic() + RECHECK_SECONDS
        if not await asyncio.to_thread(old.credentials.changed):
            return old
        try:
            new = await asyncio.to_thread(self._connect)
        except BadKubeconfig as error:
            _log.warning("keeping the old credentials", reason=str(error))
            return old
        _log.info("using changed credentials", server=new.credentials.config.cluster.server)
        old.retired = True
        await old.leave()
        return new

    def _connect(self) -> _Link:
        found = credentials.load(self._kubeconfig)
        return _Link(client=found.client(user_agent=self._user_agent, timeout=self._timeout), credentials=found)


async def _lines(answer: httpx2.Response) -> AsyncIterator[bytes]:
    """Whole lines of a stream; what follows the last newline was cut off and is not an event."""
    parts: list[bytes] = []
    async for chunk in answer.aiter_bytes():
        head, *rest = chunk.split(b"\n")
        parts.append(head)
        for tail in rest:
            if line := b"".join(parts):
                yield line
            parts = [tail]


def _decode(path: str, body: bytes, type: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=type)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadAnswer(f"{path}: {error}") from error


def _refusal(answer: httpx2.Response, body: bytes) -> Exception:
    return to_error(body, status=answer.status_code, retry_after=answer.headers.get("Retry-After"))


def _lost(verb: str, path: str, error: Exception) -> Unreachable:
    _count(verb, path, "unreachable")
    return Unreachable(f"{verb} {path}: {_why(error)}")


def _count(verb: str, path: str, code: str) -> None:
    API_CALLS.labels(verb, resource_of(path)[0], code).inc()


def _why(error: Exception) -> str:
    """httpx2's timeouts have no text of their own."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
