"""Kubernetes versions: parse, order and distance in minors (semver 2.0 without build metadata)."""

import re
from dataclasses import dataclass

_NUMBER = r"(?:0|[1-9]\d*)"
_WORD = rf"(?:{_NUMBER}|\d*[A-Za-z-][0-9A-Za-z-]*)"  # of a prerelease: numbers have no leading zero
_PATTERN = re.compile(
    rf"v?({_NUMBER})\.({_NUMBER})\.({_NUMBER})(?:-({_WORD}(?:\.{_WORD})*))?(?:\+[0-9A-Za-z.-]+)?", re.ASCII
)


class BadVersion(ValueError):
    """The text is not a full Kubernetes version such as v1.37.2."""


@dataclass(frozen=True, slots=True)
class KubeVersion:
    """A full version. `str()` gives the form Kubernetes prints: v1.37.2 or v1.38.0-rc.1."""

    major: int
    minor: int
    patch: int
    pre: str = ""

    @classmethod
    def parse(cls, text: str) -> "KubeVersion":
        """Read `v1.37.2`, `1.37.2-rc.1` or `v1.37.2+build` (the build is dropped). Raises BadVersion."""
        found = _PATTERN.fullmatch(text.strip())
        if not found:
            raise BadVersion(f"{text!r} is not a version like v1.37.2")
        major, minor, patch, pre = found.groups()
        return cls(int(major), int(minor), int(patch), pre or "")

    @classmethod
    def of_image(cls, reference: str) -> "KubeVersion | None":
        """The version in an image's tag, whether a digest follows it or not; None where the tag is none."""
        try:
            return cls.parse(reference.partition("@")[0].rpartition(":")[2])
        except BadVersion:
            return None

    @property
    def release(self) -> tuple[int, int]:
        """(major, minor): what the skew policy counts in."""
        return (self.major, self.minor)

    def minors_above(self, other: "KubeVersion") -> int:
        """How many minors this version is ahead of the other; negative when behind.

        Across majors the distance is out of every bound on purpose: no such step is known to be safe.
        """
        return (self.major - other.major) * 1_000 + self.minor - other.minor

    def __lt__(self, other: "KubeVersion") -> bool:
        mine, theirs = (self.major, self.minor, self.patch), (other.major, other.minor, other.patch)
        return mine < theirs or (mine == theirs and self.pre != other.pre and self._pre_key() < other._pre_key())

    # Written out: functools.total_ordering makes each of them three times as slow, and each decision asks thousands.
    def __gt__(self, other: "KubeVersion") -> bool:
        return other < self

    def __le__(self, other: "KubeVersion") -> bool:
        return not other < self

    def __ge__(self, other: "KubeVersion") -> bool:
        return not self < other

    def __str__(self) -> str:
        return f"v{self.major}.{self.minor}.{self.patch}" + (f"-{self.pre}" if self.pre else "")

    def _pre_key(self) -> tuple[int, tuple[tuple[int, int, str], ...]]:
        parts = tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in self.pre.split("."))
        return (0 if self.pre else 1, parts)
