"""What the API server's audit log says: which calls of ours it refused for want of a permission.

The programs' own error handling cannot hide a 403 from it, so a Role that lacks a verb fails the lab, and so does a
call of a node's daemon or kubelet that the node authorizer or NodeRestriction refuses. One kind is honest weather:
the node authorizer knows a pod by its binding only, so for a pod that is not there it says 403 and not 404.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

NODES = "system:nodes"
NODE = "system:node:"  # a node's name follows
FORBIDDEN = 403
UNRELATED = "no relationship found between node"  # the node authorizer of an object that it does not know


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


def refusals(lines: Iterable[bytes]) -> Iterator[Refusal]:
    """The 403s among the lines of an audit log but for the weather, each kind once; a line cut short is left out."""
    seen: set[Refusal] = set()
    for line in lines:
        if b'"code":403' not in line:
            continue
        try:
            event = msgspec.json.decode(line)
        except msgspec.DecodeError:
            continue
        refusal = _refusal(event)
        counts = event.get("responseStatus", {}).get("code") == FORBIDDEN and not _is_weather(event, refusal)
        if counts and refusal not in seen:
            seen.add(refusal)
            yield refusal


def _is_weather(event: dict[str, Any], refusal: Refusal) -> bool:
    reason = event.get("annotations", {}).get("authorization.k8s.io/reason", "")
    asked = refusal.user.startswith(NODE) and (refusal.verb, refusal.resource) == ("get", "pods")
    return asked and UNRELATED in reason


def _refusal(event: dict[str, Any]) -> Refusal:
    target = event.get("objectRef", {})
    resource = "/".join(part for part in (target.get("resource"), target.get("subresource")) if part)
    return Refusal(
        user=event["user"]["username"],
        verb=event["verb"],
        resource=resource or event.get("requestURI", ""),
        name=target.get("name", ""),
    )
