"""The lock server as a process of its own."""

import asyncio
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from kube_upgrade.lab.processes import answers

PROGRAM = Path(sys.executable).with_name("fleetlock")
SECONDS = 30.0  # for a start on a busy machine


@asynccontextmanager
async def a_process(folder: Path, config: Mapping[str, Any], tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """One replica on a free port; leaving kills it without a goodbye. Yields its URL, of https where `tls` is given."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    file, log = folder / f"{port}.yaml", folder / f"{port}.log"
    server = {**config.get("server", {}), "listen": f"127.0.0.1:{port}"}
    file.write_bytes(msgspec.yaml.encode({**config, "server": server}))
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(PROGRAM, "--config", file, stdout=out, stderr=out)
    try:
        async with asyncio.timeout(SECONDS):
            while not await asyncio.to_thread(answers, port, "/readyz", tls):
                assert process.returncode is None, log.read_text()
                await asyncio.sleep(0.05)
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
