"""A local copy of one collection: list, then watch; level-triggered readers look at `items`, never at events.

The rules are client-go's (domain: 5.4). The list comes in pages of 200, which bound the memory; the watch asks for
bookmarks, ends after a random 300 to 600 s and goes on from the last resourceVersion seen. A 410, as HTTP status or as
ERROR event, means a new list at once, whose difference to the copy is reported: what vanished meanwhile is reported as
removed, so no ghost stays. Everything else (refused, broken, silent) is retried from the last resourceVersion with a
bounded, jittered pause.
"""

import asyncio
import random
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from types import MappingProxyType
from typing import Generic, NoReturn, Protocol, TypeVar

import msgspec

from kube_upgrade.core.backoff import pause
from kube_upgrade.kube.api import NO_PARAMS, Api
from kube_upgrade.kube.errors import ApiError, BadAnswer, Gone, KubeError
from kube_upgrade.kube.wire.list import Identified, Page, WatchEvent
from kube_upgrade.kube.wire.meta import ObjectMeta
from kube_upgrade.kube.wire.status import to_error
from kube_upgrade.telemetry import logs

PAGE = 200
WATCH_SECONDS = (300, 600)
FIRST_PAUSE, MOST_PAUSE = 0.2, 15.0
SHORT_LIFE_SECONDS = 1.0  # a watch that the server ends sooner counts as a failure: no hot loop of reconnects

_dice = random.SystemRandom()
_log = logs.logger("informer")


class HasMetadata(Protocol):
    """An object of the API, reduced however its reader likes."""

    @property
    def metadata(self) -> ObjectMeta:
        """metav1.ObjectMeta."""
        ...


Wire = TypeVar("Wire", bound=HasMetadata)
Value = TypeVar("Value")
OnChange = Callable[[str, Value | None, Value | None], None]


@dataclass(frozen=True, slots=True)
class _Held(Generic[Value]):
    uid: str
    version: str
    value: Value


