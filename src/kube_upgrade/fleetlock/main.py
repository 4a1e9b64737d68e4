"""`fleetlock [--config PATH]`: the composition root of the lock server."""

import argparse
import asyncio
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from kube_upgrade.fleetlock import app
from kube_upgrade.fleetlock.replica import Replica
from kube_upgrade.fleetlock.settings import BadSettings, Settings, load
from kube_upgrade.kube.api import Api
from kube_upgrade.kube.client import KubeApi
from kube_upgrade.telemetry import logs

GRACE_SECONDS = 3  # for answers that are being written when the server is told to stop

_log = logs.logger("fleetlock")


class Server(uvicorn.Server):
    """uvicorn, which lets held requests go before it waits for them."""

    def __init__(self, config: uvicorn.Config, stopping: Callable[[], None]) -> None:
        super().__init__(config)
        self._stopping = stopping

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM or SIGINT."""
        self._stopping()
        super().handle_exit(sig, frame)


async def serve(settings: Settings, api: Api) -> None:
    """Serve until a signal comes; cancelling is as a crash to the clients."""
    replica = Replica(settings, api, lambda: datetime.now(UTC))
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    config = http_config(app.build(replica, stopping), settings)

    def let_go() -> None:
        loop.call_soon_threadsafe(stopping.set)

    server = Server(config, let_go)
    async with asyncio.TaskGroup() as tasks:
        background = tasks.create_task(replica.run())
        await server.serve()
        background.cancel()


def http_config(application: ASGIApp, settings: Settings) -> uvicorn.Config:
    """How uvicorn listens."""
    return uvicorn.Config(
        application,
        host=settings.host,
        port=settings.port,
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Run until SIGTERM. Exit code 2: the config can't be used."""
    parser = argparse.ArgumentParser(prog="fleetlock", description="FleetLock server that drains before it grants.")
    parser.add_argument("--config", "-c", type=Path, help="YAML file (default: one group `default` with one slot)")
    given = parser.parse_args(argv)
    try:
        settings = load(given.config)
    except BadSettings as bad:
        sys.exit(_refused(bad))
    logs.configure(settings.log_level)
    if settings.ignored:
        _log.warning("settings without meaning here", keys=settings.ignored)
    asyncio.run(_connected(settings))


async def _connected(settings: Settings) -> None:
    async with KubeApi.connect(settings.kubeconfig, user_agent="fleetlock") as api:
        await serve(settings, api)


def _refused(bad: BadSettings) -> int:
    sys.stderr.write(f"fleetlock: {bad}\n")
    return 2
