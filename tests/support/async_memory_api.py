"""MemoryApi with KubeApi's methods, so that production code runs on it unchanged."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import TypeVar

import msgspec

from kube_upgrade.kube.api import NO_PARAMS, PatchKind
from kube_upgrade.kube.errors import KubeError
from support.memory_api import MemoryApi

T = TypeVar("T")


def fair_weather(verb: str, path: str) -> None:
    """Nothing goes wrong."""


class AsyncMemoryApi:
    """kube.api.Api over a MemoryApi. `weather(verb, path)` runs before each request and may raise a KubeError."""

    def __init__(self, memory: MemoryApi, *, weather: Callable[[str, str], None] = fair_weather) -> None:
        self.memory = memory
        self.weather = weather
        self.requests: list[tuple[str, str]] = []  # (verb, path), in order
        self._asked = asyncio.Event()
        self._woken = asyncio.Event()
        self._storm: KubeError | None = None
        self._storms = 0
        memory.on_write.append(self._wake)

    async def get(self, path: str, type: type[T], params: Mapping[str, str] = NO_PARAMS) -> T:
        """GET."""
        await self._enter("get", path)
        return _typed(self.memory.get(path, params), type)

    async def create(self, path: str, body: object, type: type[T]) -> T:
        """POST."""
        await self._enter("create", path)
        return _typed(self.memory.create(path, body), type)

    async def replace(self, path: str, body: object, type: type[T]) -> T:
        """PUT."""
        await self._enter("update", path)
        return _typed(self.memory.replace(path, body), type)

    async def patch(
        self,
        path: str,
        body: object,
        type: type[T],
        *,
        kind: PatchKind = PatchKind.MERGE,
        params: Mapping[str, str] = NO_PARAMS,
    ) -> T:
        """PATCH."""
        await self._enter("patch", path)
        return _typed(self.memory.patch(path, body, kind=kind, params=params), type)

    async def delete(self, path: str, body: object | None = None) -> None:
        """DELETE."""
        await self._enter("delete", path)
        self.memory.delete(path, body)

    async def watch(
        self, path: str, params: Mapping[str, str], *, opened: Callable[[], None] | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Events as they are written; after timeoutSeconds without any, a bookmark and the end."""
        await self._enter("watch", path)
        version, seconds, storms = params["resourceVersion"], float(params["timeoutSeconds"]), self._storms
        self.memory.watch(path, version, params)
        if opened is not None:
            opened()
        while True:
            woken = self._woken  # taken before the look, so that nothing written meanwhile is slept over
            for event in self.memory.watch(path, version, params):
                version = event["object"]["metadata"]["resourceVersion"]
                yield msgspec.json.encode(event)
            if self._storms > storms and self._storm is not None:
                raise self._storm
            if self._storms > storms or not await _happens(woken, seconds):
                yield msgspec.json.encode(self.memory.bookmark())
                return

    async def asked(self, count: int, verb: str, path: str) -> None:
        """Wait until this request was made so many times."""
        while self.requests.count((verb, path)) < count:
            await self._asked.wait()

    def break_watches(self, error: KubeError | None = None) -> None:
        """End every running watch, by this error or as a server does it in peace."""
        self._storm = error
        self._storms += 1
        self._wake()

    def _wake(self) -> None:
        woken, self._woken = self._woken, asyncio.Event()
        woken.set()

    async def _enter(self, verb: str, path: str) -> None:
        await asyncio.sleep(0)  # as every request does, it lets others run first
        self.requests.append((verb, path))
        asked, self._asked = self._asked, asyncio.Event()
        asked.set()
        self.weather(verb, path)


async def _happens(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True


def _typed(answer: object, type: type[T]) -> T:
    return msgspec.json.decode(msgspec.json.encode(answer), type=type)
