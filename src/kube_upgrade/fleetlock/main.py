"""`fleetlock [--config PATH] [--env]` and `fleetlock check-config`: the composition root of the lock server."""

import argparse
import asyncio
import os
import resource
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from kube_upgrade.fleetlock import app, assemble, certificates
from kube_upgrade.fleetlock.config import load
from kube_upgrade.fleetlock.http import BoundedHttp
from kube_upgrade.fleetlock.settings import BadSettings, Settings, StoreKind
from kube_upgrade.kube.api import Api
from kube_upgrade.kube.events import Recorder
from kube_upgrade.kube.wire.event import Announcement
from kube_upgrade.telemetry import logs

GRACE_SECONDS = 3  # for answers that are being written when the server is told to stop
MOST_CONNECTIONS = 12_000  # beyond them 503; more than may wait
OTHER_FILES = 64
REPORTER = "kube-upgrade.heathcliff.eu/fleetlock"

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


class Silence:
    """Announces nothing: outside a cluster there are no Events."""

    def announce(self, said: Announcement) -> None:
        """Forget it; the log has it."""


async def serve(settings: Settings, api: Api | None) -> None:
    """Serve until a signal comes; cancelling is as a crash to the clients. Raises BadSettings: a bad certificate."""
    name = f"{socket.gethostname()}:{settings.port}"
    recorder = Recorder(api, controller=REPORTER, instance=name) if api is not None else None
    replica = assemble.replica(
        settings, name=name, api=api, announcer=recorder or Silence(), now=lambda: datetime.now(UTC)
    )
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    config = http_config(app.build(replica, stopping, settings), settings)

    def let_go() -> None:
        loop.call_soon_threadsafe(stopping.set)

    server = Server(config, let_go)
    async with asyncio.TaskGroup() as tasks:
        background = [tasks.create_task(replica.run())]
        if recorder is not None:
            background.append(tasks.create_task(recorder.run()))
        if config.ssl is not None and settings.tls is not None:
            background.append(tasks.create_task(certificates.keep_fresh(config.ssl, settings.tls)))
        await server.serve()
        for task in background:
            task.cancel()


def http_config(application: ASGIApp, settings: Settings) -> uvicorn.Config:
    """How uvicorn listens. Raises BadSettings where the certificate can't be used."""
    config = uvicorn.Config(
        application,
        host=settings.host,
        port=settings.port,
        loop="asyncio",
        http=BoundedHttp,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # the source address is who connects, not who somebody says
        limit_concurrency=_connections(),
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    config.load()
    if settings.tls is not None:
        config.ssl = certificates.context(settings.tls)
    return config


def _connections() -> int:
    """As many as we want, or as the system lets us have open files; a few are needed for the rest."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_CONNECTIONS + OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return MOST_CONNECTIONS if soft == resource.RLIM_INFINITY else min(MOST_CONNECTIONS, soft - OTHER_FILES)


def main(argv: Sequence[str] | None = None) -> None:
    """Run until SIGTERM. Exit code 2: the config can't be used."""
    given = _arguments(argv)
    try:
        settings = load(given.config, os.environ, expand=given.env)
        if given.command == "check-config":
            check(settings)
            return
        logs.configure(settings.log_level)
        if settings.ignored:
            _log.warning("settings without meaning here", keys=settings.ignored)
        if not settings.cluster:
            _log.warning("no cluster is known here: slots are granted without a drain", store=settings.store)
        asyncio.run(_connected(settings))
    except BadSettings as bad:
        sys.stderr.write(f"fleetlock: {bad}\n")
        sys.exit(2)


def check(settings: Settings) -> None:
    """What these settings come to, on stdout; no secret is among it. Raises BadSettings where a certificate is bad."""
    if settings.tls is not None:
        certificates.context(settings.tls)
    if settings.store is not StoreKind.KUBERNETES:
        assemble.open_records(settings, None)
    sys.stdout.writelines(f"{line}\n" for line in summary(settings))


def summary(settings: Settings) -> list[str]:
    """One fact a line."""
    where = {
        StoreKind.KUBERNETES: f"Leases in namespace {settings.namespace}",
        StoreKind.SQLITE: str(settings.sqlite),
        StoreKind.POSTGRES: f"{settings.postgres.database} at {settings.postgres.address}",
    }
    scheme = "https" if settings.tls is not None else "http"
    guards = {
        "secret path prefix": settings.path_prefix,
        "read token": settings.read_token,
        "source address check": settings.check_source,
    }
    groups = ", ".join(f"{name} ({group.slots})" for name, group in settings.groups.items())
    return [
        f"listens on {scheme}://{settings.host or '*'}:{settings.port}",
        f"keeps slots in {settings.store}: {where[settings.store]}",
        "drains nodes of the cluster" if settings.cluster else "knows no cluster: grants without a drain",
        f"groups (slots): {groups}",
        f"guards: {', '.join(name for name, on in guards.items() if on) or 'none'}",
        *(f"ignored: {key}" for key in settings.ignored),
    ]


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="fleetlock", description="FleetLock server that drains before it grants.")
    parser.add_argument("command", nargs="?", choices=("serve", "check-config"), default="serve")
    parser.add_argument("--config", "-c", type=Path, help="YAML file (default: one group `default` with one slot)")
    parser.add_argument("--env", action="store_true", help="fill in $NAME and ${NAME} in the file first")
    return parser.parse_args(argv)


async def _connected(settings: Settings) -> None:
    async with AsyncExitStack() as stack:
        api: Api | None = None
        if settings.cluster:
            from kube_upgrade.kube.client import KubeApi  # noqa: PLC0415 - 30 MiB that no fleet outside a cluster needs

            api = await stack.enter_async_context(KubeApi.connect(settings.kubeconfig, user_agent="fleetlock"))
        await serve(settings, api)
