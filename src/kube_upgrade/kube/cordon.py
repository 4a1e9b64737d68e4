"""Cordon a node for a reservation, and undo exactly that. The Node's drain annotation is the only state.

Every patch carries the resourceVersion that it was decided on: of two servers, or a server and a person, one is first.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from kube_upgrade.core.backoff import pause
from kube_upgrade.kube import paths
from kube_upgrade.kube.api import Api
from kube_upgrade.kube.errors import Conflict, NotFound
from kube_upgrade.kube.wire.node import DRAIN, NodeObject, to_node, write_drain
from kube_upgrade.model.lock import DrainMark
from kube_upgrade.model.node import Node

PATCH_TRIES = 10  # the kubelet writes its Node too
BEAT_SECONDS = 20  # a drain notes how long it has worked this often: other replicas see that it lives

_dice = random.SystemRandom()
Patch = dict[str, dict[str, Any]]  # a merge patch of metadata and spec


@dataclass(frozen=True, slots=True)
class MarkedByAnother:
    """The node is being drained for another reservation; nothing was changed."""

    mark: DrainMark


async def cordon(api: Api, name: str, mark: DrainMark) -> Node | MarkedByAnother:
    """Make the node unschedulable and note for which reservation, in one guarded patch. Raises NotFound, KubeError.

    A mark of an older reservation of the same server, group and id is taken over with what it remembers.
    """

    def change(node: Node) -> Patch | MarkedByAnother | None:
        if node.drain is None:
            return _marked(replace(mark, cordoned_before=node.unschedulable))
        if (node.drain.group, node.drain.id) != (mark.group, mark.id) or not node.drain.of_server(mark.server):
            return MarkedByAnother(node.drain)
        if node.drain.since == mark.since and node.unschedulable:
            return None
        return _marked(replace(mark, cordoned_before=node.drain.cordoned_before))

    return await _patched(api, name, change)


async def keep_cordoned(api: Api, name: str, mark: DrainMark, spent: float = 0.0, *, drained: bool = False) -> bool:
    """Cordon again where someone lifted the cordon, and note from time to time how long the drain has worked.

    False where this reservation's mark is gone. Raises KubeError.
    """

    def change(node: Node) -> Patch | None:
        if node.drain is None or not node.drain.same_reservation(mark):
            return None
        noted = node.drain
        if spent >= noted.spent + BEAT_SECONDS or (drained and not noted.drained):
            noted = replace(noted, spent=max(noted.spent, int(spent)), drained=noted.drained or drained)
        return None if noted == node.drain and node.unschedulable else _marked(noted)

    try:
        node = await _patched(api, name, change)
    except NotFound:
        return False
    return isinstance(node, Node) and node.drain is not None and node.drain.same_reservation(mark)


async def restore(api: Api, name: str, of: Callable[[DrainMark], bool]) -> bool:
    """Take back our cordon where the node's mark is one of these; an earlier cordon stays. True where there was one.

    A node that is gone needs nothing. Raises KubeError.
    """
    found = False

    def change(node: Node) -> Patch | None:
        nonlocal found
        found = node.drain is not None and of(node.drain)  # as the last look has it, not one that a conflict made void
        if node.drain is None or not found:
            return None
        patch: Patch = {"metadata": {"annotations": {DRAIN: None}}}
        return patch if node.drain.cordoned_before else {**patch, "spec": {"unschedulable": None}}

    try:
        await _patched(api, name, change)
    except NotFound:
        return False
    return found


async def read_node(api: Api, name: str) -> Node:
    """The Node as the API server has it. Raises NotFound, KubeError."""
    return to_node(await api.get(paths.node(name), NodeObject))


def _marked(mark: DrainMark) -> Patch:
    return {"metadata": {"annotations": {DRAIN: write_drain(mark)}}, "spec": {"unschedulable": True}}


async def _patched(
    api: Api, name: str, change: Callable[[Node], Patch | MarkedByAnother | None]
) -> Node | MarkedByAnother:
    """Read, decide, patch with the resourceVersion that was read; again after a 409, PATCH_TRIES times at most."""
    for attempt in range(1, PATCH_TRIES + 1):
        node = await read_node(api, name)
        patch = change(node)
        if patch is None:
            return node
        if isinstance(patch, MarkedByAnother):
            return patch
        patch["metadata"]["resourceVersion"] = node.resource_version
        try:
            return to_node(await api.patch(paths.node(name), patch, NodeObject))
        except Conflict:
            if attempt == PATCH_TRIES:
                raise
            await asyncio.sleep(pause(attempt, first=0.02, most=0.5, dice=_dice.random()))
    raise AssertionError("the last attempt returned or raised")
