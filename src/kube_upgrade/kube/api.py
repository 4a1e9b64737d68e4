"""The port to the API server: what KubeApi offers, as a type, so that other implementations can stand in."""

from collections.abc import AsyncGenerator, Callable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Protocol, TypeVar

T = TypeVar("T")

NO_PARAMS: Mapping[str, str] = MappingProxyType({})


class PatchKind(StrEnum):
    """How a patch's body is read. APPLY needs `fieldManager` in params; STRATEGIC is not for custom resources."""

    MERGE = "application/merge-patch+json"
    JSON = "application/json-patch+json"
    STRATEGIC = "application/strategic-merge-patch+json"
    APPLY = "application/apply-patch+yaml"


class Api(Protocol):
    """Requests to one API server. Every method raises KubeError's children and nothing else of the network."""

    async def get(self, path: str, type: type[T], params: Mapping[str, str] = NO_PARAMS) -> T:
        """One object, or a list where the path names a collection."""
        ...

    async def create(self, path: str, body: object, type: type[T]) -> T:
        """POST to a collection or a subresource such as eviction. Conflict.already_exists where the name is taken."""
        ...

    async def replace(self, path: str, body: object, type: type[T]) -> T:
        """PUT the whole object: only for what no one else writes. Conflict where its resourceVersion is not current."""
        ...

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
        ...

    async def delete(self, path: str, body: object | None = None) -> None:
        """Delete one object; `body` is metav1.DeleteOptions (preconditions, gracePeriodSeconds)."""
        ...

    def watch(
        self, path: str, params: Mapping[str, str], *, opened: Callable[[], None] | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Each event of a watch with bookmarks as its JSON line; ends without error when the server ends the stream.

        Give `resourceVersion` and `timeoutSeconds` in params, and wrap it in contextlib.aclosing to leave early.
        `opened` is called when the server has accepted the watch: the first event may be a minute away.
        """
        ...
