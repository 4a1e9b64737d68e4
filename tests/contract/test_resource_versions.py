"""What every writer of ours relies on, promised alike by the real API server and by the one that properties run on."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from kube_upgrade.kube.api import Api
from kube_upgrade.kube.client import KubeApi
from kube_upgrade.kube.errors import Conflict, Gone, Invalid, NotFound
from kube_upgrade.kube.paths import CRDS, NODES, configmap, configmaps, node, node_status
from kube_upgrade.kube.wire.list import Page, WatchEvent
from kube_upgrade.kube.wire.meta import ObjectMeta
from kube_upgrade.kube.wire.status import to_error
from support.async_memory_api import AsyncMemoryApi
from support.memory_api import MemoryApi

Object = dict[str, Any]
WIDGETS = "/apis/contract.kube-upgrade.test/v1/widgets"
ANY = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
WIDGET_CRD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.contract.kube-upgrade.test"},
    "spec": {
        "group": "contract.kube-upgrade.test",
        "scope": "Cluster",
        "names": {"kind": "Widget", "plural": "widgets"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": ANY, "status": ANY}}},
            }
        ],
    },
}


@dataclass(frozen=True)
class Server:
    """One of the two API servers; names are this test's own, so that the real one can be shared."""

    api: Api
    forget: Callable[[], None]  # the watch history up to now, where that can be asked for
    patience: str  # seconds until an idle watch is ended
    tag: str = field(default_factory=lambda: secrets.token_hex(4))

    @property
    def map(self) -> str:
        """Path of this test's ConfigMap."""
        return configmap("default", f"map-{self.tag}")

    @property
    def widget(self) -> str:
        """Path of this test's custom resource."""
        return f"{WIDGETS}/widget-{self.tag}"

    async def create_map(self, **annotations: str) -> Object:
        body = {"metadata": {"name": f"map-{self.tag}", "annotations": annotations}, "data": {"a": "1"}}
        return await self.api.create(configmaps("default"), body, dict)

    async def create_widget(self, name: str = "widget", **more: object) -> Object:
        meta = {"name": f"{name}-{self.tag}", "labels": {"test": self.tag}}
        kind = {"apiVersion": "contract.kube-upgrade.test/v1", "kind": "Widget"}
        return await self.api.create(WIDGETS, {**kind, "metadata": meta, "spec": {"size": 1}, **more}, dict)

    async def clean(self) -> None:
        for path in (self.map, self.widget, node(f"node-{self.tag}")):
            try:
                await self.api.delete(path)
            except NotFound:
                continue


@dataclass(frozen=True)
class Seen:
    type: str
    name: str
    version: str


class Identified(msgspec.Struct):
    metadata: ObjectMeta


@pytest.fixture(params=["memory", pytest.param("real", marks=pytest.mark.cluster)])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[Server]:
    if request.param == "memory":
        memory = MemoryApi(custom=frozenset({"widgets"}))
        yield Server(AsyncMemoryApi(memory), forget=memory.compact, patience="0.05")
        return
    control_plane = request.getfixturevalue("control_plane")
    async with KubeApi.connect(control_plane.admin_kubeconfig, user_agent="kube-upgrade-tests") as api:
        try:
            await api.create(CRDS, WIDGET_CRD, dict)
            control_plane.kubectl("wait", "--for=condition=Established", "crd/widgets.contract.kube-upgrade.test")
        except Conflict:
            pass  # an earlier test made it
        server = Server(api, forget=lambda: None, patience="4")
        yield server
        await server.clean()


async def watched(server: Server, path: str, since: str, count: int, **params: str) -> list[Seen]:
    """The first events after `since`; fewer where the server ends the watch before."""
    seen: list[Seen] = []
    query = {"resourceVersion": since, "timeoutSeconds": server.patience, **params}
    async with aclosing(server.api.watch(path, query)) as lines:
        async for line in lines:
            event = msgspec.json.decode(line, type=WatchEvent)
            if event.type == "ERROR":
                raise to_error(bytes(event.object))
            meta = msgspec.json.decode(event.object, type=Identified).metadata
            seen.append(Seen(event.type, meta.name, meta.resource_version))
            if len(seen) == count:
                break
    return seen


def version(found: Object) -> str:
    text: str = found["metadata"]["resourceVersion"]
    return text


async def test_a_patch_decided_on_an_old_version_is_refused(server: Server) -> None:
    old = await server.create_map()
    await server.api.patch(server.map, {"data": {"a": "2"}}, dict)
    with pytest.raises(Conflict) as refused:
        await server.api.patch(server.map, {"metadata": {"resourceVersion": version(old)}, "data": {"a": "3"}}, dict)
    assert not refused.value.already_exists
    assert (await server.api.get(server.map, dict))["data"] == {"a": "2"}


async def test_a_patch_on_the_current_version_passes(server: Server) -> None:
    made = await server.create_map()
    body = {"metadata": {"resourceVersion": version(made), "uid": made["metadata"]["uid"]}, "data": {"a": "3"}}
    assert (await server.api.patch(server.map, body, dict))["data"] == {"a": "3"}


