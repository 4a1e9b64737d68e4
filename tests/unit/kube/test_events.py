"""Announcing never waits and never fails; the API gets one Event per fact, counted up."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from structlog.testing import capture_logs

from kube_upgrade.kube.errors import Forbidden
from kube_upgrade.kube.events import WAITING, Recorder
from kube_upgrade.kube.paths import event, events
from kube_upgrade.kube.wire.event import Announcement, ObjectReference
from support.async_memory_api import AsyncMemoryApi, fair_weather
from support.fake_clock import FakeClock
from support.memory_api import MemoryApi, Object

NODE = ObjectReference(kind="Node", name="worker-1", uid="uid-1")
ORDERED = Announcement(regarding=NODE, reason="Ordered", action="OrderNode", note="worker-1 goes to v1.37.2")
CONTROLLER = "kube-upgrade.heathcliff.eu/upgrade-controller"


@dataclass
class Scene:
    memory: MemoryApi = field(default_factory=MemoryApi)
    clock: FakeClock = field(default_factory=FakeClock)

    def __post_init__(self) -> None:
        self.api = AsyncMemoryApi(self.memory, weather=fair_weather)
        self.recorder = Recorder(self.api, controller=CONTROLLER, instance="pod-1", clock=self.clock)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Scene"]:
        task = asyncio.create_task(self.recorder.run())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def announce(self, *, seconds: float = 0.0, said: Announcement = ORDERED) -> None:
        await self.clock.advance(seconds)
        self.recorder.announce(said)
        await self.recorder.flush()

    def written(self, namespace: str = "default") -> list[Object]:
        found: list[Object] = self.memory.get(events(namespace))["items"]
        return found


async def test_an_announcement_about_a_node_is_an_event_in_default() -> None:
    async with Scene().running() as scene:
        await scene.announce()
        (found,) = scene.written()
        del found["metadata"]
        assert found == {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "eventTime": "2026-11-24T08:00:00.000000Z",
            "reportingController": CONTROLLER,
            "reportingInstance": "pod-1",
            "action": "OrderNode",
            "reason": "Ordered",
            "type": "Normal",
            "note": "worker-1 goes to v1.37.2",
            "regarding": {"apiVersion": "v1", "kind": "Node", "name": "worker-1", "uid": "uid-1"},
        }


async def test_an_event_about_a_pod_lives_in_its_namespace() -> None:
    pod = ObjectReference(kind="Pod", name="web-1", namespace="shop")
    async with Scene().running() as scene:
        await scene.announce(said=Announcement(regarding=pod, reason="DrainBlocked", action="Evict", note="budget"))
        assert [found["metadata"]["namespace"] for found in scene.written("shop")] == ["shop"]


async def test_repetitions_count_up_in_the_same_event() -> None:
    async with Scene().running() as scene:
        await scene.announce()
        await scene.announce(seconds=1)
        await scene.announce(seconds=11)
        (found,) = scene.written()
        assert found["series"] == {"count": 3, "lastObservedTime": "2026-11-24T08:00:12.000000Z"}
        assert [verb for verb, _ in scene.api.requests] == ["create", "patch"]


async def test_a_repetition_of_an_expired_event_makes_a_new_one() -> None:
    async with Scene().running() as scene:
        await scene.announce()
        scene.memory.delete(event("default", scene.written()[0]["metadata"]["name"]))
        await scene.announce(seconds=60)
        (found,) = scene.written()
        assert "series" not in found


async def test_a_refused_event_is_one_line_in_the_log_and_the_next_one_is_tried() -> None:
    def forbidden(verb: str, path: str) -> None:
        raise Forbidden(403, "Forbidden", "cannot create events")

    async with Scene().running() as scene:
        scene.api.weather = forbidden
        with capture_logs() as lines:
            await scene.announce()
        scene.api.weather = fair_weather
        other = Announcement(regarding=NODE, reason="Completed", action="None", note="done")
        await scene.announce(said=other)
        assert [line["reason"] for line in lines] == ["403 Forbidden: cannot create events"]
        assert [found["reason"] for found in scene.written()] == ["Completed"]


async def test_more_than_fit_are_dropped_and_said_once_with_their_number() -> None:
    scene = Scene()
    with capture_logs() as lines:
        for _ in range(WAITING + 2):
            scene.recorder.announce(ORDERED)
        assert [line["event"] for line in lines] == ["events are dropped: too many wait"]
        async with scene.running():
            await scene.recorder.flush()
    assert lines[1:] == [{"event": "events were dropped", "number": 2, "log_level": "warning", "part": "events"}]


async def test_a_long_note_is_cut_to_the_servers_limit() -> None:
    long = Announcement(regarding=NODE, reason="Held", action="None", note="ü" * 2000)
    async with Scene().running() as scene:
        await scene.announce(said=long)
        note = scene.written()[0]["note"]
        assert len(note.encode()) <= 1024
        assert note.endswith("…")
