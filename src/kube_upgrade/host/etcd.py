"""etcd of this node over its JSON gateway, with the node's own certificates: health, and a checked snapshot.

Snapshot: `POST /v3/maintenance/snapshot` answers JSON objects one after another, each with a base64 `blob`; the last 32
bytes of the whole are the SHA-256 of all before them (etcd 3.6 and 3.7).
"""

import asyncio
import base64
import contextlib
import hashlib
import os
import ssl
from collections.abc import AsyncIterator, Iterable
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, TypeVar

import httpx2
import msgspec

from kube_upgrade.host.paths import on_host, sync_folder

PKI = "/etc/kubernetes/pki/etcd"
MANIFEST = "/etc/kubernetes/manifests/etcd.yaml"
FOLDER = "/var/lib/kube-upgraded/etcd"
KEPT = 3
FLOOR = (3, 5, 26)
_CHECKSUM = 32  # bytes at the end
T = TypeVar("T")


class EtcdProblem(StrEnum):
    """Why there is no snapshot."""

    NO_CREDENTIALS = "EtcdCredentials"
    UNREACHABLE = "EtcdUnreachable"
    REFUSED = "EtcdRefused"
    CORRUPT = "EtcdSnapshotCorrupt"
    NO_SPACE = "EtcdSnapshotNotWritten"
    TOO_OLD = "EtcdTooOld"
    MEMBERS = "EtcdMembersUnhealthy"


