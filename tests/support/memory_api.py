"""The API server as an object: the subset that KubeApi's callers rely on, synchronous and without dice.

It keeps resourceVersions, uids, preconditions, the status subresource, generations and the watch history.
tests/contract/test_resource_versions.py runs the same promises against it and against a real API server. What it does
not know: admission, schemas, graceful deletion, finalizers (refused), patch kinds other than merge (refused).
"""

import copy
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from kube_upgrade.kube.api import NO_PARAMS, PatchKind
from kube_upgrade.kube.errors import Conflict, Gone, Invalid, NotFound

Object = dict[str, Any]
FIRST_DAY = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Address:
    """What a path means. `group` is `/api/v1` or `/apis/GROUP/VERSION`; an empty name means the collection."""

    group: str
    resource: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""

    @property
    def key(self) -> tuple[str, str, str, str]:
        """Identity of the object, whatever the subresource."""
        return (self.group, self.resource, self.namespace, self.name)

    def holds(self, other: "Address") -> bool:
        """True where this collection contains that object."""
        same = (self.group, self.resource) == (other.group, other.resource)
        return same and self.namespace in ("", other.namespace)


def address(path: str) -> Address:
    """Take a path of the API apart."""
    parts = path.strip("/").split("/")
    size = {"api": 2, "apis": 3}[parts[0]]
    group, rest = "/" + "/".join(parts[:size]), parts[size:]
    namespace = ""
    if len(rest) > 2 and rest[0] == "namespaces" and rest[2] != "status":
        namespace, rest = rest[1], rest[2:]
    return Address(group, rest[0], namespace, *rest[1:3])


@dataclass(frozen=True, slots=True)
class Change:
    """One write, as the watch history keeps it; `old` is None for a creation, `new` for a deletion."""

    version: int
    where: Address
    old: Object | None
    new: Object | None
    last: Object  # the object with this change's resourceVersion, also for a deletion


