"""KubeUpgradePlan as these structs: what is decoded, and what `crd.py` turns into the CRD and its page.

Field texts are `kubectl explain`'s; limits stand beside them and are checked by the API server alone, so that an object
stored before a limit existed still decodes. The `upgraded` settings are not repeated here: they come from the table in
model.node_config.
"""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from kube_upgrade.kube.wire.meta import ObjectMeta
from kube_upgrade.model.status import MAX_CLAIMS

KIND = "KubeUpgradePlan"
PLURAL = "kubeupgradeplans"

MAX_GROUPS = 32  # with 32 groups of 32 dependencies the rule against cycles stays within the API server's cost limit
MAX_HISTORY = 10

ATOMIC = {"x-kubernetes-list-type": "atomic"}


def about(text: str, *keys: str, **schema: object) -> Meta:
    """A field's sentence and limits. `keys` make a list a map by those fields."""
    if keys:
        schema |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}
    return Meta(description=text, extra_json_schema=schema or None)


def settings(text: str, *, defaults: bool, **schema: object) -> Meta:
    """An object of the `upgraded` settings, with their defaults or without."""
    which = "with defaults" if defaults else "without defaults"
    return Meta(description=text, extra_json_schema=schema or None, extra={"settings": which})


VersionText = Annotated[str, Meta(extra_json_schema={"maxLength": 64})]
LabelValue = Annotated[str, Meta(extra_json_schema={"maxLength": 63})]


