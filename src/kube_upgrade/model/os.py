"""The operating system of a node: deployments, and what may go wrong with them."""  # noqa: A005 - always imported by its full name

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

UNVERIFIED = "ostree-unverified-registry:"
SIGNED = "ostree-image-signed:docker://"


@dataclass(frozen=True, slots=True)
class ImageReference:
    """An image as rpm-ostree prints it: how it is trusted (`prefix`, up to the host's name), repository and tag.

    A reference that is pinned to a digest has an empty tag.
    """

    prefix: str
    repository: str
    tag: str = ""

    def __str__(self) -> str:
        return f"{self.prefix}{self.repository}" + (f":{self.tag}" if self.tag else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """One bootable tree. `digest` is the per-arch manifest's, `sha256:…`; empty for a tree without a container image.

    `checksum` is the ostree commit (64 hex digits) and with `serial` names the tree's folder. `locked` means that an
    ordinary reboot does not apply this staged deployment.
    """

    osname: str
    checksum: str
    serial: int
    digest: str = ""
    image: ImageReference | None = None
    version: str = ""
    created: datetime | None = None
    booted: bool = False
    staged: bool = False
    locked: bool = False
    pinned: bool = False

    @property
    def path(self) -> str:
        """The tree's folder on the host; it is readable as soon as the deployment is staged."""
        return f"/ostree/deploy/{self.osname}/deploy/{self.checksum}.{self.serial}"


@dataclass(frozen=True, slots=True)
class UpdateDriver:
    """Who registered with rpm-ostree as the one that drives updates, and the systemd unit it runs in."""

    name: str
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OsStatus:
    """All deployments in boot order: the first one is what the next boot takes by default."""

    deployments: tuple[Deployment, ...]
    transaction: str = ""  # title of the one that runs, or empty
    driver: UpdateDriver | None = None

    @property
    def booted(self) -> Deployment | None:
        """The running one; None where the host was not booted by ostree."""
        return next((found for found in self.deployments if found.booted), None)

    @property
    def staged(self) -> Deployment | None:
        """The one that a shutdown would write to disk, unless it is locked."""
        return next((found for found in self.deployments if found.staged), None)

    @property
    def pending(self) -> Deployment | None:
        """The next boot's default where it is not the running one: staged, or left behind by a failed boot."""
        first = next(iter(self.deployments), None)
        return first if first and not first.booted else None

    @property
    def rollback(self) -> Deployment | None:
        """The first one after the running one."""
        after = False
        for found in self.deployments:
            if after:
                return found
            after = found.booted
        return None

    def failed_boot(self, digest: str) -> bool:
        """True where this image is the next boot's default, but neither staged nor running: the host fell back."""
        first = self.pending
        return bool(digest) and first is not None and not first.staged and first.digest == digest


class StageOutcome(StrEnum):
    """What a request to stage found or did."""

    STAGED = "staged"
    ALREADY_STAGED = "already-staged"
    ALREADY_BOOTED = "already-booted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """The deployment that holds the wanted image, and how it came there."""

    outcome: StageOutcome
    deployment: Deployment


class OsProblem(StrEnum):
    """Why the OS could not be changed, as a word for events and messages."""

    TRANSACTION_RUNNING = "TransactionRunning"  # wait, then try again
    OTHER_DRIVER = "OtherDriver"  # Zincati or somebody else drives updates here
    FAILED_BOOT = "FailedBoot"  # the image was booted once and the host fell back
    NOTHING_STAGED = "NothingStaged"
    OTHER_STAGED = "OtherStaged"
    ALREADY_UNLOCKED = "AlreadyUnlocked"
    INHIBITED = "ShutdownInhibited"
    REFS_EQUAL = "RefsEqual"
    POLICY_REFUSED = "PolicyRefused"
    IMAGE_PULL = "ImagePull"
    NO_SPACE = "NoSpace"
    TAG_MOVED = "TagMoved"  # it names another image than the one that was resolved
    LAYERED = "PackagesLayered"  # bootc changes no host with layered packages
    NO_EFFECT = "NoEffect"  # the command ended with 0 and changed nothing
    TIMED_OUT = "TimedOut"
    NOT_FOUND = "NotFound"  # the program is not there
    UNREADABLE = "Unreadable"  # its output is not what it should be
    COMMAND_FAILED = "CommandFailed"