class MemoryApi:
    """Objects by path. Bodies are whatever msgspec encodes; answers are plain dicts that belong to the caller."""

    def __init__(
        self, *, custom: frozenset[str] = frozenset({"kubeupgradeplans"}), now: Callable[[], datetime] | None = None
    ) -> None:
        """`custom` names the resources that behave like custom resources with a status subresource."""
        self._custom = custom
        self._now = now or (lambda: FIRST_DAY)
        self._objects: dict[tuple[str, str, str, str], Object] = {}
        self._history: list[Change] = []
        self._pages: dict[str, tuple[int, list[Object]]] = {}
        self._version = 1
        self._oldest = 0  # changes up to here are forgotten
        self._watched_from = 0  # no watch goes on from before
        self._uids = itertools.count(1)
        self.on_write: list[Callable[[], None]] = []

    @property
    def version(self) -> str:
        """The resourceVersion of the last write."""
        return str(self._version)

    def get(self, path: str, params: Mapping[str, str] = NO_PARAMS) -> Object:
        """One object, or a list with the whole collection's resourceVersion."""
        where = address(path)
        if where.name:
            return copy.deepcopy(self._existing(where))
        return self._list(where, params)

    def create(self, path: str, body: object) -> Object:
        """POST."""
        new = _plain(body)
        meta = new.setdefault("metadata", {})
        where = _within(address(path), str(meta["name"]))
        if where.key in self._objects:
            raise Conflict(409, "AlreadyExists", f"{where.resource} {where.name} already exists")
        if where.resource in self._custom:
            new.pop("status", None)
            meta["generation"] = 1
        if where.namespace:
            meta["namespace"] = where.namespace
        meta |= {"uid": f"uid-{next(self._uids)}", "creationTimestamp": self._now().isoformat().replace("+00:00", "Z")}
        return self._write(where, None, new)

    def replace(self, path: str, body: object) -> Object:
        """PUT. Custom resources and Leases must carry a resourceVersion."""
        where, new = address(path), _plain(body)
        old = self._existing(where)
        if "resourceVersion" not in new["metadata"] and where.resource in self._custom | {"leases"}:
            raise Invalid(422, "Invalid", "metadata.resourceVersion: must be specified for an update")
        return self._update(where, old, new)

    def patch(
        self, path: str, body: object, *, kind: PatchKind = PatchKind.MERGE, params: Mapping[str, str] = NO_PARAMS
    ) -> Object:
        """PATCH, by RFC 7396."""
        if kind is not PatchKind.MERGE:
            raise NotImplementedError(f"{kind} is not known here")
        where = address(path)
        old = self._existing(where)
        return self._update(where, old, merged(copy.deepcopy(old), _plain(body)))

    def delete(self, path: str, body: object | None = None) -> None:
        """DELETE, at once."""
        where = address(path)
        old = self._existing(where)
        if body is not None:
            _check(old, _plain(body).get("preconditions") or {})
        if old["metadata"].get("finalizers"):
            raise NotImplementedError("finalizers are not known here")
        self._write(where, old, None)

    def watch(self, path: str, since: str, params: Mapping[str, str] = NO_PARAMS) -> list[Object]:
        """The events after this resourceVersion, in order. Gone where they were compacted away."""
        if int(since) < self._watched_from:
            raise Gone(410, "Expired", f"too old resource version: {since} ({self._watched_from})")
        return self.past(path, since, params)

    def past(self, path: str, since: str, params: Mapping[str, str] = NO_PARAMS) -> list[Object]:
        """What etcd still knows of what happened after this resourceVersion, whatever watches may ask for."""
        where, wanted = address(path), _selector(params)
        changes = (c for c in self._history if c.version > int(since) and where.holds(c.where))
        return [event for change in changes for event in _events(change, wanted)]

    def bookmark(self) -> Object:
        """What a watch hears now and then."""
        return {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": self.version}}}

    def compact(self) -> None:
        """Forget the history up to now, as etcd does every few minutes."""
        self._oldest = self._watched_from = self._version
        self._history.clear()
        self._pages.clear()

    def restart(self) -> None:
        """Forget what watches could go on from, as a server that starts anew; etcd still knows every revision."""
        self._watched_from = self._version

    def _list(self, where: Address, params: Mapping[str, str]) -> Object:
        if token := params.get("continue"):
            if token not in self._pages:
                raise Gone(410, "Expired", "the provided continue parameter is too old")
            version, found = self._pages.pop(token)
        else:
            wanted = _selector(params)
            version = self._version
            objects = self._objects
            if params.get("resourceVersionMatch") == "Exact":
                version = int(params["resourceVersion"])
                objects = self._objects_at(version)
            found = [o for o in _below(objects, where) if wanted(o)]
        size = int(params.get("limit") or 0) or len(found)
        meta: Object = {"resourceVersion": str(version)}
        if found[size:]:
            meta["continue"] = f"{version}-{len(found) - size}-{where.resource}"
            self._pages[meta["continue"]] = (version, found[size:])
        return {"kind": "List", "metadata": meta, "items": found[:size]}

    def _objects_at(self, version: int) -> dict[tuple[str, str, str, str], Object]:
        """What was there at this revision."""
        if version < self._oldest:
            raise Gone(410, "Expired", f"The provided resource version {version} has been compacted")
        objects = dict(self._objects)
        for change in reversed(self._history):
            if change.version > version:
                objects.pop(change.where.key, None)
                if change.old is not None:
                    objects[change.where.key] = change.old
        return objects

    def _existing(self, where: Address) -> Object:
        if where.key not in self._objects:
            raise NotFound(404, "NotFound", f'{where.resource} "{where.name}" not found')
        return self._objects[where.key]

    def _update(self, where: Address, old: Object, new: Object) -> Object:
        meta = new["metadata"]
        _check(old, {key: meta[key] for key in ("uid", "resourceVersion") if meta.get(key)})
        for key in ("uid", "resourceVersion", "creationTimestamp", "name", "generation"):
            if key in old["metadata"]:
                meta[key] = old["metadata"][key]
        self._keep_other_half(where, old, new)
        if new == old:
            return copy.deepcopy(old)
        if where.resource in self._custom and old.get("spec") != new.get("spec"):
            meta["generation"] += 1
        return self._write(where, old, new)

    def _keep_other_half(self, where: Address, old: Object, new: Object) -> None:
        """The main resource cannot change the status, nor the status subresource anything else of a custom resource."""
        if where.subresource == "status":
            kept = [key for key in {**old, **new} if key != "status"]
            if where.resource not in self._custom:
                kept = ["spec"]
        elif where.resource in self._custom | {"nodes", "pods"}:
            kept = ["status"]
        else:
            kept = []
        for key in kept:
            new.pop(key, None)
            if key in old:
                new[key] = copy.deepcopy(old[key])

    def _write(self, where: Address, old: Object | None, new: Object | None) -> Object:
        self._version += 1
        last = copy.deepcopy(new if new is not None else old or {})
        last["metadata"]["resourceVersion"] = self.version
        if new is None:
            del self._objects[where.key]
        else:
            self._objects[where.key] = last
        change = Change(self._version, where, old, None if new is None else last, last)
        self._history.append(change)
        for notify in self.on_write:
            notify()
        return copy.deepcopy(last)


def _below(objects: Mapping[tuple[str, str, str, str], Object], where: Address) -> Iterator[Object]:
    for key in sorted(objects):
        if where.holds(Address(*key)):
            yield copy.deepcopy(objects[key])


def merged(target: Any, patch: Any) -> Any:
    """RFC 7396: null removes, objects merge, everything else replaces."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def _events(change: Change, wanted: Callable[[Object], bool]) -> list[Object]:
    """How a watch with a selector sees a change: leaving the selection is a deletion, entering it an addition."""
    before = change.old is not None and wanted(change.old)
    after = change.new is not None and wanted(change.new)
    kind = {(False, True): "ADDED", (True, True): "MODIFIED", (True, False): "DELETED"}.get((before, after))
    return [{"type": kind, "object": copy.deepcopy(change.last)}] if kind else []


def _check(old: Object, expected: Mapping[str, Any]) -> None:
    for key, value in expected.items():
        if old["metadata"][key] != value:
            raise Conflict(409, "Conflict", f"precondition failed: {key} {value}, object has {old['metadata'][key]}")


def _selector(params: Mapping[str, str]) -> Callable[[Object], bool]:
    """fieldSelector and labelSelector, equality only."""
    fields = [pair.split("=") for pair in params.get("fieldSelector", "").split(",") if pair]
    labels = [pair.split("=") for pair in params.get("labelSelector", "").split(",") if pair]

    def wanted(found: Object) -> bool:
        has = found["metadata"].get("labels") or {}
        return all(_at(found, field) == value for field, value in fields) and all(has.get(k) == v for k, v in labels)

    return wanted


def _at(found: Object, field: str) -> str:
    value: Any = found
    for part in field.split("."):
        value = value.get(part, {})
    return value if isinstance(value, str) else ""


def _within(collection: Address, name: str) -> Address:
    return Address(collection.group, collection.resource, collection.namespace, name)


def _plain(body: object) -> Object:
    """The body as the wire would carry it."""
    result: Object = msgspec.json.decode(msgspec.json.encode(body))
    return result
