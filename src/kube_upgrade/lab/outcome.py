"""How a run ended: the judge's verdict, the nodes' times, what the programs needed. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from kube_upgrade.lab.judge import Breach, Result, Verdict
from kube_upgrade.lab.times import NodeTimes
from kube_upgrade.lab.view import columns

EXIT = {Result.COMPLETE: 0, Result.FAILED: 1, Result.UNPROVEN: 3}  # 2 is a wrong command line


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One finished run. `seconds` counts from the plan's creation; memory is in MiB, the most each program needed."""

    verdict: Verdict
    seconds: float
    target: str
    nodes: tuple[NodeTimes, ...]
    memory: dict[str, float] = field(default_factory=dict)
    refused: tuple[str, ...] = ()  # calls of ours for which a permission is missing
    missed: tuple[str, ...] = ()  # events of the scenario whose moment never came

    @property
    def result(self) -> Result:
        """A missing permission fails the lab, however well it ended; what did not happen has proven nothing."""
        if self.refused:
            return Result.FAILED
        return Result.UNPROVEN if self.missed and self.verdict.result is Result.COMPLETE else self.verdict.result

    @property
    def reasons(self) -> tuple[str, ...]:
        """Everything that kept the run from being complete, in sentences."""
        breaches: tuple[Breach, ...] = self.verdict.breaches
        missed = (f"the rollout was over before: {event}" for event in self.missed)
        return (*(str(breach) for breach in breaches), *self.verdict.gaps, *self.refused, *missed)

    def to_json(self) -> dict[str, Any]:
        """The object that `-o json` prints."""
        return {
            "result": str(self.result),
            "seconds": round(self.seconds, 1),
            "worstUnavailable": dict(sorted(self.verdict.worst_unavailable.items())),
            "nodes": [self._node(line) for line in self.nodes],
            "reasons": list(self.reasons),
            "memoryMiB": self.memory,
        }

    def text(self) -> str:
        """The closing table and the verdict, for people."""
        rows = [
            (line.name, line.version, seconds(line.staged), seconds(line.out), seconds(line.total))
            for line in self.nodes
        ]
        return "\n".join(
            [
                columns(("NODE", "VERSION", "STAGED AFTER", "OUT OF SERVICE", "TOTAL"), rows),
                "",
                *self._closing(),
            ]
        )

    def _closing(self) -> Iterator[str]:
        for group, worst in sorted(self.verdict.worst_unavailable.items()):
            yield f"most nodes of {group} out of service at once: {worst}"
        if self.memory:
            yield "memory at most: " + ", ".join(f"{name} {mib:.0f} MiB" for name, mib in self.memory.items())
        yield from self.reasons
        yield f"{self.result}: {self.target} after {self.seconds:.1f} s"

    def _node(self, line: NodeTimes) -> dict[str, Any]:
        return {
            "name": line.name,
            "role": line.role,
            "version": line.version,
            "target": self.target,
            "bootIdBefore": line.boot_before,
            "bootIdAfter": line.boot_after,
            "stagedSeconds": rounded(line.staged),
            "outSeconds": rounded(line.out),
            "seconds": rounded(line.total),
        }


def no_verdict(error: str) -> dict[str, Any]:
    """What `-o json` prints where there was nothing to judge: wrong options, a broken lab, Ctrl-C."""
    return {"result": str(Result.UNPROVEN), "error": error, "reasons": error.splitlines()}


def rounded(value: float | None) -> float | None:
    """To a tenth of a second."""
    return None if value is None else round(value, 1)


def seconds(value: float | None) -> str:
    """For a table; a moment that never came is a dash."""
    return "-" if value is None else f"{value:.1f} s"
