"""Asks a container registry which manifest a tag names now (OCI distribution API, `GET /v2/REPO/manifests/TAG`).

rpm-ostree reports the digest of the per-arch manifest, so an index is peeled to this machine's platform.
"""

import hashlib
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import httpx2
import msgspec

from kube_upgrade.host.registry_auth import Challenge, authorization, challenge_in, credentials, read_token
from kube_upgrade.host.registry_errors import RegistryError, RegistryProblem

INDEX_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFEST_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
ARCHITECTURES = MappingProxyType({"x86_64": "amd64", "aarch64": "arm64"})  # uname's word: the image's
_ANSWER_LIMIT = 4 * 1024 * 1024  # bytes; registries refuse larger manifests, too
_STATUS = {
    401: RegistryProblem.UNAUTHORIZED,
    403: RegistryProblem.UNAUTHORIZED,
    404: RegistryProblem.NOT_FOUND,
    429: RegistryProblem.BUSY,
}


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    challenge: str  # WWW-Authenticate, or empty
    body: bytes


class _Platform(msgspec.Struct):
    architecture: str = ""
    os: str = ""


class _Entry(msgspec.Struct):
    digest: str
    platform: _Platform | None = None


class _Manifest(msgspec.Struct, rename="camel"):
    media_type: str = ""
    manifests: list[_Entry] | None = None


def machine_architecture() -> str:
    """This machine's architecture as images name it, such as amd64."""
    return ARCHITECTURES.get(platform.machine(), platform.machine())


class Registry:
    """Resolves tags. Secrets are read from the host's files at each call, so a changed one is taken at once."""

    def __init__(self, root: Path = Path("/"), *, architecture: str | None = None, timeout: float = 20.0) -> None:
        self._root = root
        self._architecture = architecture or machine_architecture()
        self._timeout = timeout

    async def resolve(self, reference: str) -> str:
        """Digest (`sha256:…`) of this platform's manifest behind HOST/REPO:TAG. Raises RegistryError."""
        host, path, tag = split_reference(reference)
        return self._digest(await self.manifest(f"{host}/{path}", tag), reference)

    async def manifest(self, repository: str, name: str) -> bytes:
        """The manifest or index that HOST/REPO has under this tag or digest. Raises RegistryError."""
        return await self._read(repository, f"manifests/{name}", f"{repository}:{name}")

    async def blob(self, repository: str, digest: str) -> bytes:
        """The bytes of this digest, compared with it. Raises RegistryError; they must fit into 4 MiB."""
        body = await self._read(repository, f"blobs/{digest}", f"{repository}@{digest}")
        if sha256(body) != digest:
            raise RegistryError(RegistryProblem.UNREADABLE, f"{repository}@{digest}: its content has another digest")
        return body

    async def _read(self, repository: str, what: str, name: str) -> bytes:
        host, _, path = repository.partition("/")
        url = f"{scheme_of(host)}://{host}/v2/{path}/{what}"
        secret = credentials(self._root, repository)
        async with httpx2.AsyncClient(timeout=self._timeout, follow_redirects=True, trust_env=True) as client:
            answer = await self._get(client, url, authorization(secret) if secret else {})
            challenge = challenge_in(answer.challenge, plain_http=scheme_of(host) == "http")
            if answer.status == 401 and challenge:
                answer = await self._get(client, url, await self._token(client, challenge, path, secret))
        if answer.status != 200:
            raise RegistryError(_kind(answer.status), f"{name}: HTTP {answer.status}")
        return answer.body

    async def _get(self, client: httpx2.AsyncClient, url: str, headers: Mapping[str, str]) -> _Answer:
        accept = {"Accept": ", ".join((*INDEX_TYPES, *MANIFEST_TYPES))}
        try:
            async with client.stream("GET", url, headers={**accept, **headers}) as response:
                body = await _bounded(response)
                return _Answer(response.status_code, response.headers.get("www-authenticate", ""), body)
        except httpx2.HTTPError as error:
            what = str(error) or type(error).__name__
            raise RegistryError(RegistryProblem.UNREACHABLE, f"{httpx2.URL(url).host}: {what}") from error
        except httpx2.InvalidURL as error:
            raise RegistryError(RegistryProblem.UNREADABLE, f"{url!r} is no URL: {error}") from error
        except UnicodeError:  # it names the text, which may be a secret
            raise RegistryError(RegistryProblem.UNREADABLE, f"{url}: a secret or token is not ASCII") from None

    async def _token(
        self, client: httpx2.AsyncClient, challenge: Challenge, repository: str, secret: str | None
    ) -> dict[str, str]:
        try:
            url = httpx2.URL(challenge.realm, params=challenge.parameters(repository))
        except httpx2.InvalidURL as error:
            raise RegistryError(RegistryProblem.UNREADABLE, f"realm {challenge.realm!r} is no URL: {error}") from error
        answer = await self._get(client, str(url), authorization(secret) if secret else {})
        if answer.status != 200:
            raise RegistryError(_kind(answer.status), f"token from {challenge.realm}: HTTP {answer.status}")
        return {"Authorization": f"Bearer {read_token(answer.body)}"}

    def _digest(self, body: bytes, reference: str) -> str:
        try:
            manifest = msgspec.json.decode(body, type=_Manifest)
        except msgspec.DecodeError as error:
            raise RegistryError(RegistryProblem.UNREADABLE, f"{reference}: {error}") from error
        return sha256(body) if manifest.manifests is None else self._peel(manifest.manifests, reference)

    def _peel(self, entries: list[_Entry], reference: str) -> str:
        for entry in entries:
            if entry.platform and entry.platform.os == "linux" and entry.platform.architecture == self._architecture:
                return entry.digest
        offered = ", ".join(sorted({e.platform.architecture for e in entries if e.platform})) or "none"
        raise RegistryError(
            RegistryProblem.NO_PLATFORM, f"{reference}: no image for linux/{self._architecture}; offered: {offered}"
        )


def listed_in(body: bytes) -> tuple[str, ...]:
    """The digests that an index names; none where it is no index."""
    try:
        manifest = msgspec.json.decode(body, type=_Manifest)
    except msgspec.DecodeError:
        return ()
    return tuple(entry.digest for entry in manifest.manifests or ())


def sha256(body: bytes) -> str:
    """The digest of these bytes, as registries write it."""
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def split_reference(reference: str) -> tuple[str, str, str]:
    """HOST/REPO:TAG in its three parts. Raises RegistryError(UNREADABLE)."""
    host, slash, rest = reference.partition("/")
    repository, colon, tag = rest.rpartition(":")
    named = "." in host or ":" in host or host == "localhost"  # else it is a path on Docker Hub, as docker reads it
    if not (slash and named and colon and repository and tag):
        raise RegistryError(RegistryProblem.UNREADABLE, f"image {reference!r} is not of the form HOST/REPO:TAG")
    return host, repository, tag


def scheme_of(host: str) -> str:
    """Plain http for a registry on this machine, https for every other one."""
    return "http" if host.rsplit(":", 1)[0] in ("localhost", "127.0.0.1", "[::1]") else "https"


async def _bounded(response: httpx2.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > _ANSWER_LIMIT:
            raise RegistryError(
                RegistryProblem.UNREADABLE, f"{response.url.host}: answers more than {_ANSWER_LIMIT} bytes"
            )
    return bytes(body)


def _kind(status: int) -> RegistryProblem:
    return RegistryProblem.BUSY if status >= 500 else _STATUS.get(status, RegistryProblem.UNREADABLE)
