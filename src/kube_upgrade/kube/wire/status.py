"""metav1.Status → ApiError: what the server says where it refuses."""

import msgspec

from kube_upgrade.kube.errors import ApiError, Cause, Conflict, api_error

_TEXT_LIMIT = 200  # of a body that is no Status: a proxy's page, "404 page not found"


class StatusCause(msgspec.Struct, frozen=True):
    """metav1.StatusCause."""

    reason: str = ""
    message: str = ""
    field: str = ""


class StatusDetails(msgspec.Struct, rename="camel", frozen=True):
    """metav1.StatusDetails, reduced."""

    causes: list[StatusCause] = []
    retry_after_seconds: int = 0


class Status(msgspec.Struct, frozen=True):
    """metav1.Status, reduced; also the object of a watch's ERROR event."""

    code: int = 0
    reason: str = ""
    message: str = ""
    details: StatusDetails | None = None


def to_error(body: bytes, *, status: int | None = None, retry_after: str | None = None) -> ApiError:
    """The typed error of a refusal. `status` and `retry_after` come from HTTP, where there was any."""
    try:
        said = msgspec.json.decode(body, type=Status)
    except (msgspec.DecodeError, UnicodeDecodeError):
        said = Status(message=body[:_TEXT_LIMIT].decode(errors="replace").strip())
    details = said.details or StatusDetails()
    causes = tuple(Cause(reason=c.reason, message=c.message, field=c.field) for c in details.causes)
    build = Conflict if _another_object(causes) else api_error
    return build(
        status or said.code or 500,
        said.reason,
        said.message,
        _seconds(retry_after) or float(details.retry_after_seconds) or None,
        causes,
    )


def _another_object(causes: tuple[Cause, ...]) -> bool:
    """A PUT for another uid is answered 409, a patch 422 (uid is immutable): one piece of news, one class."""
    return bool(causes) and all(cause.field == "metadata.uid" for cause in causes)


def _seconds(header: str | None) -> float | None:
    """Retry-After in seconds; its other form, a date, is not used by API servers."""
    return float(header) if header and header.isdecimal() else None