async def test_a_patch_meant_for_a_namesake_is_refused(server: Server) -> None:
    await server.create_map()
    with pytest.raises(Conflict):
        await server.api.patch(server.map, {"metadata": {"uid": "another"}, "data": {"a": "3"}}, dict)
    assert (await server.api.get(server.map, dict))["data"] == {"a": "1"}


async def test_a_replacement_meant_for_a_namesake_is_refused(server: Server) -> None:
    made = await server.create_map()
    made["metadata"]["uid"] = "another"
    with pytest.raises(Conflict):
        await server.api.replace(server.map, made, dict)


async def test_a_patch_of_what_is_not_there_says_so(server: Server) -> None:
    with pytest.raises(NotFound):
        await server.api.patch(server.map, {"data": {"a": "3"}}, dict)


async def test_a_patch_that_changes_nothing_writes_nothing(server: Server) -> None:
    made = await server.create_map(colour="red")
    same = await server.api.patch(server.map, {"metadata": {"annotations": {"colour": "red"}}}, dict)
    assert version(same) == version(made)


async def test_null_removes_an_annotation_and_leaves_the_others(server: Server) -> None:
    await server.create_map(colour="red", size="big")
    left = await server.api.patch(server.map, {"metadata": {"annotations": {"colour": None, "new": "1"}}}, dict)
    assert left["metadata"]["annotations"] == {"size": "big", "new": "1"}


async def test_a_taken_name_is_refused_as_taken(server: Server) -> None:
    await server.create_map()
    with pytest.raises(Conflict) as refused:
        await server.create_map()
    assert refused.value.already_exists


async def test_a_name_made_again_is_another_object(server: Server) -> None:
    first = await server.create_map()
    await server.api.delete(server.map)
    with pytest.raises(NotFound):
        await server.api.get(server.map, dict)
    second = await server.create_map()
    assert first["metadata"]["uid"] != second["metadata"]["uid"]
    assert version(first) != version(second)


async def test_a_deletion_meant_for_a_namesake_is_refused(server: Server) -> None:
    made = await server.create_map()
    with pytest.raises(Conflict):
        await server.api.delete(server.map, {"preconditions": {"uid": "another"}})
    await server.api.delete(server.map, {"preconditions": {"uid": made["metadata"]["uid"]}})
    with pytest.raises(NotFound):
        await server.api.delete(server.map)


async def test_a_custom_resource_is_made_without_its_status_and_with_generation_one(server: Server) -> None:
    made = await server.create_widget(status={"summary": "forged"})
    assert "status" not in made
    assert made["metadata"]["generation"] == 1


async def test_a_status_decided_on_an_old_version_is_refused(server: Server) -> None:
    old = await server.create_widget()
    await server.api.replace(f"{server.widget}/status", {**old, "status": {"claims": ["a"]}}, dict)
    with pytest.raises(Conflict):
        await server.api.replace(f"{server.widget}/status", {**old, "status": {"claims": ["b"]}}, dict)
    assert (await server.api.get(server.widget, dict))["status"] == {"claims": ["a"]}


async def test_writing_the_status_changes_nothing_else(server: Server) -> None:
    made = await server.create_widget()
    body = {**made, "spec": {"size": 9}, "status": {"summary": "Complete"}}
    body["metadata"] = {**made["metadata"], "annotations": {"sneaked": "in"}}
    written = await server.api.replace(f"{server.widget}/status", body, dict)
    assert (written["spec"], written["status"]) == ({"size": 1}, {"summary": "Complete"})
    assert written["metadata"]["generation"] == 1
    assert "annotations" not in written["metadata"]
    assert version(written) != version(made)


async def test_writing_the_object_leaves_the_status_and_counts_the_specs_generation(server: Server) -> None:
    made = await server.create_widget()
    with_status = await server.api.patch(f"{server.widget}/status", {"status": {"summary": "Waiting"}}, dict)
    body = {**with_status, "spec": {"size": 2}, "status": {"summary": "forged"}}
    changed = await server.api.replace(server.widget, body, dict)
    assert changed["status"] == {"summary": "Waiting"}
    assert changed["metadata"]["generation"] == made["metadata"]["generation"] + 1
    noted = await server.api.patch(server.widget, {"metadata": {"annotations": {"a": "1"}}}, dict)
    assert noted["metadata"]["generation"] == changed["metadata"]["generation"]


async def test_a_replace_that_names_no_version_is_refused(server: Server) -> None:
    made = await server.create_widget()
    del made["metadata"]["resourceVersion"]
    with pytest.raises(Invalid, match="must be specified for an update"):
        await server.api.replace(server.widget, made, dict)


