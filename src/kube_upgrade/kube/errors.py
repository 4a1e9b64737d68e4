"""What can go wrong between us and the API server, as types. 404, 409, 410, 429, 5xx and silence are everyday weather.

Callers catch the class that they can act on and let `KubeError` reach their loop, which logs it and backs off.
"""

from dataclasses import dataclass


class KubeError(Exception):
    """Anything that kept an API call from its answer."""


class Unreachable(KubeError):
    """No answer at all: refused, reset, timed out, TLS trouble, or a stream that broke or fell silent."""


class BadAnswer(KubeError):
    """A success whose body is not what was asked for: a proxy's page, or a field of another type."""


class BadKubeconfig(KubeError):
    """The kubeconfig, or a file that it names, cannot be used; the text says which and why, never its content."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """One entry of metav1.Status `details.causes`: for 429 of an eviction reason is `DisruptionBudget`."""

    reason: str = ""
    message: str = ""
    field: str = ""


class ApiError(KubeError):
    """The server answered, and refused. `reason` is metav1.Status's word; `retry_after` is in seconds."""

    def __init__(
        self,
        status: int,
        reason: str = "",
        message: str = "",
        retry_after: float | None = None,
        causes: tuple[Cause, ...] = (),
    ) -> None:
        super().__init__(f"{status} {reason}: {message}" if reason else f"{status}: {message}")
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after = retry_after
        self.causes = causes


class Unauthorized(ApiError):
    """401: the credential is not, or no longer, known."""


class Forbidden(ApiError):
    """403: known, but not allowed."""


class NotFound(ApiError):
    """404: no such object (or no such kind)."""


class Conflict(ApiError):
    """409: another writer was first, a precondition (uid, resourceVersion) failed, or the name is taken.

    Also the 422 with which a patch for another uid is answered.
    """

    @property
    def already_exists(self) -> bool:
        """True where a create met an object of that name."""
        return self.reason == "AlreadyExists"


class Gone(ApiError):
    """410: the resourceVersion or continue token is older than the server remembers; list again."""


class Invalid(ApiError):
    """422: the object breaks its schema or a rule; the causes name the fields."""


class TooManyRequests(ApiError):
    """429: flow control, or an eviction that a PodDisruptionBudget holds back."""


class ServerError(ApiError):
    """5xx: the server could not; the same request may pass later."""


_BY_STATUS: dict[int, type[ApiError]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    422: Invalid,
    429: TooManyRequests,
}


def api_error(
    status: int,
    reason: str = "",
    message: str = "",
    retry_after: float | None = None,
    causes: tuple[Cause, ...] = (),
) -> ApiError:
    """The ApiError of the class that belongs to this HTTP status."""
    kind = ServerError if status >= 500 else _BY_STATUS.get(status, ApiError)
    return kind(status, reason, message, retry_after, causes)