class Expression(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """One requirement of a label selector."""

    key: Annotated[str, about("Label key.", maxLength=317)]
    operator: Annotated[
        str, about("In, NotIn, Exists or DoesNotExist.", enum=["In", "NotIn", "Exists", "DoesNotExist"])
    ]
    values: Annotated[
        list[LabelValue], about("Values for In and NotIn; none for the others.", maxItems=64, **ATOMIC)
    ] = []


class SelectorSpec(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """metav1.LabelSelector: every entry must hold."""

    match_labels: Annotated[
        dict[str, LabelValue], about("Labels and the values they must have.", maxProperties=32)
    ] = {}
    match_expressions: Annotated[list[Expression], about("Requirements on labels.", maxItems=32, **ATOMIC)] = []


class Toleration(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """core/v1 Toleration."""

    key: Annotated[str, about("Taint key; empty with Exists for every taint.")] = ""
    operator: Annotated[str, about("Exists, Equal, Lt or Gt; empty means Equal.")] = ""
    value: Annotated[str, about("Taint value for Equal.")] = ""
    effect: Annotated[str, about("NoSchedule, PreferNoSchedule, NoExecute; empty for every effect.")] = ""
    toleration_seconds: Annotated[int | None, about("How long a NoExecute taint is tolerated.", format="int64")] = None


class WindowSpec(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """New nodes may start from each moment of `schedule` on, for `duration`."""

    schedule: Annotated[str, about("Cron expression of five fields, such as 0 2 * * SAT.", maxLength=128)]
    duration: Annotated[str, about("How long the window stays open, such as 4h.", maxLength=32)]
    time_zone: Annotated[
        str, about("IANA time zone in which the schedule is read, such as Europe/Berlin.", maxLength=64)
    ] = "UTC"


class FreezeSpec(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """No node starts from `from` on until `until`, whatever the windows say."""

    since: Annotated[str, about("First moment of the freeze, RFC 3339.", format="date-time")] = msgspec.field(
        name="from"
    )
    until: Annotated[str, about("First moment after the freeze, RFC 3339.", format="date-time")]
    reason: Annotated[str, about("Shown where nodes wait for the freeze to end.", maxLength=256)] = ""


class GroupSpec(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """Some nodes of the cluster and the pace at which they are upgraded."""

    labels: Annotated[
        dict[str, LabelValue], about("Labels that the group's nodes have. Either this or selector.", maxProperties=32)
    ] = {}
    selector: Annotated[SelectorSpec | None, about("Label selector of the group's nodes. Either this or labels.")] = (
        None
    )
    depends_on: Annotated[
        list[Annotated[str, Meta(extra_json_schema={"maxLength": 63})]],
        about(
            "Groups that must be complete before a node of this one starts.", maxItems=MAX_GROUPS, default=[], **ATOMIC
        ),
    ] = []
    tolerations: Annotated[
        list[Toleration], about("Tolerations of the daemon's pods where it runs as a DaemonSet.", **ATOMIC)
    ] = []
    max_unavailable: Annotated[
        int | str,
        about(
            "How many of the group's nodes may be out of service at once: a number, or a share such as 25%.",
            maxLength=10,
        ),
    ] = 1
    max_failures: Annotated[
        int, about("At this many failed nodes the group starts no further one.", minimum=1, format="int32")
    ] = 1
    soak: Annotated[str, about("How long a finished node must stay healthy before the next starts.", maxLength=32)] = (
        "0s"
    )
    paused: Annotated[bool, about("Start no further node of this group.")] = False
    upgraded: Annotated[
        dict[str, Any] | None,
        settings("Settings of this group's nodes, each over the plan's.", defaults=False, nullable=True),
    ] = None


class PlanSpec(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """What shall become of the cluster."""

    kubernetes_version: Annotated[str, about("Version to upgrade the cluster to, such as v1.37.2.", maxLength=64)]
    allow_downgrade: Annotated[bool, about("Allow a version lower than the cluster's. Kubernetes does not.")] = False
    via: Annotated[
        list[VersionText],
        about("Version to pass through for each minor between the cluster's and the target.", maxItems=16, **ATOMIC),
    ] = []
    workers_skip_hops: Annotated[
        bool, about("Workers go straight to the last hop that the version skew policy allows.")
    ] = False
    paused: Annotated[bool, about("Start no further node.")] = False
    windows: Annotated[
        list[WindowSpec], about("Start nodes only inside one of these; none: at any time.", maxItems=32, **ATOMIC)
    ] = []
    freezes: Annotated[list[FreezeSpec], about("Start no node inside any of these.", maxItems=64, **ATOMIC)] = []
    progress_deadline: Annotated[
        str,
        about("How long a node may take from kubeadm's start on; longer counts as one failure.", maxLength=32),
    ] = "45m"
    upgraded: Annotated[dict[str, Any], settings("Settings of every node.", defaults=True)]
    groups: Annotated[
        dict[str, GroupSpec], about("Groups of nodes, by name.", minProperties=1, maxProperties=MAX_GROUPS)
    ]


class ConditionBody(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """metav1.Condition."""

    type: Annotated[str, about("What the condition is about.", maxLength=316)]
    status: Annotated[str, about("True, False or Unknown.", enum=["True", "False", "Unknown"])]
    observed_generation: Annotated[int, about("Generation of the spec this was said of.", format="int64")] = 0
    last_transition_time: Annotated[datetime, about("When status last changed.")]
    reason: Annotated[str, about("The reason in one word.", minLength=1, maxLength=1024)]
    message: Annotated[str, about("The reason in a sentence.", maxLength=32768)]


class VersionBody(msgspec.Struct, rename="camel", frozen=True, kw_only=True, omit_defaults=True):
    """Where the cluster stands on its way: hop k of n."""

    start: Annotated[str, about("Version at which this upgrade began.")] = msgspec.field(name="from", default="")
    target: Annotated[str, about("Version of the present hop.")]
    hop: Annotated[int, about("Number of the present hop, from 1.", format="int32")]
    hops: Annotated[int, about("How many hops it takes.", format="int32")]


class NodesBody(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """Every node of the plan is in exactly one of the last four."""

    total: Annotated[int, about("Nodes that the groups select.", format="int32")] = 0
    completed: Annotated[int, about("Proven at the target.", format="int32")] = 0
    in_flight: Annotated[int, about("Claimed and not yet proven.", format="int32")] = 0
    failed: Annotated[int, about("Reported an error, or took too long.", format="int32")] = 0
    waiting: Annotated[int, about("Not started yet.", format="int32")] = 0


class ClaimBody(msgspec.Struct, rename="camel", frozen=True, kw_only=True, omit_defaults=True):
    """One node counted in the plan's budget, from before its order until it is proven and has soaked."""

    node: Annotated[str, about("Name of the Node.")]
    uid: Annotated[str, about("UID of the Node: one re-created under the same name is another.")]
    group: Annotated[str, about("Group in whose budget it counts.")]
    version: Annotated[str, about("Version it is ordered to.")]
    since: Annotated[datetime, about("When it was claimed.")]
    started_at: Annotated[
        datetime | None, about("When kubeadm was seen to run; progressDeadline counts from here.")
    ] = None
    proven_at: Annotated[datetime | None, about("When it was proven at the version; the soak counts from here.")] = None
    untimed: Annotated[
        bool,
        about(
            "Nothing is learned from its time: it failed, fell ill, took too long, was not seen to begin or goes again."
        ),
    ] = False


class DurationBody(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """Learned seconds from kubeadm's start to proven."""

    count: Annotated[int, about("How many nodes this is learned from.", format="int32")]
    p50: Annotated[float, about("Half of them took no longer.")]
    p90: Annotated[float, about("Nine of ten took no longer.")]


class HoldBody(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """One reason why nodes wait."""

    reason: Annotated[str, about("The reason in one word.")]
    message: Annotated[str, about("The reason in a sentence.")]
    nodes: Annotated[int, about("How many nodes wait for it.", format="int32")]
    sample: Annotated[list[str], about("Up to three of them.", **ATOMIC)] = []


class RunBody(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """One finished upgrade."""

    version: Annotated[str, about("Version it led to.")]
    started: Annotated[
        datetime, about("When the cluster was first found short of it. Pauses and waits before the first claim count.")
    ]
    finished: Annotated[datetime, about("When its last node was proven.")]
    result: Annotated[str, about("How it ended, in one word.")]
    nodes: Annotated[int, about("How many nodes it upgraded.", format="int32")]


class PlanStatusBody(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """What became of it so far. `summary` and `groups` use upstream's exact words."""

    summary: Annotated[str, about("The plan in one line.")] = ""
    groups: Annotated[dict[str, str], about("Each group in one line.")] = {}
    observed_generation: Annotated[int, about("Generation of the spec that this status is about.", format="int64")] = 0
    conditions: Annotated[
        list[ConditionBody], about("Ready, Progressing, Degraded and what else is true.", "type")
    ] = []
    version: Annotated[VersionBody | UnsetType, about("Where the cluster stands on its way.")] = UNSET
    nodes: Annotated[NodesBody, about("How many nodes are where.")] = NodesBody()
    claims: Annotated[
        list[ClaimBody],
        # A list by keys would cost the API server three times the CPU: it keeps an owner for each field of each claim.
        about("Nodes that count in the budget. Who starts a node claims it here first.", maxItems=MAX_CLAIMS, **ATOMIC),
    ] = []
    durations: Annotated[dict[str, DurationBody], about("Learned durations by group.")] = {}
    holds: Annotated[list[HoldBody], about("Why nodes wait, most frequent first.", **ATOMIC)] = []
    history: Annotated[list[RunBody], about("The last upgrades, newest first.", maxItems=MAX_HISTORY, **ATOMIC)] = []


class PlanObject(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """An automatic upgrade of the cluster's nodes to a Kubernetes version, group by group."""

    metadata: ObjectMeta
    spec: PlanSpec
    status: PlanStatusBody = PlanStatusBody()