class EtcdError(Exception):
    """No snapshot. `kind` tells what to do about it, `message` tells people."""

    def __init__(self, kind: EtcdProblem, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind
        self.message = message


class _Blob(msgspec.Struct, frozen=True):
    blob: str = ""


class _Fault(msgspec.Struct, frozen=True):
    message: str = ""


class _Piece(msgspec.Struct, frozen=True):
    result: _Blob = _Blob()
    error: _Fault | None = None


class _Status(msgspec.Struct, frozen=True):
    version: str = ""


class _Member(msgspec.Struct, frozen=True):
    name: str = ""
    client_urls: list[str] = msgspec.field(name="clientURLs", default_factory=list)
    learner: bool = msgspec.field(name="isLearner", default=False)


class _Members(msgspec.Struct, frozen=True):
    members: list[_Member] = []


class Etcd:
    """The member on this node, reached at `url` (empty: nobody asks etcd here)."""

    def __init__(self, url: str, root: Path = Path("/"), *, timeout: float = 5.0) -> None:
        self._url = url
        self._root = root
        self._timeout = timeout

    @property
    def missing(self) -> str:
        """Why there is no etcd to ask; empty where there is one."""
        if not self._url:
            return "etcd is empty in config.yaml"
        return "" if on_host(self._root, MANIFEST).is_file() else "ExternalEtcdNotSnapshotted: no etcd on this node"

    async def healthy(self) -> bool | None:
        """True where the member says so; None where there is nobody to ask."""
        return None if self.missing else await self._says_healthy(self._url)

    async def _says_healthy(self, url: str) -> bool:
        try:
            async with self._client() as http:
                answer = await http.get(f"{url.rstrip('/')}/health")
        except (httpx2.HTTPError, OSError, EtcdError):
            return False
        return answer.status_code == 200 and b'"true"' in answer.content

    async def fit(self) -> None:
        """Raise EtcdError unless a member may be replaced: no version that forgets members, and a quorum beside it.

        3.5 below 3.5.26 may bring removed members back when it goes to 3.6 (etcd#19557).
        """
        if self.missing:
            return
        version = (await self._ask("maintenance/status", _Status)).version
        if too_old(version):
            wanted = f"{'.'.join(map(str, FLOOR))} or newer is needed before 3.6"
            raise EtcdError(EtcdProblem.TOO_OLD, f"etcd is {version or 'of an unknown version'}; {wanted}")
        voters = [member for member in (await self._ask("cluster/member/list", _Members)).members if not member.learner]
        answers = await asyncio.gather(*(self._well(member) for member in voters))
        ill = [member.name or "unstarted" for member, well in zip(voters, answers, strict=True) if not well]
        # One or two members cannot spare any; of three and more the others must be a quorum without this one.
        spare = 0 if len(voters) < 3 else (len(voters) - 1) - (len(voters) // 2 + 1)
        if len(ill) > spare:
            raise EtcdError(EtcdProblem.MEMBERS, f"{len(ill)} of {len(voters)} etcd members do not answer: {ill}")

    async def _well(self, member: _Member) -> bool:
        return any([await self._says_healthy(url) for url in member.client_urls])

    async def _ask(self, path: str, kind: type[T]) -> T:
        try:
            async with self._client() as http:
                answer = await http.post(f"{self._url}/v3/{path}", content=b"{}")
        except httpx2.HTTPError as error:
            raise EtcdError(EtcdProblem.UNREACHABLE, f"{self._url}: {str(error) or type(error).__name__}") from error
        if answer.status_code != 200:
            raise EtcdError(EtcdProblem.REFUSED, f"{path}: HTTP {answer.status_code}")
        try:
            return msgspec.json.decode(answer.content, type=kind)
        except msgspec.DecodeError as error:
            raise EtcdError(EtcdProblem.REFUSED, f"{path}: unreadable answer: {error}") from error

    async def snapshot(self, now: datetime) -> str:
        """Save and check; keep the newest three. Gives path and size, or why there is none. Raises EtcdError."""
        if self.missing:
            return self.missing
        folder = on_host(self._root, FOLDER)
        path = folder / f"snapshot-{now:%Y%m%dT%H%M%S}.db"
        part = path.with_suffix(".part")
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            _drop(folder.glob("snapshot-*.part"))  # of a daemon that was killed: there is one at a time
            size = await self._fetch(part)
            part.replace(path)
            await asyncio.to_thread(sync_folder, folder)
            _drop(sorted(folder.glob("snapshot-*.db"))[:-KEPT])
        except OSError as error:
            raise EtcdError(EtcdProblem.NO_SPACE, f"{part}: {error.strerror or error}") from error
        finally:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
        return f"{FOLDER}/{path.name} ({size} bytes)"

    async def _fetch(self, part: Path) -> int:
        digest, held, size = hashlib.sha256(), b"", 0
        with _private(part) as file:
            async for blob in self._blobs():
                await asyncio.to_thread(file.write, blob)
                size += len(blob)
                held += blob
                digest.update(held[:-_CHECKSUM])
                held = held[-_CHECKSUM:]
            await asyncio.to_thread(os.fsync, file.fileno())
        if size <= _CHECKSUM or digest.digest() != held:
            raise EtcdError(EtcdProblem.CORRUPT, f"{size} bytes whose checksum does not fit")
        return size

    async def _blobs(self) -> AsyncIterator[bytes]:
        url = f"{self._url}/v3/maintenance/snapshot"
        try:
            async with self._client() as http, http.stream("POST", url, content=b"{}") as answer:
                if answer.status_code != 200:
                    raise EtcdError(EtcdProblem.REFUSED, f"HTTP {answer.status_code}")
                async for line in answer.aiter_lines():
                    if line.strip():
                        yield _decoded(line)
        except httpx2.HTTPError as error:
            raise EtcdError(EtcdProblem.UNREACHABLE, f"{self._url}: {str(error) or type(error).__name__}") from error

    def _client(self) -> httpx2.AsyncClient:
        context = self._trust() if self._url.startswith("https://") else True
        # No proxy of the environment stands between a node and itself.
        return httpx2.AsyncClient(verify=context, timeout=self._timeout, trust_env=False)

    def _trust(self) -> ssl.SSLContext:
        pki = on_host(self._root, PKI)
        try:
            context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
            context.load_cert_chain(pki / "healthcheck-client.crt", pki / "healthcheck-client.key")
        except (OSError, ssl.SSLError) as error:
            raise EtcdError(EtcdProblem.NO_CREDENTIALS, f"{PKI}: {error.strerror or error}") from error
        return context


def _drop(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink()


def too_old(version: str) -> bool:
    """True for what no member may be upgraded from; an unknown version counts as such."""
    try:
        major, minor, patch = (int(part) for part in version.partition("-")[0].split(".")[:3])
    except ValueError:
        return True
    return (major, minor, patch) < FLOOR


def _private(path: Path) -> BinaryIO:
    """A snapshot holds every secret of the cluster: only its owner may read it."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")


def _decoded(line: str) -> bytes:
    try:
        piece = msgspec.json.decode(line, type=_Piece)
        blob = base64.b64decode(piece.result.blob, validate=True)
    except (msgspec.DecodeError, ValueError) as error:
        raise EtcdError(EtcdProblem.CORRUPT, f"unreadable answer: {error}") from error
    if piece.error is not None:
        raise EtcdError(EtcdProblem.REFUSED, piece.error.message)
    return blob
