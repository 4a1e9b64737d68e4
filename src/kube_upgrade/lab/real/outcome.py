"""How a run on real nodes ended, for people and for programs. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from kube_upgrade.lab.judge import Result, Verdict
from kube_upgrade.lab.outcome import EXIT, rounded, seconds
from kube_upgrade.lab.times import NodeTimes
from kube_upgrade.lab.view import columns


@dataclass(frozen=True, slots=True, kw_only=True)
class RealOutcome:
    """How it went. `up` is the seconds from nothing to a cluster with our programs and a workload."""

    scenario: str
    failure: str  # empty where all went as the scenario says
    verdict: Verdict
    up: float
    upgrade: float
    nodes: tuple[NodeTimes, ...] = ()
    outages: str = ""  # the table
    out: dict[str, list[tuple[float, float]]] = field(default_factory=dict)  # the same: from and for, in seconds
    notes: tuple[str, ...] = ()
    filled: int = 0  # revisions that no watch brought

    @property
    def result(self) -> str:
        """In a word. What nobody saw proves nothing."""
        if self.failure:
            return "failed"
        return "unproven" if self.verdict.gaps else "complete"

    @property
    def exit_code(self) -> int:
        """The same as without --real."""
        return EXIT[Result(self.result)]


def text(outcome: RealOutcome) -> str:
    """Tables and the last line."""
    rows = [
        (line.name, line.version, seconds(line.staged), seconds(line.out), seconds(line.total))
        for line in outcome.nodes
    ]
    nodes = columns(("NODE", "VERSION", "STAGED AFTER", "OUT OF SERVICE", "TOTAL"), rows)
    return "\n\n".join([nodes, outcome.outages, "\n".join(_closing(outcome))])


def _closing(outcome: RealOutcome) -> Iterator[str]:
    yield from outcome.notes
    for group, worst in sorted(outcome.verdict.worst_unavailable.items()):
        yield f"most nodes of {group} out of service at once: {worst}"
    for gap in outcome.verdict.gaps:
        yield f"history that nobody saw: {gap}"
    yield f"{outcome.filled} revisions were read from etcd one by one, after restarts of the API server"
    if outcome.failure:
        yield outcome.failure
    yield f"{outcome.result}: {outcome.scenario}, up in {outcome.up:.0f} s, played in {outcome.upgrade:.0f} s"


def to_json(outcome: RealOutcome) -> dict[str, Any]:
    """For `-o json`."""
    return {
        "scenario": outcome.scenario,
        "result": outcome.result,
        "failure": outcome.failure,
        "upSeconds": round(outcome.up, 1),
        "upgradeSeconds": round(outcome.upgrade, 1),
        "outages": outcome.out,
        "notes": list(outcome.notes),
        "nodes": [
            {
                "name": line.name,
                "version": line.version,
                "outSeconds": rounded(line.out),
                "seconds": rounded(line.total),
            }
            for line in outcome.nodes
        ],
        "gaps": list(outcome.verdict.gaps),
    }