class Informer(Generic[Wire, Value]):
    """The values of all objects below `path`, by `namespace/name` (or `name`), kept current while `run` runs.

    `on_change(key, old, new)` is called after the copy has changed; None stands for "is not there". An object that was
    deleted and made again under its name is reported as gone, then as new, even if the deletion itself was not seen.

    `last_contact` is the moment (seconds of the event loop) of the server's last word. `stale_since` is None while the
    watch stands, else since when the copy may be old. Silence alone is noticed after client.SILENCE_SECONDS.
    """

    def __init__(
        self,
        api: Api,
        path: str,
        *,
        type: type[Wire],
        value: Callable[[Wire], Value],
        params: Mapping[str, str] = NO_PARAMS,
        on_change: OnChange[Value] | None = None,
    ) -> None:
        self._api = api
        self._path = path
        self._params = dict(params)
        self._decoder = msgspec.json.Decoder(type)
        self._value = value
        self._on_change = on_change
        self._held: dict[str, _Held[Value]] = {}
        self._items: dict[str, Value] = {}
        self._version = ""
        self._failures = 0
        self._expiries = 0
        self._trouble = ""
        self.synced = asyncio.Event()
        self.last_contact: float | None = None
        self.stale_since: float | None = None

    @property
    def items(self) -> Mapping[str, Value]:
        """The copy, read-only and live; empty until `synced` is set."""
        return MappingProxyType(self._items)

    async def run(self) -> NoReturn:
        """List and watch until cancelled."""
        while True:
            try:
                await self._follow()
            except KubeError as error:
                await self._recover(error)

    async def _follow(self) -> None:
        """One list where one is needed, and one watch up to its end."""
        if not self._version:
            self._version = await self._list()
        started = _seconds()
        await self._watch()
        if _seconds() - started < SHORT_LIFE_SECONDS:
            raise KubeError("the server ended the watch at once")
        self._failures = self._expiries = 0

    async def _list(self) -> str:
        """Replace the copy by a new list and report the difference. Returns the resourceVersion to watch from."""
        try:
            version, found = await self._pages(PAGE)
        except Gone:  # a page's token grew too old: one long answer cannot
            version, found = await self._pages(0)
        self._heard()
        for key in self._held.keys() - found.keys():
            self._remove(key)
        for key, held in found.items():
            self._put(key, held)
        self.synced.set()
        return version

    async def _pages(self, size: int) -> tuple[str, dict[str, _Held[Value]]]:
        found: dict[str, _Held[Value]] = {}
        params = self._params | ({"limit": str(size)} if size else {})
        while True:
            page = await self._api.get(self._path, Page, params)
            for raw in page.items:
                key, held = self._read(raw)
                found[key] = held
            if not page.metadata.continue_:
                return page.metadata.resource_version, found
            params["continue"] = page.metadata.continue_

    async def _watch(self) -> None:
        seconds = _dice.randint(*WATCH_SECONDS)
        params = self._params | {"resourceVersion": self._version, "timeoutSeconds": str(seconds)}
        async with aclosing(self._api.watch(self._path, params, opened=self._heard)) as lines:
            async for line in lines:
                self._take(line)
                self._failures = self._expiries = 0
                self._heard()

    def _take(self, line: bytes) -> None:
        event = _decoded(line, WatchEvent)
        match event.type:
            case "ADDED" | "MODIFIED":
                key, held = self._read(event.object)
                self._put(key, held)
                self._version = held.version
            case "DELETED":
                meta = _decoded(event.object, Identified).metadata
                self._remove(_key(meta))
                self._version = meta.resource_version
            case "BOOKMARK":
                self._version = _decoded(event.object, Identified).metadata.resource_version
            case "ERROR":
                raise to_error(bytes(event.object))
            case unknown:
                raise BadAnswer(f"{self._path}: unknown kind of watch event {unknown!r}")

    def _read(self, raw: msgspec.Raw) -> tuple[str, _Held[Value]]:
        try:
            wire = self._decoder.decode(raw)
        except msgspec.DecodeError as error:
            raise BadAnswer(f"{self._path}: {error}") from error
        meta = wire.metadata
        return _key(meta), _Held(meta.uid, meta.resource_version, self._value(wire))

    def _put(self, key: str, new: _Held[Value]) -> None:
        old = self._held.get(key)
        if old is not None and old.uid != new.uid:
            self._remove(key)
            old = None
        self._held[key] = new
        self._items[key] = new.value
        if old is None:
            self._report(key, None, new.value)
        elif old.version != new.version and old.value != new.value:
            self._report(key, old.value, new.value)

    def _remove(self, key: str) -> None:
        old = self._held.pop(key, None)
        if old is not None:
            del self._items[key]
            self._report(key, old.value, None)

    def _report(self, key: str, old: Value | None, new: Value | None) -> None:
        if self._on_change is not None:
            self._on_change(key, old, new)

    def _heard(self) -> None:
        """The server answered."""
        self.last_contact = _seconds()
        self.stale_since = None
        if self._trouble:
            _log.info("watching again", path=self._path)
            self._trouble = ""

    async def _recover(self, error: KubeError) -> None:
        """Say what is wrong, once per kind of trouble, and wait before the next try."""
        if isinstance(error, Gone):  # the server is back: a list is missing, not the outage's patience
            self._version = ""
            self._failures = 0
            self._expiries += 1
        else:
            self._failures += 1
        if self.stale_since is None:
            self.stale_since = self.last_contact if self.last_contact is not None else _seconds()
        kind = f"{type(error).__name__} {error.status if isinstance(error, ApiError) else ''}"
        seconds = pause(self._failures or self._expiries, first=FIRST_PAUSE, most=MOST_PAUSE, dice=_dice.random())
        if isinstance(error, ApiError) and error.retry_after:
            seconds = max(seconds, min(error.retry_after, MOST_PAUSE))
        if kind != self._trouble:
            _log.warning("watch interrupted", path=self._path, reason=str(error), retry_seconds=round(seconds, 1))
            self._trouble = kind
        await asyncio.sleep(seconds)


T = TypeVar("T")


def _seconds() -> float:
    """The event loop's clock, which is the monotonic one, as everything that sleeps here goes by it."""
    return asyncio.get_running_loop().time()


def _decoded(raw: bytes | msgspec.Raw, type: type[T]) -> T:
    try:
        return msgspec.json.decode(raw, type=type)
    except msgspec.DecodeError as error:
        raise BadAnswer(f"watch event: {error}") from error


def _key(meta: ObjectMeta) -> str:
    return f"{meta.namespace}/{meta.name}" if meta.namespace else meta.name
