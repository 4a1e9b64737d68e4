"""What `upgraded doctor` found, and how it is told: in words, or as JSON."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"  # upgrades go on, but somebody should know
    FAULT = "fault"  # no upgrade can succeed here


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at. `advice` says what to do; empty where nothing is."""

    check: str
    level: Level
    message: str
    advice: str = ""


def ok(check: str, message: str) -> Finding:
    """Nothing is wrong with it."""
    return Finding(check=check, level=Level.OK, message=message)


def warning(check: str, message: str, advice: str = "") -> Finding:
    """Worth knowing."""
    return Finding(check=check, level=Level.WARNING, message=message, advice=advice)


def fault(check: str, message: str, advice: str = "") -> Finding:
    """No upgrade succeeds before this is mended."""
    return Finding(check=check, level=Level.FAULT, message=message, advice=advice)


def faults_in(found: Sequence[Finding]) -> int:
    """How many there are."""
    return sum(finding.level is Level.FAULT for finding in found)


def in_words(found: Sequence[Finding]) -> str:
    """One line each, advice below it, and what it comes to."""
    width = max(len(finding.check) for finding in found)
    lines = []
    for finding in found:
        lines.append(f"{finding.level.upper() if finding.level is Level.FAULT else finding.level:7}  "
                     f"{finding.check:{width}}  {finding.message}")  # fmt: skip
        if finding.advice:
            lines.append(f"{'':7}  {'':{width}}  → {finding.advice}")
    warnings = sum(finding.level is Level.WARNING for finding in found)
    lines.append(f"{_count(faults_in(found), 'fault')}, {_count(warnings, 'warning')}")
    return "\n".join(lines)


def as_json(found: Sequence[Finding]) -> str:
    """`{"faults": N, "findings": [{check, level, message, advice}, …]}`."""
    listed = [{"check": f.check, "level": f.level, "message": f.message, "advice": f.advice} for f in found]
    return json.dumps({"faults": faults_in(found), "findings": listed}, indent=1, ensure_ascii=False)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
