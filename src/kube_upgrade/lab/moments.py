"""This moment, as Kubernetes writes it."""

from datetime import UTC, datetime


def now_text() -> str:
    """metav1.Time: whole seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_text() -> str:
    """metav1.MicroTime: always six digits."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
