"""A restart of the API server costs no revision: what its watches have forgotten is read from etcd, one by one."""

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from kube_upgrade.kube import paths
from kube_upgrade.kube.errors import Gone
from kube_upgrade.lab.real.witness import PatientWitness
from kube_upgrade.lab.witness import Watched, read_node
from kube_upgrade.model.node import Node
from support.async_memory_api import AsyncMemoryApi
from support.histories import START
from support.memory_api import MemoryApi

T = TypeVar("T")
GONE = Gone(410, "Expired", "too old resource version: 5 (9)")


class Etcd(AsyncMemoryApi):
    """Remembers every list of nodes by its revision; those up to `compacted` are gone."""

    def __init__(self) -> None:
        super().__init__(MemoryApi())
        self.lists: dict[str, bytes] = {}
        self.compacted = 0

    def write(self, name: str, *, unschedulable: bool) -> None:
        if any(item["metadata"]["name"] == name for item in self.memory.get(paths.NODES)["items"]):
            self.memory.patch(paths.node(name), {"spec": {"unschedulable": unschedulable}})
        else:
            self.memory.create(paths.NODES, {"metadata": {"name": name}, "spec": {"unschedulable": unschedulable}})
        self.lists[self.memory.version] = msgspec.json.encode(self.memory.get(paths.NODES))

    async def get(self, path: str, type: type[T], params: Mapping[str, str] = {}) -> T:
        if params.get("resourceVersionMatch") != "Exact":
            return await super().get(path, type)
        revision = params["resourceVersion"]
        if int(revision) <= self.compacted:
            raise GONE
        return msgspec.json.decode(self.lists[revision], type=type)


async def scene(*, compacted: int = 0) -> tuple[PatientWitness, Etcd]:
    """A witness that saw the first revision, and lost the three after it."""
    etcd = Etcd()
    etcd.write("n", unschedulable=False)
    witness = PatientWitness(api=etcd, now=lambda: START)
    kind = Watched(paths.NODES, read_node)
    await witness._list(kind)
    for unschedulable in (True, False, True):
        etcd.write("n", unschedulable=unschedulable)
    etcd.compacted = int(kind.position) + compacted
    await witness._lost(kind, GONE)
    return witness, etcd


def cordons(witness: PatientWitness) -> list[bool]:
    return [each.subject.unschedulable for each in witness.seen if isinstance(each.subject, Node)]


async def test_every_revision_in_between_is_seen_once() -> None:
    witness, _ = await scene()
    assert cordons(witness) == [False, True, False, True]
    assert (witness.gaps, witness.filled) == ([], 3)


async def test_what_etcd_has_forgotten_too_is_a_gap() -> None:
    witness, _ = await scene(compacted=1)
    assert cordons(witness) == [False]
    assert witness.gaps == [f"{paths.NODES}: {GONE}"]
