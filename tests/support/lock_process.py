"""The lock server as a process of its own."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

PROGRAM = Path(sys.executable).with_name("fleetlock")
SECONDS = 30.0  # for a start on a busy machine


@asynccontextmanager
async def a_process(folder: Path, config: Mapping[str, Any]) -> AsyncIterator[str]:
    """One replica on a free port; leaving kills it without a goodbye. Yields its URL."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    file, log = folder / f"{port}.yaml", folder / f"{port}.log"
    file.write_bytes(msgspec.yaml.encode({**config, "server": {"listen": f"127.0.0.1:{port}"}}))
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(PROGRAM, "--config", file, stdout=out, stderr=out)
    try:
        async with asyncio.timeout(SECONDS):
            while not await answers(port):
                assert process.returncode is None, log.read_text()
                await asyncio.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def answers(port: int) -> bool:
    """True where /readyz says 200."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.write(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    line = await reader.readline()
    writer.close()
    return b" 200 " in line
