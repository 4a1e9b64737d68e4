"""What holds of the program `fleetlock` as a whole: its log keeps secrets, its certificate is renewed while it runs."""

import asyncio
import os
import ssl
from pathlib import Path

from kube_upgrade.core.fleetlock.protocol import write_request
from kube_upgrade.fleetlock_client import FleetLock, Granted
from kube_upgrade.lab.pki import Authority
from support.lock_process import a_process
from support.lock_site import HEADER

PREFIX, TOKEN, ID = "s3cret-prefix-0123456789", "s3cret-t0ken", "s3cret-id-of-a-machine"


async def test_the_log_names_neither_the_prefix_nor_the_token_nor_an_id_whatever_is_asked(tmp_path: Path) -> None:
    """At its most talkative: grants, refusals, releases, paths that are not there, and noise below the prefix."""
    for name, text in (("prefix", PREFIX), ("token", TOKEN)):
        (tmp_path / name).write_text(text)
    guards = {"pathPrefixFile": str(tmp_path / "prefix"), "readTokenFile": str(tmp_path / "token")}
    storage = {"type": "sqlite", "sqlite": {"file": str(tmp_path / "locks.db")}}
    config = {"logLevel": "debug", "storage": storage, "holdSeconds": 0, "server": guards}
    async with a_process(tmp_path, config) as url:
        base, body = f"{url}/{PREFIX}", write_request("default", ID)
        async with FleetLock(base, "default", ID) as lock, FleetLock(base, "default", f"{ID}-2") as other:
            assert isinstance(await lock.pre_reboot(), Granted)
            assert not isinstance(await other.pre_reboot(), Granted)
            assert isinstance(await lock.steady_state(), Granted)
        for head in (
            f"POST /{PREFIX}/v1/pre-reboot HTTP/1.1",
            f"GET /{PREFIX}/v1/locks HTTP/1.1",
            f"GET /{PREFIX}/v1/nothing HTTP/1.1",
            f"NONSENSE /{PREFIX}/v1/pre-reboot HTTP/9",
            f"POST /{PREFIX}/v1/pre-reboot\x00 HTTP/1.1",
        ):
            for more in (HEADER, f"Authorization: Bearer {TOKEN}", f"X: {'x' * 40_000}"):
                lines = [head, "Host: x", more, f"Content-Length: {len(body)}", "", ""]
                await send(url, "\r\n".join(lines).encode() + body)
    [log] = tmp_path.glob("*.log")  # noqa: ASYNC240 - nothing else runs
    said = log.read_text()
    assert "answering" in said
    assert [secret for secret in (PREFIX, TOKEN, ID) if secret in said] == []


async def send(url: str, raw: bytes) -> None:
    """One request; what comes back does not matter."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    writer.write(raw)
    try:
        async with asyncio.timeout(1):
            await reader.read(1)
    except (ConnectionError, TimeoutError):
        pass
    finally:
        writer.close()


async def test_a_renewed_certificate_is_served_without_a_restart(tmp_path: Path) -> None:
    """Clients that trust the new authority alone are granted by the process that was started with the old one."""
    old, new = tmp_path / "old.pem", tmp_path / "new.pem"
    renew(tmp_path, old)
    ssl_files = {"enabled": True, "cert": str(tmp_path / "tls.crt"), "key": str(tmp_path / "tls.key")}
    storage = {"type": "sqlite", "sqlite": {"file": str(tmp_path / "locks.db")}}
    trust = ssl.create_default_context(cafile=str(old))
    async with a_process(tmp_path, {"storage": storage, "server": {"ssl": ssl_files}}, tls=trust) as url:
        assert await is_granted(url, old)
        renew(tmp_path, new)
        assert not await is_granted(url, new)  # not at once, so the certificate is the one that was renewed
        async with asyncio.timeout(20):
            while not await is_granted(url, new):  # noqa: ASYNC110 - seen through TLS
                await asyncio.sleep(0.2)
        assert not await is_granted(url, old)


def renew(folder: Path, authority: Path) -> None:
    """Put a certificate of a new authority in place, and the authority's own into its file."""
    made = Authority.create("fleet")
    authority.write_bytes(made.pair.certificate)
    files = made.server("locks", ["127.0.0.1"]).write(folder / "new", "tls")
    for file in (files.certificate, files.key):
        os.replace(file, folder / file.name)


async def is_granted(url: str, ca: Path) -> bool:
    """True where a client with this authority is granted its slot."""
    async with FleetLock(url, "default", ID, ca=ca, timeout=5) as lock:
        return isinstance(await lock.pre_reboot(), Granted)
