"""What our own writes returned, shown in place of the copy until the watch has caught up."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar


class Versioned(Protocol):
    """A value that knows the resourceVersion it was read at."""

    @property
    def resource_version(self) -> str:
        """Opaque: compared for equality only."""
        ...


Value = TypeVar("Value", bound=Versioned)


class Overlay(Generic[Value]):
    """A view of `items` in which a guarded write of ours is visible at once.

    A write guarded by version V is followed, in the watch, by its own result or something later. So the copy is
    behind exactly as long as it still shows V, or what an earlier write of ours replaced on the way to V.
    """

    def __init__(self, items: Mapping[str, Value]) -> None:
        self._items = items
        self._under_way: set[str] = set()
        self._written: dict[str, tuple[tuple[str, ...], Value]] = {}

    def put(self, key: str, replaced: str, value: Value) -> None:
        """Remember the result of a write that replaced version `replaced`."""
        before = self._written.get(key)
        earlier = before[0] if before is not None and before[1].resource_version == replaced else ()
        self._written[key] = ((*earlier, replaced), value)

    def get(self, key: str) -> Value | None:
        """The newest value known, or None where the object is gone."""
        item, written = self._items.get(key), self._written.get(key)
        if written is None:
            return item
        if item is not None and item.resource_version in written[0]:
            return written[1]
        del self._written[key]
        return item

    @contextmanager
    def writing(self, key: str) -> Iterator[None]:
        """A write of ours is under way: the watch may be faster than its answer."""
        self._under_way.add(key)
        try:
            yield
        finally:
            self._under_way.discard(key)

    def ours(self, key: str, version: str) -> bool:
        """True where this version of an object is a write of ours or may be one: who writes looks again anyway."""
        written = self._written.get(key)
        known = written is not None and version in (written[1].resource_version, *written[0])
        return known or key in self._under_way

    def values(self) -> Iterator[Value]:
        """The newest value of every object that is there."""
        if not self._written:
            return iter(self._items.values())
        return (value for key in self._items if (value := self.get(key)) is not None)
