"""Reads what rpm-ostree prints: `status --json`, and its sentences on stderr.

Format: rpm-ostree's rpmostreed-deployment-utils; fields that decisions do not need are skipped.
"""

import re
from datetime import UTC, datetime
from typing import Any

import msgspec

from kube_upgrade.host.drivers import OsError
from kube_upgrade.model.os import Deployment, ImageReference, OsProblem, OsStatus, UpdateDriver

_PREFIX = re.compile(r"ostree-(?:unverified-registry:|remote-registry:[^:]+:|"
                     r"(?:unverified-image|image-signed|remote-image:[^:]+):(?:docker://|registry:)?)")  # fmt: skip
_PROBLEMS: tuple[tuple[str, OsProblem], ...] = (
    ("Transaction in progress", OsProblem.TRANSACTION_RUNNING),
    ("System transaction in progress", OsProblem.TRANSACTION_RUNNING),
    ("Reboot initiated, cannot start new transaction", OsProblem.TRANSACTION_RUNNING),
    ("Updates and deployments are driven by", OsProblem.OTHER_DRIVER),
    ("Old and new refs are equal", OsProblem.REFS_EQUAL),
    ("No pending staged deployment found", OsProblem.NOTHING_STAGED),
    ("No staged deployment", OsProblem.NOTHING_STAGED),
    ("Expected staged base checksum", OsProblem.OTHER_STAGED),
    ("Staged deployment already unlocked", OsProblem.ALREADY_UNLOCKED),
    ("inhibit", OsProblem.INHIBITED),
    ("refusing usage", OsProblem.POLICY_REFUSED),
    ("Source image rejected", OsProblem.POLICY_REFUSED),
    ("No space left on device", OsProblem.NO_SPACE),
    ("min-free-space", OsProblem.NO_SPACE),
    ("manifest unknown", OsProblem.IMAGE_PULL),
    ("reading manifest", OsProblem.IMAGE_PULL),
    ("pinging container registry", OsProblem.IMAGE_PULL),
    ("Creating importer", OsProblem.IMAGE_PULL),
    ("Fetching", OsProblem.IMAGE_PULL),
)


class _Driver(msgspec.Struct, rename="kebab"):
    driver_name: str
    driver_sd_unit: str = ""


class _Deployment(msgspec.Struct, rename="kebab"):
    osname: str
    checksum: str
    serial: int = 0
    timestamp: int | None = None
    version: str | None = None
    booted: bool = False
    staged: bool | None = False
    pinned: bool | None = False
    finalization_locked: bool | None = False
    container_image_reference: str | None = None
    container_image_reference_digest: str | None = None


class _Status(msgspec.Struct, rename="kebab"):
    deployments: list[_Deployment]
    transaction: Any = None
    update_driver: _Driver | None = None


def parse_status(text: str) -> OsStatus:
    """Read `rpm-ostree status --json`. Raises OsError(UNREADABLE) that names the field."""
    try:
        raw = msgspec.json.decode(text.encode(), type=_Status)
    except msgspec.DecodeError as error:
        raise OsError(OsProblem.UNREADABLE, f"rpm-ostree status --json: {error}") from error
    return OsStatus(
        deployments=tuple(_deployment(found) for found in raw.deployments),
        transaction=_title(raw.transaction),
        driver=UpdateDriver(raw.update_driver.driver_name, raw.update_driver.driver_sd_unit)
        if raw.update_driver
        else None,
    )


def parse_image(text: str) -> ImageReference:
    """Read an image reference as rpm-ostree prints it; a digest behind `@` leaves the tag empty."""
    found = _PREFIX.match(text)
    prefix = found.group() if found else ""
    name = text[len(prefix) :].split("@", 1)[0]
    repository, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        return ImageReference(prefix, name)
    return ImageReference(prefix, repository, "" if "@" in text else tag)


def problem_in(stderr: str) -> tuple[OsProblem, str]:
    """The problem's kind and the sentence that tells it, without `error: `."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    said = next((line for line in lines if line.startswith("error:")), lines[-1] if lines else "no message")
    kind = next((kind for words, kind in _PROBLEMS if words in said), OsProblem.COMMAND_FAILED)
    return kind, said.removeprefix("error:").strip()


def _deployment(raw: _Deployment) -> Deployment:
    image = raw.container_image_reference
    return Deployment(
        osname=raw.osname,
        checksum=raw.checksum,
        serial=raw.serial,
        digest=raw.container_image_reference_digest or "",
        image=parse_image(image) if image else None,
        version=raw.version or "",
        created=datetime.fromtimestamp(raw.timestamp, UTC) if raw.timestamp is not None else None,
        booted=raw.booted,
        staged=bool(raw.staged),
        locked=bool(raw.finalization_locked),
        pinned=bool(raw.pinned),
    )


def _title(transaction: object) -> str:
    """What runs, from either form of the field: an object with a title, or the tuple (method, caller, address)."""
    if isinstance(transaction, dict):
        return str(transaction.get("title") or transaction.get("method") or "a transaction")
    if isinstance(transaction, list) and transaction:
        return str(transaction[0]) or "a transaction"
    return "a transaction" if transaction else ""
