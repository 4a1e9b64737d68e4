"""What `decide` may ask of the node daemon next: a tagged union of frozen steps."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from kube_upgrade.model.node import KubeadmRole
from kube_upgrade.model.version import KubeVersion


class Why(StrEnum):
    """Why a node waits or has failed, in a word."""

    # waiting
    API_AWAY = "ApiAway"
    WRONG_NODE = "WrongNode"  # the Node object is another machine's
    HOST_UNREADABLE = "HostUnreadable"
    NODE_HOLD = "NodeHold"
    WITHDRAWN = "Withdrawn"
    OS_BUSY = "OsBusy"
    BACKING_OFF = "BackingOff"
    CLUSTER_BEHIND = "ClusterBehind"  # kubeadm-config is not yet at the target
    OS_UPDATE_HELD = "OsUpdateHeld"
    LOCK_BUSY = "LockBusy"
    PODS_REMAIN = "PodsRemain"
    REBOOTING = "Rebooting"
    VERIFYING = "Verifying"
    # failed
    NO_LOCK_SERVER = "NoLockServer"
    STREAM_NOT_ALLOWED = "StreamNotAllowed"
    BAD_IMAGE = "BadImage"  # booted once, and the host fell back
    APPLY_ON_WORKER = "ApplyOnWorker"
    VERSION_PATH = "VersionPath"
    KUBEADM_VERSION = "KubeadmVersion"
    KUBELET_NOT_LOCAL = "KubeletNotLocal"
    ETCD_DOWN = "EtcdDown"  # after a kubeadm that failed
    NOT_PROVEN = "NotProven"
    NO_REBOOT = "NoReboot"
    NO_EFFECT = "NoEffect"  # a command said yes and changed nothing
    TOO_MANY_TRIES = "TooManyTries"  # never on its own: the last cause is named instead where there is one


@dataclass(frozen=True, slots=True, kw_only=True)
class Idle:
    """Nothing is wanted. `until` is when to look for an OS update."""

    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Somebody else must act first. Look again at `until`, or when the Node changes."""

    reason: str
    message: str
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """Given up, in words; a retry request, another order or a change in what was looked at gets it going again."""

    reason: str
    message: str
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptRetry:
    """Forget the failures once for this request."""

    request: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolveImage:
    """Ask the registry which per-arch manifest HOST/REPO:TAG is."""

    reference: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyImage:
    """Check that one of the owner's keys signed it; `proof` is what to write down then."""

    reference: str
    digest: str
    proof: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StageImage:
    """Fetch and stage, locked."""

    reference: str
    digest: str
    unsigned: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PullImages:
    """Fetch the new static pods' images while they can still be waited for."""

    version: KubeVersion
    kubeadm: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeLock:
    """Ask for, or confirm, a slot: the server drains before it says yes."""

    url: str
    group: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotEtcd:
    """Save etcd before the first control plane is touched."""

    version: KubeVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class RunKubeadm:
    """`kubeadm upgrade apply` or `node` by this binary."""

    role: KubeadmRole
    version: KubeVersion
    kubeadm: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AwaitKubeadm:
    """A kubeadm that an earlier daemon started runs, or has ended unseen: wait for it and take its end down."""

    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reboot:
    """Unlock the staged image and reboot into it."""

    digest: str
    allow_unlocked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LockStaged:
    """Lock a staged image that an ordinary reboot would apply by accident."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkBad:
    """Remember that this image was booted and the host fell back."""

    digest: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanUp:
    """Forget the bad image that is the next boot's default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportCompleted:
    """Write `completed`; the lock is released only after the API server shows it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseLock:
    """Give the slot back; the server uncordons. `proven`: the goal is reached and its facts are of no more use."""

    url: str
    group: str
    proven: bool
    message: str = ""


Passive = Idle | Wait | Failed
Effect = (
    AcceptRetry
    | ResolveImage
    | VerifyImage
    | StageImage
    | PullImages
    | TakeLock
    | SnapshotEtcd
    | RunKubeadm
    | AwaitKubeadm
    | Reboot
    | LockStaged
    | MarkBad
    | CleanUp
    | ReportCompleted
    | ReleaseLock
)
Step = Passive | Effect