async def test_a_nodes_status_and_its_spec_are_written_apart_but_both_ways_carry_annotations(server: Server) -> None:
    """A kubelet writes its status without undoing a cordon; either patch may carry annotations."""
    name = f"node-{server.tag}"
    await server.api.create(NODES, {"metadata": {"name": name}}, dict)
    await server.api.patch(node(name), {"spec": {"unschedulable": True}, "status": {"phase": "forged"}}, dict)
    body = {
        "metadata": {"annotations": {"seen": "1"}},
        "spec": {"unschedulable": None},
        "status": {"nodeInfo": {"kubeletVersion": "v1.37.2"}},
    }
    found = await server.api.patch(node_status(name), body, dict)
    assert found["spec"]["unschedulable"] is True
    assert found["status"]["nodeInfo"]["kubeletVersion"] == "v1.37.2"
    assert found["status"].get("phase") != "forged"
    assert found["metadata"]["annotations"]["seen"] == "1"


async def test_pages_of_a_list_are_of_one_moment(server: Server) -> None:
    for name in ("a", "b", "c"):
        await server.create_widget(name)
    ours = {"labelSelector": f"test={server.tag}", "limit": "2"}
    first = await server.api.get(WIDGETS, Page, ours)
    await server.create_widget("d")
    second = await server.api.get(WIDGETS, Page, {**ours, "continue": first.metadata.continue_})
    assert [len(first.items), len(second.items)] == [2, 1]
    assert first.metadata.resource_version == second.metadata.resource_version
    for name in ("a", "b", "c", "d"):
        await server.api.delete(f"{WIDGETS}/{name}-{server.tag}")


async def test_a_list_at_exactly_one_revision_shows_the_past(server: Server) -> None:
    """The judge's way back after a 410."""
    made = version(await server.create_widget())
    changed = version(await server.api.patch(server.widget, {"spec": {"size": 2}}, dict))
    await server.api.delete(server.widget)

    async def at(revision: str) -> list[str]:
        params = {"labelSelector": f"test={server.tag}", "resourceVersion": revision, "resourceVersionMatch": "Exact"}
        page = await server.api.get(WIDGETS, Page, params)
        return [msgspec.json.decode(item, type=Identified).metadata.resource_version for item in page.items]

    assert await at(str(int(made) - 1)) == []
    assert await at(made) == [made]
    assert await at(changed) == [changed]
    assert await at(str(int(changed) + 1)) == []


async def test_a_watch_tells_what_came_later_in_order(server: Server) -> None:
    before = version(await server.create_widget())
    changed = version(await server.api.patch(server.widget, {"spec": {"size": 2}}, dict))
    await server.api.delete(server.widget)
    made = version(await server.create_widget())
    seen = await watched(server, WIDGETS, before, 3)
    assert [(event.type, event.name) for event in seen] == [
        (kind, f"widget-{server.tag}") for kind in ("MODIFIED", "DELETED", "ADDED")
    ]
    assert [seen[0].version, seen[2].version] == [changed, made]
    assert seen[1].version not in (changed, made)
    assert await watched(server, WIDGETS, seen[1].version, 1) == seen[2:]


async def test_a_watch_of_one_name_hears_nothing_else(server: Server) -> None:
    since = version(await server.create_widget())
    await server.create_widget("other")
    await server.api.patch(server.widget, {"spec": {"size": 2}}, dict)
    (seen,) = await watched(server, WIDGETS, since, 1, fieldSelector=f"metadata.name=widget-{server.tag}")
    assert (seen.type, seen.name) == ("MODIFIED", f"widget-{server.tag}")
    await server.api.delete(f"{WIDGETS}/other-{server.tag}")


async def test_leaving_a_selection_looks_like_a_deletion(server: Server) -> None:
    since = version(await server.create_widget())
    left = version(await server.api.patch(server.widget, {"metadata": {"labels": {"test": "no"}}}, dict))
    back = version(await server.api.patch(server.widget, {"metadata": {"labels": {"test": server.tag}}}, dict))
    seen = await watched(server, WIDGETS, since, 2, labelSelector=f"test={server.tag}")
    assert [(event.type, event.version) for event in seen] == [("DELETED", left), ("ADDED", back)]


@pytest.mark.timeout(120)
async def test_an_idle_watch_hears_bookmarks_and_can_go_on_from_them(server: Server) -> None:
    """Every 60 s, and shortly before its end; but the latter not in a server's first minute, hence the loop."""
    name = f"node-{server.tag}"
    since = version(await server.api.create(NODES, {"metadata": {"name": name}}, dict))
    seen: list[Seen] = []
    async with asyncio.timeout(90):
        while not any(event.type == "BOOKMARK" for event in seen):
            seen = await watched(server, NODES, since, 10, fieldSelector=f"metadata.name={name}")
    changed = version(await server.api.patch(node(name), {"spec": {"unschedulable": True}}, dict))
    later = await watched(server, NODES, seen[-1].version, 1, fieldSelector=f"metadata.name={name}")
    assert [(event.type, event.version) for event in later] == [("MODIFIED", changed)]


async def test_a_watch_from_a_forgotten_version_is_gone(server: Server) -> None:
    await server.create_widget()
    server.forget()
    with pytest.raises(Gone):
        await watched(server, WIDGETS, "1", 1)
