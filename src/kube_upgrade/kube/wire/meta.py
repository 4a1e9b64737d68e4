"""Metadata that every object carries, reduced."""

from datetime import datetime

import msgspec


class OwnerReference(msgspec.Struct, rename="camel", frozen=True):
    """metav1.OwnerReference; `controller` marks the one owner that manages the object."""

    kind: str
    name: str
    uid: str = ""
    controller: bool = False


class ObjectMeta(msgspec.Struct, rename="camel", frozen=True, omit_defaults=True):
    """metav1.ObjectMeta without managedFields and the rest we never read."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    owner_references: list[OwnerReference] = []


class Condition(msgspec.Struct, rename="camel", frozen=True):
    """The conditions of nodes and pods: status is True, False or Unknown."""

    type: str
    status: str = ""
    last_transition_time: datetime | None = None
    reason: str = ""
    message: str = ""
