"""A member is replaced only where its version forgets nobody and the others can spare it."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from kube_upgrade.host.etcd import MANIFEST, Etcd, EtcdError, EtcdProblem, too_old


@asynccontextmanager
async def gateway(version: str, well: Sequence[bool], *, learners: int = 0) -> AsyncIterator[str]:
    """A cluster of so many members, all answered for by one port; `well` says who is healthy. Gives its URL."""
    url = ""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = head.split(" ")[1]
        members = [
            {
                "ID": str(i),
                "name": f"cp-{i}",
                "clientURLs": [f"{url}/{i}"],
                **({"isLearner": True} if i < learners else {}),
            }
            for i in range(len(well))
        ]
        bodies = {"/v3/maintenance/status": {"version": version}, "/v3/cluster/member/list": {"members": members}}
        number = path.strip("/").partition("/")[0]
        body = bodies.get(path) or {"health": "true" if number.isdecimal() and well[int(number)] else "false"}
        text = json.dumps(body).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(text) + text)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield url


@pytest.fixture
def root(tmp_path: Path) -> Path:
    manifest = tmp_path / MANIFEST.lstrip("/")
    manifest.parent.mkdir(parents=True)
    manifest.touch()
    return tmp_path


@pytest.mark.parametrize(
    ("version", "well", "learners", "problem"),
    [
        ("3.6.8", [True], 0, None),
        ("3.5.26", [True, True, True], 0, None),
        ("3.5.25", [True, True, True], 0, EtcdProblem.TOO_OLD),
        ("", [True], 0, EtcdProblem.TOO_OLD),
        ("3.6.8", [True, False], 0, EtcdProblem.MEMBERS),
        ("3.6.8", [True, True, False], 0, EtcdProblem.MEMBERS),  # without this one a quorum of two must remain
        ("3.6.8", [True, True, True, False], 0, EtcdProblem.MEMBERS),
        ("3.6.8", [True, True, True, True, False], 0, None),
        ("3.6.8", [True, True, True, False, False], 0, EtcdProblem.MEMBERS),
        ("3.6.8", [False, True], 1, None),  # a learner has no vote
    ],
)
async def test_fit(root: Path, version: str, well: list[bool], learners: int, problem: EtcdProblem | None) -> None:
    async with gateway(version, well, learners=learners) as url:
        if problem is None:
            await Etcd(url, root).fit()
            return
        with pytest.raises(EtcdError) as refused:
            await Etcd(url, root).fit()
    assert refused.value.kind is problem


async def test_where_no_etcd_runs_nothing_is_asked(tmp_path: Path) -> None:
    await Etcd("http://127.0.0.1:1", tmp_path).fit()


def test_the_floor() -> None:
    assert too_old("3.5.25")
    assert too_old("3.4.99")
    assert too_old("nonsense")
    assert not too_old("3.5.26")
    assert not too_old("3.6.0-rc.1")
    assert not too_old("3.7.0")
