"""The controller's composition root: the only place where its parts meet."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version

from kube_upgrade.controller.act import Actor
from kube_upgrade.controller.loop import Loop
from kube_upgrade.controller.observe import World
from kube_upgrade.controller.publish import Publisher
from kube_upgrade.controller.settings import LEASE, Settings, read_settings
from kube_upgrade.kube.client import KubeApi
from kube_upgrade.kube.events import Recorder
from kube_upgrade.kube.leader import LeaseLost, lead
from kube_upgrade.telemetry import logs
from kube_upgrade.telemetry.health import serve_probes

REPORTER = "kube-upgrade.heathcliff.eu/upgrade-controller"

log = logs.logger("controller")


def main() -> None:
    """Run until SIGTERM or SIGINT; `upgrade-controller version` prints the version."""
    if sys.argv[1:] == ["version"]:
        print(version("kube-upgrade"))  # noqa: T201 - what was asked for
        return
    settings = read_settings(sys.argv[1:], os.environ)
    logs.configure(settings.log_level)
    try:
        asyncio.run(run(settings))
    except asyncio.CancelledError:
        log.info("stopped")


async def run(settings: Settings) -> None:
    """Watch from the start, so that a new leader knows everything; act only while leading."""
    _stop_on_signal()
    async with KubeApi.connect(settings.kubeconfig, user_agent="upgrade-controller") as api:
        changed = asyncio.Event()
        world = World(api, changed=changed.set, controller_node=settings.node)
        actor = Actor(api, plans=world.plans, nodes=world.nodes, news=changed.is_set)
        recorder = Recorder(api, controller=REPORTER, instance=settings.identity)
        publisher = Publisher(recorder.announce, world.nodes.values)
        probes = await serve_probes(
            settings.host, settings.port, alive=lambda: None, ready=world.out_of_touch, refresh=publisher.refresh
        )
        log.info("starting", identity=settings.identity, namespace=settings.namespace)
        async with probes, asyncio.TaskGroup() as group:
            group.create_task(world.watch())
            group.create_task(recorder.run())

            async def act() -> None:
                loop = Loop(world, actor, publisher, changed=changed, clock=lambda: datetime.now(UTC))
                await while_leading(loop, publisher)

            group.create_task(_lead_for_ever(api, settings, act))


async def while_leading(loop: Loop, publisher: Publisher) -> None:
    """Decide until cancelled. What was decided is then another replica's to tell, in gauges too."""
    try:
        await loop.run()
    finally:
        publisher.forget()


async def _lead_for_ever(api: KubeApi, settings: Settings, body: Callable[[], Awaitable[None]]) -> None:
    """A lost lease leaves nothing behind: the next turn starts from a new snapshot."""
    while True:
        with suppress(LeaseLost):  # told by `lead` itself
            await lead(api, settings.namespace, LEASE, settings.identity, body)


def _stop_on_signal() -> None:
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("no task to stop")
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
