"""Pod object → model.Pod."""

import msgspec

from kube_upgrade.kube.wire.meta import Condition, ObjectMeta
from kube_upgrade.model.pod import Pod, Toleration

MIRROR = "kubernetes.io/config.mirror"  # set by the kubelet on the API's copy of a static pod


class Container(msgspec.Struct, frozen=True):
    """One container: only its image is read."""

    image: str = ""


class EmptyDir(msgspec.Struct, frozen=True):
    """That there is one is enough."""


class Volume(msgspec.Struct, rename="camel", frozen=True):
    """Only whether it is an emptyDir is read."""

    empty_dir: EmptyDir | None = None


class TolerationBody(msgspec.Struct, frozen=True):
    """core/v1 Toleration."""

    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""


class PodSpec(msgspec.Struct, rename="camel", frozen=True):
    """spec, reduced."""

    node_name: str = ""
    containers: list[Container] = []
    volumes: list[Volume] = []
    tolerations: list[TolerationBody] = []


class PodStatus(msgspec.Struct, rename="camel", frozen=True):
    """status, reduced."""

    phase: str = "Pending"
    conditions: list[Condition] = []


class PodObject(msgspec.Struct, rename="camel", frozen=True):
    """A core/v1 Pod, reduced."""

    metadata: ObjectMeta
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


def to_pod(wire: PodObject) -> Pod:
    """The model's value of a Pod object."""
    meta = wire.metadata
    owner = next((o for o in meta.owner_references if o.controller), None)
    return Pod(
        namespace=meta.namespace,
        name=meta.name,
        uid=meta.uid,
        node=wire.spec.node_name,
        labels=meta.labels,
        phase=wire.status.phase,
        ready=any(c.type == "Ready" and c.status == "True" for c in wire.status.conditions),
        mirror=MIRROR in meta.annotations,
        owner=(owner.kind, owner.name) if owner else None,
        empty_dir=any(v.empty_dir is not None for v in wire.spec.volumes),
        deleted_at=meta.deletion_timestamp,
        images=tuple(c.image for c in wire.spec.containers),
        tolerations=tuple(Toleration(t.key, t.operator, t.value, t.effect) for t in wire.spec.tolerations),
    )
