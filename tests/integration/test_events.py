"""The real API server takes our Events, and counts their repetitions."""

import asyncio
import secrets
from collections.abc import AsyncIterator

import pytest

from kube_upgrade.kube.client import KubeApi
from kube_upgrade.kube.events import Recorder
from kube_upgrade.kube.paths import events
from kube_upgrade.kube.wire.event import Announcement, ObjectReference
from kube_upgrade.lab.control_plane import ControlPlane
from support.fake_clock import FakeClock

pytestmark = pytest.mark.cluster


@pytest.fixture
async def api(control_plane: ControlPlane) -> AsyncIterator[KubeApi]:
    async with KubeApi.connect(control_plane.admin_kubeconfig, user_agent="kube-upgrade-tests") as connected:
        yield connected


async def test_an_event_and_its_repetition_are_one_object_with_a_count(api: KubeApi) -> None:
    name, clock = f"worker-{secrets.token_hex(4)}", FakeClock()
    recorder = Recorder(api, controller="kube-upgrade.heathcliff.eu/test", instance="i" * 200, clock=clock)
    said = Announcement(
        regarding=ObjectReference(kind="Node", name=name, uid="u"),
        reason="Held",
        action="OrderNode",
        note="window closed " * 200,
        type="Warning",
    )
    task = asyncio.create_task(recorder.run())
    recorder.announce(said)
    await recorder.flush()
    await clock.advance(30)
    recorder.announce(said)
    await recorder.flush()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    (found,) = (await api.get(events("default"), dict, {"fieldSelector": f"regarding.name={name}"}))["items"]
    assert (found["reason"], found["type"], found["series"]["count"]) == ("Held", "Warning", 2)
