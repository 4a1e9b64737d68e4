"""One node as its own daemon sees it: a frozen look at everything (HostSnapshot), and what survives a crash (Facts)."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from kube_upgrade.model.node import KubeadmRole, Node
from kube_upgrade.model.node_config import NodeConfig
from kube_upgrade.model.os import Deployment, OsStatus
from kube_upgrade.model.pod import Pod
from kube_upgrade.model.version import KubeVersion


class GoalKind(StrEnum):
    """Why an image is wanted."""

    KUBERNETES = "kubernetes"  # ordered: the whole way, with kubeadm
    OS = "os"  # a new digest of the running tag: the same way without kubeadm
    PREFETCH = "prefetch"  # only fetched, while the node is in service
    HEALTH = "health"  # none is wanted any more, but something was begun under the lock: the node must be well again


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """The image that this node shall run, and what may be done for it. `version` is None for a tag that is none."""

    kind: GoalKind
    repository: str
    tag: str
    version: KubeVersion | None = None
    kubeadm: KubeadmRole | None = None
    start_before: datetime | None = None

    @property
    def reference(self) -> str:
        """HOST/REPO:TAG."""
        return f"{self.repository}:{self.tag}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """How often something failed in a row, when last, and why in a word and a sentence."""

    count: int
    last: datetime
    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LockFact:
    """A slot that the lock server may count as ours: from before the first request until a release was confirmed.

    Url and group are those it was asked under, whatever the config says by now; both empty where no record was found
    (a lost state file) and a release must make sure; then it counts as touched. `again` is when to ask next after a
    refusal. `confirmed` is the server's last word where that was yes, with the boot and the Node object it was said to.
    """

    asked: datetime
    url: str = ""
    group: str = ""
    granted: datetime | None = None
    confirmed: datetime | None = None
    boot_id: str = ""
    node_uid: str = ""
    no_other_node: bool = False
    answer: str = ""
    again: datetime | None = None
    touched: bool = False  # kubeadm or a reboot was begun under it: it goes back only when the node is proven well


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeadmRun:
    """One run of kubeadm here. `ended` and `code` are None while it runs, and for ever where nobody saw its end."""

    version: KubeVersion
    role: KubeadmRole
    started: datetime
    ended: datetime | None = None
    code: int | None = None

    @property
    def succeeded(self) -> bool:
        """True where it was seen to end with 0."""
        return self.code == 0

    @property
    def key(self) -> str:
        """What names its job on the host."""
        return self.started.isoformat()


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A program of ours that may outlive this process, as found on the host.

    `key` names the run it belongs to. `code` is None while it runs, and where it is gone without a word.
    """

    key: str
    running: bool
    code: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RebootFact:
    """A reboot into `digest`, written down before it was asked for in the boot `boot_id`."""

    digest: str
    boot_id: str
    asked: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """state.json: what happened. Nothing in it is a phase; what can be looked at is looked at.

    Digest, tries and reboot belong to `repository:target`; `for_goal` forgets them when another image is wanted.
    """

    kind: GoalKind | None = None
    repository: str = ""
    target: str = ""
    digest: str = ""
    trusted: str = ""  # Verification.proof of the last image that passed
    images_for: KubeVersion | None = None  # static-pod images of this version are on the node
    etcd_for: KubeVersion | None = None  # etcd was snapshotted, or that was found impossible, before this version
    etcd_snapshot: str = ""  # path and size, or why there is none
    lock: LockFact | None = None
    kubeadm: KubeadmRun | None = None
    reboot: RebootFact | None = None
    tries: Mapping[str, Try] = field(default_factory=dict)
    bad_digests: Mapping[str, str] = field(default_factory=dict)  # digest: why
    retried: str = ""  # the last `retry` annotation acted on
    retried_at: datetime | None = None
    os_checked: datetime | None = None

    def for_goal(self, goal: Goal) -> "Facts":
        """The facts that count for this goal. Another order forgets which digests were bad."""
        if (self.repository, self.target) == (goal.repository, goal.tag):
            return replace(self, kind=goal.kind)
        ordered = goal.kind is GoalKind.KUBERNETES
        return replace(
            self,
            kind=goal.kind,
            repository=goal.repository,
            target=goal.tag,
            digest="",
            reboot=None,
            tries={},
            bad_digests={} if ordered else self.bad_digests,
        )

    def released(self) -> "Facts":
        """After the lock came back: the next time etcd is saved anew."""
        return replace(self, lock=None, etcd_for=None)

    def finished(self) -> "Facts":
        """After the lock came back from a proven node: only what is still of use to the next goal."""
        return replace(
            self.released(), kind=None, repository="", target="", digest="", kubeadm=None, reboot=None, tries={}
        )

    def failed(self, step: str, now: datetime, reason: str, message: str) -> "Facts":
        """One more failure of a step."""
        before = self.tries.get(step)
        count = before.count + 1 if before else 1
        return replace(self, tries={**self.tries, step: Try(count=count, last=now, reason=reason, message=message)})

    def passed(self, step: str) -> "Facts":
        """The step worked: its failures are over."""
        return replace(self, tries={name: kept for name, kept in self.tries.items() if name != step})


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """Who must have signed an image before it is staged: any of these keys (PEM files, as the host names them).

    `identity` is the repository that the signature must name; empty for the one that the image comes from.
    """

    keys: tuple[str, ...]
    identity: str = ""
    contents: tuple[str, ...] = ()  # SHA-256 of each key file as it is now; empty for one that cannot be read

    def proof(self, digest: str) -> str:
        """What is written down of an image that passed: another image, key, file of it or identity is another proof."""
        return " ".join((digest, *self.keys, *self.contents, self.identity)).strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRules:
    """What only the host's owner may set: guards, and how long to look before believing."""

    allowed_streams: tuple[str, ...] = ()  # empty: every stream
    verification: Verification | None = None  # None: whatever the registry gives
    wait_for_pods: bool = True  # `drain: none` turns the own look at the pods off
    settle: timedelta = timedelta(seconds=10)  # all evidence good for this long, on end
    control_plane_settle: timedelta = timedelta(seconds=10)
    attempts: int = 5
    reboot_within: timedelta = timedelta(minutes=15)
    verify_within: timedelta = timedelta(minutes=30)  # counted from the request to reboot
    poll: timedelta = timedelta(seconds=2)  # between looks at what tells nobody when it changes


