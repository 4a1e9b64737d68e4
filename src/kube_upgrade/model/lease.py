"""A Lease as leader election uses it."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRecord:
    """spec of a coordination.k8s.io/v1 Lease. An empty `holder` means free; times are the holder's own clock."""

    holder: str = ""
    duration: float = 0.0  # seconds
    acquired: datetime | None = None
    renewed: datetime | None = None
    transitions: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How long a lease is good for, when its holder must stop, and how often everybody tries; seconds."""

    duration: float = 15.0
    renew_deadline: float = 10.0
    retry: float = 2.0

    def __post_init__(self) -> None:
        if not self.duration > self.renew_deadline > self.retry * JITTER > 0:
            raise ValueError(
                f"lease terms: duration {self.duration} s must be longer than the renew deadline "
                f"{self.renew_deadline} s, and that longer than {JITTER} times the retry period {self.retry} s"
            )


JITTER = 1.2  # a candidate waits up to this times the retry period between two tries
