"""A CommandRunner that answers with recorded output, and keeps what it was asked to run."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from kube_upgrade.host.jobs import Lost
from kube_upgrade.host.runner import Completed, NotStarted
from kube_upgrade.model.host import Job

FIXTURES = Path(__file__).parent.parent / "fixtures"


@dataclass(kw_only=True)
class Replay:
    """Answers by the first words of the arguments; a list of answers is used up to its last, which stays."""

    answers: dict[str, list[Completed]]
    ran: list[tuple[str, ...]] = field(default_factory=list)

    async def run(self, argv: Sequence[str], timeout: float) -> Completed:
        """Give the next answer for this command. Raises NotStarted where nothing was recorded."""
        self.ran.append(tuple(argv[1:]))
        line = " ".join(argv[1:])
        for start, waiting in self.answers.items():
            if line.startswith(start):
                return replace(waiting.pop(0) if len(waiting) > 1 else waiting[0], argv=tuple(argv))
        raise NotStarted(f"{line} was not recorded")


@dataclass(kw_only=True)
class ReplayJobs:
    """Jobs that answer with recorded output, too."""

    replay: Replay
    last: Completed | None = None

    async def run(self, name: str, key: str, argv: Sequence[str], timeout: float) -> Completed:
        """The next answer for this command."""
        done = await self.replay.run(argv, timeout)
        self.last = replace(done, argv=tuple(argv))
        return self.last

    async def join(self, name: str, timeout: float) -> Completed:
        """What the last run answered."""
        if self.last is None:
            raise Lost(f"{name} left no trace")
        return self.last

    async def find(self, name: str) -> Job | None:
        """Nothing runs here."""
        return None


def said(out: str = "", err: str = "", code: int = 0) -> Completed:
    """An answer of these words."""
    return Completed(argv=(), code=code, out=out, err=err, seconds=0.1)


def os_status(name: str) -> Completed:
    """What `rpm-ostree status --json` printed in this situation."""
    return said((FIXTURES / "rpm_ostree" / f"{name}.json").read_text())


def bootc_status(name: str) -> Completed:
    """What `bootc status --format=json` printed in this situation."""
    return said((FIXTURES / "bootc" / f"{name}.json").read_text())


def kubeadm_case(name: str) -> Completed:
    """A recorded run of kubeadm."""
    base = FIXTURES / "kubeadm" / name
    out = base.with_name(f"{name}.out")
    return said(
        out.read_text() if out.exists() else "",
        base.with_name(f"{name}.err").read_text(),
        int(base.with_name(f"{name}.rc").read_text()),
    )
