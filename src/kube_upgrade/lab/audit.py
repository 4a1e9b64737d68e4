"""What the API server's audit log says: which calls of ours it refused for want of a permission.

The programs' own error handling cannot hide a 403 from it, so a Role that lacks a verb fails the lab, and so does a
call of a node's daemon or kubelet that the node authorizer or NodeRestriction refuses. Two kinds are honest weather:
the node authorizer knows a pod by its binding only, so for a pod that is not there it says 403 and not 404; and an API
server that has just been started says 403 to everybody until its authorizers have read the roles.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec

from kube_upgrade.model.moment import time_or_none

NODES = "system:nodes"
NODE = "system:node:"  # a node's name follows
FORBIDDEN = 403
SETTLES = timedelta(seconds=2)  # after a start: the authorizers' knowledge comes just behind the readiness
UNRELATED = "no relationship found between node"  # the node authorizer of an object that it does not know


Span = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True)
class Refusal:
    """One call that was answered 403."""

    user: str
    verb: str
    resource: str
    name: str

    def __str__(self) -> str:
        return f"{self.user} may not {self.verb} {self.resource} {self.name}".rstrip()


def policy(namespace: str) -> dict[str, Any]:
    """An audit policy that records the calls of this namespace's service accounts and of the nodes, without bodies."""
    groups = [f"system:serviceaccounts:{namespace}", NODES]
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived", "ResponseStarted"],
        "rules": [{"level": "Metadata", "userGroups": groups}, {"level": "None"}],
    }


def refusals(lines: Iterable[bytes], starts: Sequence[Span] = ()) -> Iterator[Refusal]:
    """The 403s among the lines of an audit log but for the weather, each kind once; a line cut short is left out.

    `starts` are the times in which the API server was started, each up to its readiness.
    """
    seen: set[Refusal] = set()
    for line in lines:
        if b'"code":403' not in line:
            continue
        try:
            event = msgspec.json.decode(line)
        except msgspec.DecodeError:
            continue
        refusal = _refusal(event)
        weather = _is_weather(event, refusal) or _is_starting(event, starts)
        counts = event.get("responseStatus", {}).get("code") == FORBIDDEN and not weather
        if counts and refusal not in seen:
            seen.add(refusal)
            yield refusal


def _is_weather(event: dict[str, Any], refusal: Refusal) -> bool:
    reason = event.get("annotations", {}).get("authorization.k8s.io/reason", "")
    asked = refusal.user.startswith(NODE) and (refusal.verb, refusal.resource) == ("get", "pods")
    return asked and UNRELATED in reason


def _is_starting(event: dict[str, Any], starts: Sequence[Span]) -> bool:
    at = time_or_none(event.get("requestReceivedTimestamp", ""))
    return at is not None and any(began <= at <= ready + SETTLES for began, ready in starts)


def _refusal(event: dict[str, Any]) -> Refusal:
    target = event.get("objectRef", {})
    resource = "/".join(part for part in (target.get("resource"), target.get("subresource")) if part)
    return Refusal(
        user=event["user"]["username"],
        verb=event["verb"],
        resource=resource or event.get("requestURI", ""),
        name=target.get("name", ""),
    )
