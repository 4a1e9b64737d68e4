"""Health and snapshots of the real etcd through its JSON gateway, with certificates where kubeadm puts them."""

import asyncio
import shutil
from base64 import b64encode
from datetime import timedelta
from pathlib import Path

import pytest

from kube_upgrade.host.etcd import FOLDER, MANIFEST, PKI, Etcd, EtcdError, EtcdProblem
from kube_upgrade.lab.control_plane import ControlPlane
from support.builders import NOW

pytestmark = pytest.mark.cluster


@pytest.fixture
def root(control_plane: ControlPlane, tmp_path: Path) -> Path:
    """A control plane's disk."""
    pki = tmp_path / PKI.lstrip("/")
    pki.mkdir(parents=True)
    shutil.copy(control_plane.etcd_ca, pki / "ca.crt")
    shutil.copy(control_plane.etcd_client.certificate, pki / "healthcheck-client.crt")
    shutil.copy(control_plane.etcd_client.key, pki / "healthcheck-client.key")
    manifest = tmp_path / MANIFEST.lstrip("/")
    manifest.parent.mkdir(parents=True)
    manifest.touch()
    return tmp_path


async def test_a_running_member_is_healthy(control_plane: ControlPlane, root: Path) -> None:
    assert await Etcd(control_plane.etcd_url, root).healthy() is True


async def test_a_member_that_does_not_answer_is_not(root: Path) -> None:
    assert await Etcd("https://127.0.0.1:1", root).healthy() is False


async def test_a_snapshot_is_checked_and_the_newest_three_are_kept(control_plane: ControlPlane, root: Path) -> None:
    etcd = Etcd(control_plane.etcd_url, root)
    told = [await etcd.snapshot(NOW + timedelta(minutes=minute)) for minute in range(4)]

    kept = sorted((root / FOLDER.lstrip("/")).iterdir())
    assert [path.name for path in kept] == [
        "snapshot-20261124T080100.db", "snapshot-20261124T080200.db", "snapshot-20261124T080300.db",
    ]  # fmt: skip
    assert told[3] == f"{FOLDER}/snapshot-20261124T080300.db ({kept[2].stat().st_size} bytes)"
    assert kept[2].stat().st_mode & 0o777 == 0o600
    assert kept[2].stat().st_size > 100_000


async def test_the_real_etcd_is_fit_to_be_upgraded(control_plane: ControlPlane, root: Path) -> None:
    """Its version and its members, asked through the gateway with the node's own certificates."""
    await Etcd(control_plane.etcd_url, root).fit()


async def test_an_etcd_that_does_not_answer_is_not_fit(root: Path) -> None:
    with pytest.raises(EtcdError) as caught:
        await Etcd("https://127.0.0.1:1", root).fit()
    assert caught.value.kind is EtcdProblem.UNREACHABLE


async def test_without_an_etcd_here_it_says_why(control_plane: ControlPlane, root: Path) -> None:
    (root / MANIFEST.lstrip("/")).unlink()
    etcd = Etcd(control_plane.etcd_url, root)

    assert "ExternalEtcdNotSnapshotted" in await etcd.snapshot(NOW)
    assert await etcd.healthy() is None
    assert "etcd is empty in config.yaml" in await Etcd("", root).snapshot(NOW)


async def test_missing_certificates_are_named(control_plane: ControlPlane, root: Path) -> None:
    (root / PKI.lstrip("/") / "healthcheck-client.key").unlink()
    with pytest.raises(EtcdError, match="/etc/kubernetes/pki/etcd") as caught:
        await Etcd(control_plane.etcd_url, root).snapshot(NOW)
    assert caught.value.kind is EtcdProblem.NO_CREDENTIALS


async def test_what_a_killed_daemon_left_half_written_goes(control_plane: ControlPlane, root: Path) -> None:
    """Each is as large as etcd: a daemon that is killed again and again must not fill the disk."""
    folder = root / FOLDER.lstrip("/")
    folder.mkdir(parents=True)
    for name in ("snapshot-20260101T000000.part", "snapshot-20260102T000000.part"):
        (folder / name).write_bytes(b"half")
    with pytest.raises(EtcdError):
        await Etcd("https://127.0.0.1:1", root).snapshot(NOW)
    assert list(folder.iterdir()) == []
    (folder / "snapshot-20260101T000000.part").write_bytes(b"half")
    await Etcd(control_plane.etcd_url, root).snapshot(NOW)
    assert [path.suffix for path in folder.iterdir()] == [".db"]


async def test_nothing_half_written_is_left(root: Path) -> None:
    with pytest.raises(EtcdError) as caught:
        await Etcd("https://127.0.0.1:1", root).snapshot(NOW)
    assert caught.value.kind is EtcdProblem.UNREACHABLE
    assert list((root / FOLDER.lstrip("/")).iterdir()) == []


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"result":{"blob":"' + b64encode(bytes(100)) + b'"}}\n', EtcdProblem.CORRUPT),
        (b'{"result":{"blob":"' + b64encode(bytes(32)) + b'"}}\n', EtcdProblem.CORRUPT),
        (b"", EtcdProblem.CORRUPT),
        (b"<html>", EtcdProblem.CORRUPT),
        (b'{"error":{"message":"snapshot failed"}}\n', EtcdProblem.REFUSED),
    ],
)
async def test_a_snapshot_that_cannot_be_believed_is_refused(root: Path, body: bytes, kind: EtcdProblem) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(EtcdError) as caught:
            await Etcd(f"http://127.0.0.1:{port}", root).snapshot(NOW)
    assert caught.value.kind is kind
    assert list((root / FOLDER.lstrip("/")).iterdir()) == []
