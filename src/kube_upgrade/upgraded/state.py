"""/var/lib/kube-upgraded/state.json: the facts that must survive any crash.

Written whole into a new file that replaces the old one, file and folder flushed to disk: a power cut leaves the old
facts or the new ones. Fields that this program does not know are kept, since a host may fall back to an older daemon.
"""

import json
import os
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from kube_upgrade.host.paths import sync_folder
from kube_upgrade.model.host import Facts, GoalKind, KubeadmRun, LockFact, RebootFact, Try
from kube_upgrade.model.moment import time_or_none
from kube_upgrade.model.node import KubeadmRole
from kube_upgrade.model.version import KubeVersion
from kube_upgrade.telemetry import logs

SCHEMA = 1
T = TypeVar("T")
_log = logs.logger("state")


class StateFile:
    """The facts in memory and on disk: `save` returns only after both are the same."""

    def __init__(self, path: Path, facts: Facts, unknown: Mapping[str, object]) -> None:
        self._path = path
        self._unknown = dict(unknown)
        self.facts = facts

    @classmethod
    def load(cls, path: Path, now: datetime) -> "StateFile":
        """Read the file. Without a readable one nobody knows whether a slot is held: a release will make sure.

        An unreadable file is kept as state.json.bad. Raises OSError where the folder cannot be used.
        """
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lost = Facts(lock=LockFact(asked=now, touched=True))
        try:
            raw = json.loads(path.read_text())
            facts = read_facts(raw)
        except FileNotFoundError:
            return cls(path, lost, {})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            bad = path.with_suffix(".json.bad")
            path.replace(bad)
            _log.error("state file is unreadable, starting without it", kept_as=str(bad), reason=repr(error))
            return cls(path, lost, {})
        known = {"schema", *write_facts(facts)}
        return cls(path, facts, {key: value for key, value in raw.items() if key not in known})

    def save(self, facts: Facts) -> None:
        """Make these the facts. Raises OSError where the disk refuses; the old facts stay then."""
        if facts == self.facts and self._path.exists():
            return
        document = {**self._unknown, "schema": SCHEMA, **write_facts(facts)}
        replace_file(self._path, json.dumps(document, indent=1).encode())
        self.facts = facts


def replace_file(path: Path, content: bytes) -> None:
    """Put a new file in the place of the old one, both the file and its folder on disk when this returns.

    Only root may read it: a lock server's URL may hold a secret.
    """
    new = path.with_suffix(".new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    sync_folder(path.parent)


def write_facts(facts: Facts) -> dict[str, Any]:
    """The document, without `schema`."""
    return {
        "kind": facts.kind,
        "repository": facts.repository,
        "target": facts.target,
        "digest": facts.digest,
        "trusted": facts.trusted,
        "imagesFor": _text(facts.images_for),
        "etcdFor": _text(facts.etcd_for),
        "etcdSnapshot": facts.etcd_snapshot,
        "lock": facts.lock and _write_lock(facts.lock),
        "kubeadm": facts.kubeadm and _write_run(facts.kubeadm),
        "reboot": facts.reboot and _write_reboot(facts.reboot),
        "tries": {name: _write_try(tried) for name, tried in facts.tries.items()},
        "badDigests": dict(facts.bad_digests),
        "retried": facts.retried,
        "retriedAt": _text(facts.retried_at),
        "osChecked": _text(facts.os_checked),
    }


def read_facts(raw: Mapping[str, Any]) -> Facts:
    """The facts of a document. Raises ValueError, KeyError or TypeError where one is not what it should be."""
    return Facts(
        kind=_maybe(raw.get("kind"), GoalKind),
        repository=raw.get("repository", ""),
        target=raw.get("target", ""),
        digest=raw.get("digest", ""),
        trusted=raw.get("trusted", ""),
        images_for=_maybe(raw.get("imagesFor"), KubeVersion.parse),
        etcd_for=_maybe(raw.get("etcdFor"), KubeVersion.parse),
        etcd_snapshot=raw.get("etcdSnapshot", ""),
        lock=_maybe(raw.get("lock"), _read_lock),
        kubeadm=_maybe(raw.get("kubeadm"), _read_run),
        reboot=_maybe(raw.get("reboot"), _read_reboot),
        tries={name: _read_try(tried) for name, tried in raw.get("tries", {}).items()},
        bad_digests=dict(raw.get("badDigests", {})),
        retried=raw.get("retried", ""),
        retried_at=_maybe(raw.get("retriedAt"), _moment),
        os_checked=_maybe(raw.get("osChecked"), _moment),
    )


def _write_lock(lock: LockFact) -> dict[str, Any]:
    return {
        "asked": _text(lock.asked),
        "url": lock.url,
        "group": lock.group,
        "granted": _text(lock.granted),
        "confirmed": _text(lock.confirmed),
        "bootId": lock.boot_id,
        "nodeUid": lock.node_uid,
        "noOtherNode": lock.no_other_node,
        "answer": lock.answer,
        "again": _text(lock.again),
        "touched": lock.touched,
    }


def _read_lock(raw: Mapping[str, Any]) -> LockFact:
    return LockFact(
        asked=_moment(raw["asked"]),
        url=raw.get("url", ""),
        group=raw.get("group", ""),
        granted=_maybe(raw.get("granted"), _moment),
        confirmed=_maybe(raw.get("confirmed"), _moment),
        boot_id=raw.get("bootId", ""),
        node_uid=raw.get("nodeUid", ""),
        no_other_node=raw.get("noOtherNode", False),
        answer=raw.get("answer", ""),
        again=_maybe(raw.get("again"), _moment),
        touched=bool(raw.get("touched", False)),
    )


def _write_run(run: KubeadmRun) -> dict[str, Any]:
    return {
        "version": str(run.version),
        "role": run.role,
        "started": _text(run.started),
        "ended": _text(run.ended),
        "code": run.code,
    }


def _read_run(raw: Mapping[str, Any]) -> KubeadmRun:
    return KubeadmRun(
        version=KubeVersion.parse(raw["version"]),
        role=KubeadmRole(raw["role"]),
        started=_moment(raw["started"]),
        ended=_maybe(raw.get("ended"), _moment),
        code=raw.get("code"),
    )


def _write_reboot(reboot: RebootFact) -> dict[str, Any]:
    return {"digest": reboot.digest, "bootId": reboot.boot_id, "asked": _text(reboot.asked)}


def _read_reboot(raw: Mapping[str, Any]) -> RebootFact:
    return RebootFact(digest=raw["digest"], boot_id=raw["bootId"], asked=_moment(raw["asked"]))


def _write_try(tried: Try) -> dict[str, Any]:
    return {"count": tried.count, "last": _text(tried.last), "reason": tried.reason, "message": tried.message}


def _read_try(raw: Mapping[str, Any]) -> Try:
    return Try(
        count=int(raw["count"]), last=_moment(raw["last"]), reason=raw.get("reason", ""), message=raw.get("message", "")
    )


def _maybe(raw: Any, read: Callable[[Any], T]) -> T | None:
    return None if raw is None else read(raw)


def _moment(text: str) -> datetime:
    moment = time_or_none(text)
    if moment is None:
        raise ValueError(f"{text!r} is no moment with a time zone")
    return moment


def _text(value: datetime | KubeVersion | None) -> str | None:
    if value is None:
        return None
    return value.isoformat() if isinstance(value, datetime) else str(value)
