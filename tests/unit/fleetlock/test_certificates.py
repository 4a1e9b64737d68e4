"""TLS: a renewed certificate is used without a restart, a broken one is not."""

import asyncio
import os
import ssl
from pathlib import Path

import pytest

from kube_upgrade.fleetlock.certificates import context, keep_fresh
from kube_upgrade.fleetlock.settings import BadSettings, Tls
from kube_upgrade.kube.clock import stop
from kube_upgrade.lab.pki import Authority


def written(folder: Path) -> Tls:
    """A new certificate in the same files, put there as a renewal does it."""
    files = Authority.create("test").server("locks", ["127.0.0.1"]).write(folder / "new", "tls")
    for file in (files.certificate, files.key):
        os.replace(file, folder / file.name)
    return Tls(cert=folder / files.certificate.name, key=folder / files.key.name)


async def served(port: int) -> str:
    """The certificate that a new connection is shown."""
    return await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port))


async def test_a_renewed_certificate_is_used_and_a_broken_one_is_not(tmp_path: Path) -> None:
    tls = written(tmp_path)
    used = context(tls)
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0, ssl=used)
    port = server.sockets[0].getsockname()[1]
    watching = asyncio.create_task(keep_fresh(used, tls, every=0.01))
    first = await served(port)
    assert first.split() == await asyncio.to_thread(lambda: tls.cert.read_text().split())

    written(tmp_path)
    async with asyncio.timeout(10):
        while (second := await served(port)) == first:  # noqa: ASYNC110 - seen through TLS
            await asyncio.sleep(0.01)

    await asyncio.to_thread(tls.key.write_text, "nonsense")
    await asyncio.sleep(0.1)
    assert await served(port) == second
    await stop(watching)
    server.close()


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match=r"server\.ssl: .*nowhere\.crt"):
        context(Tls(cert=tmp_path / "nowhere.crt", key=tmp_path / "nowhere.key"))
