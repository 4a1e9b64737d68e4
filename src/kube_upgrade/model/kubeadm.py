"""Why kubeadm did not do what it was asked: one word per cause."""

from enum import StrEnum


class KubeadmProblem(StrEnum):
    """A cause, as a word for events and messages. The sentence comes from kubeadm's own output."""

    VERSION_SKEW = "VersionSkew"
    KUBEADM_TOO_OLD = "KubeadmTooOld"
    IMAGE_PULL = "ImagePull"
    ETCD_ROLLED_BACK = "EtcdRolledBack"  # kubeadm says so; only etcd's own health tells
    CONTROL_PLANE_ROLLED_BACK = "ControlPlaneRolledBack"
    NOT_CONTROL_PLANE = "NotControlPlane"
    TIMESTAMP_COLLISION = "TimestampCollision"  # two runs within one second: try again
    PREFLIGHT = "Preflight"
    API_UNREACHABLE = "ApiUnreachable"
    USAGE = "Usage"
    WRONG_VERSION = "WrongVersion"  # this kubeadm is not of the target version
    NOT_FOUND = "NotFound"
    TIMED_OUT = "TimedOut"
    RUNNING = "KubeadmRunning"  # another run of it has not ended
    LOST = "KubeadmLost"  # it is gone, and nobody knows how it ended
    UNKNOWN = "Unknown"