@dataclass(frozen=True, slots=True, kw_only=True)
class Kubeadm:
    """A kubeadm binary found on the host, and what it says it is (None: it did not say)."""

    path: str
    version: KubeVersion | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What answered well when asked on localhost just now. None: nobody to ask."""

    kubelet: bool | None = None
    api_server: bool | None = None
    etcd: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Streak:
    """Every look at the evidence from `since` to `last` was good."""

    since: datetime
    last: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSnapshot:
    """Everything a step is decided on. None means unknown: not looked at, or no answer."""

    now: datetime
    machine_id: str
    boot_id: str
    config: NodeConfig  # defaults, config.yaml and the node's annotations merged
    rules: HostRules
    facts: Facts
    node: Node | None = None  # the own Node object
    api_reachable: bool = False  # `node` was read from the API server for this very snapshot
    os: OsStatus | None = None
    os_problem: str = ""
    control_plane: bool = False  # kubeadm's own test: there is a static pod manifest of the API server
    manifests: Mapping[str, KubeVersion] = field(default_factory=dict)  # component: version, from the static pod files
    cluster_version: KubeVersion | None = None  # kubeadm-config's kubernetesVersion
    pods: tuple[Pod, ...] | None = None  # all pods bound to this node
    kubeadms: tuple[Kubeadm, ...] = ()
    kubeadm_job: Job | None = None  # the last run of kubeadm that this host knows of
    kubelet_server: str = ""  # kubelet.conf's server
    kubelet_server_local: bool | None = None  # it is this node's own API server
    health: Health = field(default_factory=Health)
    streak: Streak | None = None  # of all that is asked for of the goal
    well: Streak | None = None  # of the node's health alone, whatever image runs

    @property
    def booted(self) -> Deployment | None:
        """The running deployment."""
        return self.os.booted if self.os else None

    @property
    def staged(self) -> Deployment | None:
        """The staged deployment."""
        return self.os.staged if self.os else None
