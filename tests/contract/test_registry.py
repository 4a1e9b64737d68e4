"""A tag is resolved to what rpm-ostree will report, at a real HTTP registry."""

import asyncio
import base64
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from kube_upgrade.host.registry import Registry as Client
from kube_upgrade.host.registry import scheme_of, split_reference
from kube_upgrade.host.registry_auth import challenge_in, credentials
from kube_upgrade.host.registry_errors import RegistryError, RegistryProblem
from kube_upgrade.lab.registry import Registry
from kube_upgrade.lab.registry_content import digest_of, manifest


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as running:
        yield running


async def test_an_index_is_peeled_to_the_platform(registry: Registry, tmp_path: Path) -> None:
    registry.publish("team/os", "v1.37.2", architectures=("amd64", "arm64"))
    for architecture in ("amd64", "arm64"):
        found = await Client(tmp_path, architecture=architecture).resolve(f"{registry.host}/team/os:v1.37.2")
        assert found == digest_of(manifest("team/os", "v1.37.2", 1, architecture))


async def test_a_rebuilt_tag_has_another_digest(registry: Registry, tmp_path: Path) -> None:
    first = registry.publish("os", "v1.37.2")
    assert await Client(tmp_path).resolve(f"{registry.host}/os:v1.37.2") == first
    second = registry.publish("os", "v1.37.2", build=2)
    assert await Client(tmp_path).resolve(f"{registry.host}/os:v1.37.2") == second != first


async def test_a_tag_without_an_index_is_its_own_manifest(registry: Registry, tmp_path: Path) -> None:
    digest = registry.publish_single("os", "v1.37.2")
    assert await Client(tmp_path).resolve(f"{registry.host}/os:v1.37.2") == digest


async def test_a_stranger_gets_a_token_and_comes_back_with_it(tmp_path: Path) -> None:
    with Registry(token="let-me-in") as registry:
        digest = registry.publish("os", "v1.37.2")
        assert await Client(tmp_path).resolve(f"{registry.host}/os:v1.37.2") == digest
        assert "/token?scope=repository%3Aos%3Apull&service=lab" in registry.requests


@pytest.mark.parametrize(
    ("tag", "broken", "problem"),
    [
        ("v9.9.9", 0, RegistryProblem.NOT_FOUND),
        ("v1.37.2", 503, RegistryProblem.BUSY),
        ("v1.37.2", 429, RegistryProblem.BUSY),
        ("v1.37.2", 401, RegistryProblem.UNAUTHORIZED),
        ("v1.37.2", 418, RegistryProblem.UNREADABLE),
    ],
)
async def test_each_refusal_has_a_word(
    registry: Registry, tmp_path: Path, tag: str, broken: int, problem: RegistryProblem
) -> None:
    registry.publish("os", "v1.37.2")
    registry.broken = broken
    with pytest.raises(RegistryError) as refused:
        await Client(tmp_path).resolve(f"{registry.host}/os:{tag}")
    assert refused.value.kind is problem


async def test_a_platform_that_is_not_offered_is_named_with_those_that_are(registry: Registry, tmp_path: Path) -> None:
    registry.publish("os", "v1.37.2", architectures=("arm64", "s390x"))
    with pytest.raises(RegistryError, match="no image for linux/amd64; offered: arm64, s390x"):
        await Client(tmp_path, architecture="amd64").resolve(f"{registry.host}/os:v1.37.2")


async def test_a_registry_that_does_not_answer_is_given_up(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(RegistryError) as refused:
            await Client(tmp_path, timeout=0.2).resolve(f"{host}/os:v1.37.2")
        assert refused.value.kind is RegistryProblem.UNREACHABLE
    with pytest.raises(RegistryError) as refused:
        await Client(tmp_path, timeout=5).resolve(f"{host}/os:v1.37.2")
    assert refused.value.kind is RegistryProblem.UNREACHABLE


@pytest.mark.parametrize("realm", ["https://auth.example.com:bad/token", "https://[::1/token", "https://a\x01b/token"])
async def test_a_realm_that_is_no_url_is_unreadable(tmp_path: Path, realm: str) -> None:
    """What a registry says may end no daemon."""
    challenge = f'HTTP/1.1 401 X\r\nWWW-Authenticate: Bearer realm="{realm}"\r\nContent-Length: 0\r\n\r\n'
    async with server(challenge.encode()) as host:
        with pytest.raises(RegistryError) as refused:
            await Client(tmp_path, timeout=2).resolve(f"{host}/os:v1.37.2")
    assert refused.value.kind in (RegistryProblem.UNREADABLE, RegistryProblem.UNREACHABLE)


@pytest.mark.parametrize("host", ["ghcr.io:abc", "example.com:99999", "gh cr.io"])
async def test_a_host_that_is_none_is_refused(tmp_path: Path, host: str) -> None:
    with pytest.raises(RegistryError) as refused:
        await Client(tmp_path, timeout=2).resolve(f"{host}/x/y:v1")
    assert refused.value.kind in (RegistryProblem.UNREADABLE, RegistryProblem.UNREACHABLE)


async def test_a_secret_that_fits_in_no_header_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "etc/ostree/auth.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"auths": {"127.0.0.1:1": {"auth": "gehe\u00efm"}}}))
    with pytest.raises(RegistryError) as refused:
        await Client(tmp_path, timeout=2).resolve("127.0.0.1:1/os:v1")
    assert refused.value.kind is RegistryProblem.UNREADABLE
    assert "gehe" not in str(refused.value)


@asynccontextmanager
async def server(answer: bytes) -> AsyncIterator[str]:
    """HOST:PORT of one that says this to everybody."""

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(say, "127.0.0.1", 0)
    async with listening:
        yield f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"


def test_the_longest_fitting_pull_secret_counts(tmp_path: Path) -> None:
    one, two = (base64.b64encode(word.encode()).decode() for word in ("a:1", "b:2"))
    path = tmp_path / "etc/ostree/auth.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"auths": {"r.example": {"auth": one}, "r.example/team": {"auth": two}}}))
    assert credentials(tmp_path, "r.example/team/os") == two
    assert credentials(tmp_path, "r.example/teams/os") == one
    assert credentials(tmp_path, "other.example/os") is None


def test_a_broken_secret_file_is_named_without_its_content(tmp_path: Path) -> None:
    path = tmp_path / "run/ostree/auth.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"auths": {"r.example": {"auth": 12345}}}')
    with pytest.raises(RegistryError, match=r"auth\.json cannot be read") as refused:
        credentials(tmp_path, "r.example/os")
    assert "12345" not in str(refused.value)


def test_no_secret_goes_to_a_token_server_without_tls() -> None:
    header = 'Bearer realm="http://evil.example/token",service="x"'
    assert challenge_in(header, plain_http=False) is None
    assert challenge_in(header, plain_http=True) is not None
    assert challenge_in('Basic realm="x"', plain_http=True) is None


@pytest.mark.parametrize(
    ("host", "scheme"),
    [("localhost:5000", "http"), ("127.0.0.1:5000", "http"), ("ghcr.io", "https"), ("localhost.evil.example", "https")],
)
def test_only_this_machine_is_asked_in_the_clear(host: str, scheme: str) -> None:
    assert scheme_of(host) == scheme


@pytest.mark.parametrize("reference", ["os:v1", "ghcr.io/os", "library/os:v1", "ghcr.io/:v1", "localhost:5000/os"])
def test_a_reference_that_names_no_host_and_tag_is_refused(reference: str) -> None:
    with pytest.raises(RegistryError, match="HOST/REPO:TAG"):
        split_reference(reference)
