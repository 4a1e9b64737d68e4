"""Why a registry gave no digest."""

from enum import StrEnum


class RegistryProblem(StrEnum):
    """A cause, as a word for events and messages. UNREACHABLE and BUSY are weather: try again later."""

    UNREACHABLE = "RegistryUnreachable"
    BUSY = "RegistryBusy"
    UNAUTHORIZED = "RegistryUnauthorized"
    NOT_FOUND = "ImageNotFound"
    NO_PLATFORM = "NoImageForPlatform"
    UNREADABLE = "RegistryUnreadable"


class RegistryError(Exception):
    """No digest. `kind` tells what to do about it, `message` tells people; it never holds a secret."""

    def __init__(self, kind: RegistryProblem, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind
        self.message = message
