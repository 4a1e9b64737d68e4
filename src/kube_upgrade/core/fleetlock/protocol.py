"""FleetLock v1 messages: bytes to values and back, without sockets. The server and the client share it.

Source of the format: Zincati's docs/development/fleetlock/protocol.md. Strict where it protects (header, JSON, group
pattern, id, size), tolerant elsewhere: no Content-Type is asked for, unknown JSON fields are ignored.
"""

import json
import re
from dataclasses import dataclass
from enum import StrEnum

HEADER = "fleet-lock-protocol"
BODY_LIMIT = 8 * 1024  # bytes; a request of the longest id and group is far smaller
NOTHING_HELD = "no slot was held"  # value of a 200 to steady-state that freed nothing
ID_LIMIT = 256  # characters; a systemd id has 32
GROUP_LIMIT = 253
_GROUP = re.compile(r"[a-zA-Z0-9.-]+")
_KIND = re.compile(r"[a-z0-9_]{1,64}")


class Operation(StrEnum):
    """The two calls, named as in their paths below the base URL."""

    PRE_REBOOT = "pre-reboot"
    STEADY_STATE = "steady-state"

    @property
    def path(self) -> str:
        """Path below the base URL, without a leading slash."""
        return f"v1/{self}"


class Kind(StrEnum):
    """Machine-readable answers of our server, few enough to label a metric; upstream's words where it has one."""

    SUCCESS = "success"
    NO_OTHER_NODE = "no_other_node"  # 200: cordoned, pods left where they are
    MISSING_HEADER = "missing_fleetlock_header"
    BAD_REQUEST = "bad_request"
    BODY_TOO_LARGE = "body_too_large"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    UNKNOWN_GROUP = "unknown_group"
    DUPLICATE_ID = "duplicate_machine_id"
    ALL_SLOTS_FULL = "all_slots_full"
    CONTROL_PLANE_BUSY = "control_plane_busy"
    NODE_BUSY = "node_busy"
    DRAINING = "waiting_for_node_drain"
    DRAIN_BLOCKED = "drain_blocked"
    DRAIN_GAVE_UP = "drain_gave_up"
    WRONG_SOURCE = "wrong_source_address"
    UNAVAILABLE = "unavailable"


STATUS: dict[Kind, int] = {
    Kind.SUCCESS: 200,
    Kind.NO_OTHER_NODE: 200,
    Kind.MISSING_HEADER: 400,
    Kind.BAD_REQUEST: 400,
    Kind.BODY_TOO_LARGE: 413,
    Kind.NOT_FOUND: 404,
    Kind.METHOD_NOT_ALLOWED: 405,
    Kind.UNKNOWN_GROUP: 404,
    Kind.DUPLICATE_ID: 409,
    Kind.ALL_SLOTS_FULL: 423,
    Kind.CONTROL_PLANE_BUSY: 423,
    Kind.NODE_BUSY: 423,
    Kind.DRAINING: 503,
    Kind.DRAIN_BLOCKED: 503,
    Kind.DRAIN_GAVE_UP: 503,
    Kind.WRONG_SOURCE: 403,
    Kind.UNAVAILABLE: 503,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One well-formed request: `group` fits the protocol's pattern, `id` is printable and not empty."""

    operation: Operation
    group: str
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the server says. `retry_after` (whole seconds) stands in the header of that name."""

    kind: Kind
    value: str
    retry_after: int | None = None

    @property
    def status(self) -> int:
        """HTTP status: 200 for a grant, 4xx or 503 otherwise."""
        return STATUS[self.kind]


@dataclass(frozen=True, slots=True)
class Granted:
    """The server answered 200. `kind` is `success` where it said nothing more."""

    kind: str = Kind.SUCCESS
    value: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """Any other answer, or none at all (kind `unreachable`, status 0). `retry_after` is in seconds."""

    kind: str
    value: str
    status: int
    retry_after: float | None = None


def read_request(operation: Operation, header: str | None, body: bytes) -> Request | Answer:
    """The request in these bytes, or the refusal it deserves. `header` is the value of fleet-lock-protocol."""
    if header is None or header.strip().lower() != "true":
        return Answer(kind=Kind.MISSING_HEADER, value=f"the header '{HEADER}: true' is missing")
    if len(body) > BODY_LIMIT:
        return Answer(kind=Kind.BODY_TOO_LARGE, value=f"the body is longer than {BODY_LIMIT} bytes")
    params = _client_params(body)
    if isinstance(params, str):
        return Answer(kind=Kind.BAD_REQUEST, value=params)
    group, id = params.get("group"), params.get("id")
    if not isinstance(group, str) or not valid_group(group):
        return Answer(kind=Kind.BAD_REQUEST, value=f"client_params.group must be text that fits ^{_GROUP.pattern}$")
    if not isinstance(id, str) or not 0 < len(id) <= ID_LIMIT or not id.isprintable():
        wanted = f"printable text of 1 to {ID_LIMIT} characters"
        return Answer(kind=Kind.BAD_REQUEST, value=f"client_params.id must be {wanted}")
    return Request(operation=operation, group=group, id=id)


def valid_group(name: str) -> bool:
    """True where the name fits the protocol: letters, digits, dots and hyphens, at most GROUP_LIMIT of them."""
    return len(name) <= GROUP_LIMIT and _GROUP.fullmatch(name) is not None


def write_request(group: str, id: str) -> bytes:
    """The JSON body of both calls."""
    return json.dumps({"client_params": {"id": id, "group": group}}).encode()


def write_answer(answer: Answer) -> bytes:
    """The JSON body of an answer: kind and value, both never empty."""
    return json.dumps({"kind": answer.kind, "value": answer.value or answer.kind.replace("_", " ")}).encode()


def read_answer(status: int, body: bytes, retry_after: float | None = None) -> Granted | Refused:
    """What an answer means to a client: only 200 grants; its body may be empty or anything.

    A refusal without a usable body has Zincati's kind, `generic_http_<status>`.
    """
    said = _object(body)
    kind, value = said.get("kind"), said.get("value")
    value = value if isinstance(value, str) else ""
    known = kind if isinstance(kind, str) and _KIND.fullmatch(kind) else None
    if status == 200:
        return Granted(known or Kind.SUCCESS, value)
    return Refused(known or f"generic_http_{status}", value or f"HTTP status {status}", status, retry_after)


def _client_params(body: bytes) -> dict[str, object] | str:
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        return "the body is not JSON"
    params = parsed.get("client_params") if isinstance(parsed, dict) else None
    return params if isinstance(params, dict) else "client_params must be an object with id and group"


def _object(body: bytes) -> dict[str, object]:
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return parsed if isinstance(parsed, dict) else {}
