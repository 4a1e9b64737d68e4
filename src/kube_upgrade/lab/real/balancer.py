"""A TCP load balancer before several control planes: what a cluster with more than one of them needs anyway.

`python -m kube_upgrade.lab.real.balancer ADDRESS HOST,HOST,… PORT…`: each PORT of ADDRESS leads to the same port of the
first HOST that accepts, beginning with the one after the last.
"""

import asyncio
import sys
from collections.abc import Sequence
from contextlib import suppress

CONNECT = 1.0  # seconds until the next host is tried
CHUNK = 65536


class Balancer:
    """One port."""

    def __init__(self, hosts: Sequence[str], port: int) -> None:
        self._hosts = list(hosts)
        self._port = port

    async def serve(self, address: str) -> None:
        """For ever."""
        server = await asyncio.start_server(self._accept, address, self._port)
        async with server:
            await server.serve_forever()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await self._connect()
        if there is not None:
            await asyncio.gather(_pump(reader, there[1]), _pump(there[0], writer))
        writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        for _ in self._hosts:
            host = self._hosts.pop(0)
            self._hosts.append(host)
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(CONNECT):
                    return await asyncio.open_connection(host, self._port)
        return None


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """What comes in goes out; an end or a break on one side ends the other."""
    with suppress(OSError):
        while chunk := await reader.read(CHUNK):
            writer.write(chunk)
            await writer.drain()
    writer.close()


async def _serve(address: str, hosts: Sequence[str], ports: Sequence[int]) -> None:
    await asyncio.gather(*(Balancer(hosts, port).serve(address) for port in ports))


def main() -> None:
    """Serve until killed."""
    address, hosts, *ports = sys.argv[1:]
    asyncio.run(_serve(address, hosts.split(","), [int(port) for port in ports]))


if __name__ == "__main__":
    main()
