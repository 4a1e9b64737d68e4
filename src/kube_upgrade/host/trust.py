"""Own check of an image's cosign signature: the host's policy may not apply to rpm-ostreed (domain.md 3.9).

A signature is an image of its own under the tag `sha256-HEX.sig` of the same repository: each layer is a payload in
simple signing format, its annotation the signature over it (cosign's SIGNATURE_SPEC; the classic attachment, which
containers/image reads too). It counts where one of the owner's keys made it, for this very digest, in the owner's
repository. The digest may be that of the platform's manifest or of the index that the tag names and that lists it.
"""

import base64
import sys
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path

import msgspec

from kube_upgrade.host.paths import on_host
from kube_upgrade.host.registry import Registry, listed_in, sha256, split_reference
from kube_upgrade.host.registry_errors import RegistryError, RegistryProblem
from kube_upgrade.host.runner import CommandRunner, RunError
from kube_upgrade.host.signature import BAD, GOOD
from kube_upgrade.model.host import Verification

_SIGNATURE = "dev.cosignproject.cosign/signature"
_PAYLOAD = "application/vnd.dev.cosign.simplesigning.v1+json"
_TYPE = "cosign container image signature"
_LAYERS = 20  # signatures looked at; who may push there may push many
_PAYLOAD_LIMIT = 16 * 1024  # bytes; usual are 250
_SECONDS = 30.0


class TrustProblem(StrEnum):
    """Why an image is not staged."""

    UNSIGNED = "ImageNotSigned"
    UNTRUSTED = "ImageNotTrusted"  # no signature of ours is for this image
    KEY = "VerificationKey"  # a key of the config is none


class TrustError(Exception):
    """The image is not trusted. `kind` is a word for events, `message` tells people."""

    def __init__(self, kind: TrustProblem, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind
        self.message = message


class _Layer(msgspec.Struct, rename="camel"):
    digest: str
    media_type: str = ""
    annotations: dict[str, str] = {}


class _Manifest(msgspec.Struct):
    layers: list[_Layer] = []


class _Image(msgspec.Struct, rename="kebab", frozen=True):
    docker_manifest_digest: str = ""


class _Identity(msgspec.Struct, rename="kebab", frozen=True):
    docker_reference: str = ""


class _Critical(msgspec.Struct, frozen=True):
    image: _Image = _Image()
    identity: _Identity = _Identity()
    type: str = ""


class _Payload(msgspec.Struct):
    critical: _Critical = _Critical()


class Trust:
    """Checks images against the owner's keys, which are read anew each time. `program` is how to call ourselves."""

    def __init__(
        self,
        policy: Verification,
        registry: Registry,
        runner: CommandRunner,
        *,
        root: Path = Path("/"),
        program: Sequence[str] = (),
    ) -> None:
        self._policy = policy
        self._registry = registry
        self._runner = runner
        self._root = root
        self._program = tuple(program) or own_program()

    async def check(self, reference: str, digest: str) -> None:
        """Raise TrustError unless HOST/REPO:TAG at this digest is signed; RegistryError where nobody can tell."""
        host, path, tag = split_reference(reference)
        repository = f"{host}/{path}"
        subject, body = await self._signatures(repository, tag, digest)
        wrong = "it has no signatures in cosign's format"
        for layer in _layers(body, repository):
            wrong = await self._wrong(repository, layer, subject)
            if not wrong:
                return
        raise TrustError(TrustProblem.UNTRUSTED, f"{repository}@{digest}: {wrong}")

    async def _signatures(self, repository: str, tag: str, digest: str) -> tuple[str, bytes]:
        """What was signed, and the image with its signatures: of the platform's manifest, else of the tag's index."""
        if (body := await self._attached(repository, digest)) is not None:
            return digest, body
        index = await self._registry.manifest(repository, tag)
        if digest in listed_in(index) and (body := await self._attached(repository, sha256(index))) is not None:
            return sha256(index), body
        where = f"{repository}:{signature_tag(digest)}"
        raise TrustError(TrustProblem.UNSIGNED, f"{repository}@{digest} is not signed: there is no {where}")

    async def _attached(self, repository: str, digest: str) -> bytes | None:
        try:
            return await self._registry.manifest(repository, signature_tag(digest))
        except RegistryError as error:
            if error.kind is RegistryProblem.NOT_FOUND:
                return None
            raise

    async def _wrong(self, repository: str, layer: _Layer, subject: str) -> str:
        """What is wrong with one signature; empty where it counts. What it says counts only after who says it."""
        payload = await self._registry.blob(repository, layer.digest)
        if len(payload) > _PAYLOAD_LIMIT:
            return f"its signed payload has {len(payload)} bytes"
        if not await self._by_our_keys(layer.annotations[_SIGNATURE], payload):
            return f"signed, but by none of {', '.join(self._policy.keys)}"
        try:
            said = msgspec.json.decode(payload, type=_Payload).critical
        except msgspec.DecodeError as error:
            return f"its signed payload is unreadable: {error}"
        if said.type != _TYPE:
            return f"its signed payload is a {said.type!r}, not a {_TYPE!r}"
        if said.image.docker_manifest_digest != subject:
            return f"the signature is for {said.image.docker_manifest_digest}"
        wanted = self._policy.identity or repository
        signed = _repository_in(said.identity.docker_reference)
        return "" if signed == wanted else f"signed as {signed or 'nothing'}, not as {wanted}"

    async def _by_our_keys(self, signature: str, payload: bytes) -> bool:
        for key in self._policy.keys:
            path = str(on_host(self._root, key))
            call = (*self._program, "check-signature", path, signature, base64.b64encode(payload).decode())
            try:
                done = await self._runner.run(call, _SECONDS)
            except RunError as error:
                raise TrustError(TrustProblem.KEY, f"signatures cannot be checked: {error}") from error
            if done.code == GOOD:
                return True
            if done.code != BAD:
                raise TrustError(TrustProblem.KEY, _last_line(done.err) or f"exit code {done.code}")
        return False


def with_contents(policy: Verification, root: Path) -> Verification:
    """The same with what its key files hold now."""
    return replace(policy, contents=tuple(_content(on_host(root, key)) for key in policy.keys))


def _content(path: Path) -> str:
    try:
        return sha256(path.read_bytes())
    except OSError:
        return ""


def signature_tag(digest: str) -> str:
    """The tag of the signatures of a digest."""
    return f"{digest.replace(':', '-')}.sig"


def own_program() -> tuple[str, ...]:
    """How this very program is started: the bundle itself, else the interpreter with our module."""
    return (sys.executable,) if getattr(sys, "frozen", False) else (sys.executable, "-m", "kube_upgrade.upgraded")


def _layers(body: bytes, repository: str) -> list[_Layer]:
    try:
        layers = msgspec.json.decode(body, type=_Manifest).layers
    except msgspec.DecodeError as error:
        raise RegistryError(RegistryProblem.UNREADABLE, f"signatures in {repository}: {error}") from error
    return [layer for layer in layers if layer.media_type == _PAYLOAD and _signs(layer)][:_LAYERS]


def _signs(layer: _Layer) -> bool:
    """True where its annotation is base64: what else stands there is given to no program."""
    try:
        return bool(base64.b64decode(layer.annotations.get(_SIGNATURE, ""), validate=True))
    except ValueError:
        return False


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2]


def _repository_in(reference: str) -> str:
    """HOST/REPO of a reference with or without a tag or digest."""
    name = reference.partition("@")[0]
    head, colon, tag = name.rpartition(":")
    return head if colon and "/" not in tag else name
