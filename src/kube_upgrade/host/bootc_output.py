"""Reads what bootc prints: `status --format=json` (org.containers.bootc/v1, BootcHost), and its sentences on stderr.

bootc names three deployments. Their boot order follows from `rollbackQueued`: after a failed boot the image that did
not come up is the "rollback" and still the next boot's default.
"""

import msgspec

from kube_upgrade.host.drivers import OsError
from kube_upgrade.model.os import UNVERIFIED, Deployment, ImageReference, OsProblem, OsStatus

SIGNED = "ostree-image-signed:registry:"
_PROBLEMS: tuple[tuple[str, OsProblem], ...] = (
    ("No staged deployment", OsProblem.NOTHING_STAGED),
    ("Deployment contains local rpm-ostree modifications", OsProblem.LAYERED),
    ("inhibit", OsProblem.INHIBITED),
    ("Source image rejected", OsProblem.POLICY_REFUSED),
    ("No space left on device", OsProblem.NO_SPACE),
    ("min-free-space", OsProblem.NO_SPACE),
    ("manifest unknown", OsProblem.IMAGE_PULL),
    ("reading manifest", OsProblem.IMAGE_PULL),
    ("pinging container registry", OsProblem.IMAGE_PULL),
    ("Creating importer", OsProblem.IMAGE_PULL),
    ("Pulling", OsProblem.IMAGE_PULL),
)


class _Reference(msgspec.Struct):
    image: str
    transport: str = "registry"
    signature: msgspec.Raw = msgspec.Raw(b"null")


class _Image(msgspec.Struct, rename="camel"):
    image: _Reference
    image_digest: str = ""
    version: str | None = None


class _Ostree(msgspec.Struct, rename="camel"):
    stateroot: str
    checksum: str
    deploy_serial: int = 0


class _Entry(msgspec.Struct, rename="camel"):
    image: _Image | None = None
    ostree: _Ostree | None = None
    incompatible: bool = False
    pinned: bool = False
    download_only: bool = False


class _Status(msgspec.Struct, rename="camel"):
    staged: _Entry | None = None
    booted: _Entry | None = None
    rollback: _Entry | None = None
    rollback_queued: bool = False


class _Host(msgspec.Struct, rename="camel"):
    status: _Status


def parse_host(text: str) -> OsStatus:
    """Read `bootc status --format=json`. Raises OsError(UNREADABLE) that names the field."""
    status = _decoded(text)
    staged = _deployment(status.staged, staged=True)
    booted, other = _deployment(status.booted, booted=True), _deployment(status.rollback)
    order = (staged, other, booted) if status.rollback_queued else (staged, booted, other)
    return OsStatus(deployments=tuple(found for found in order if found is not None))


def layered(text: str) -> bool:
    """True where packages are layered onto the running image: bootc changes nothing on such a host."""
    booted = _decoded(text).booted
    return booted is not None and booted.incompatible


def problem_in(stderr: str) -> tuple[OsProblem, str]:
    """The problem's kind and the sentence that tells it, without `error: `."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    said = next((line for line in lines if line.lower().startswith("error:")), lines[-1] if lines else "no message")
    kind = next((kind for words, kind in _PROBLEMS if words in said), OsProblem.COMMAND_FAILED)
    return kind, said[6:].strip() if said.lower().startswith("error:") else said


def _decoded(text: str) -> _Status:
    try:
        return msgspec.json.decode(text.encode(), type=_Host).status
    except msgspec.DecodeError as error:
        raise OsError(OsProblem.UNREADABLE, f"bootc status --format=json: {error}") from error


def _deployment(raw: _Entry | None, *, booted: bool = False, staged: bool = False) -> Deployment | None:
    if raw is None or raw.ostree is None:
        return None
    image = raw.image
    return Deployment(
        osname=raw.ostree.stateroot,
        checksum=raw.ostree.checksum,
        serial=raw.ostree.deploy_serial,
        digest=image.image_digest if image else "",
        image=_reference(image.image) if image else None,
        version=(image.version or "") if image else "",
        booted=booted,
        staged=staged,
        locked=staged and raw.download_only,
        pinned=raw.pinned,
    )


def _reference(raw: _Reference) -> ImageReference:
    """As rpm-ostree would print it, so that both drivers' references compare."""
    prefix = SIGNED if bytes(raw.signature) == b'"containerPolicy"' else UNVERIFIED
    name, pinned, _ = raw.image.partition("@")
    repository, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        return ImageReference(prefix, name)
    return ImageReference(prefix, repository, "" if pinned else tag)
