"""A CommandRunner that answers with recorded output, and keeps what it was asked to run."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kube_upgrade.host.runner import Completed, NotStarted

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
                return waiting.pop(0) if len(waiting) > 1 else waiting[0]
        raise NotStarted(f"{line} was not recorded")


def said(out: str = "", err: str = "", code: int = 0) -> Completed:
    """An answer of these words."""
    return Completed(argv=(), code=code, out=out, err=err, seconds=0.1)


def os_status(name: str) -> Completed:
    """What `rpm-ostree status --json` printed in this situation."""
    return said((FIXTURES / "rpm_ostree" / f"{name}.json").read_text())


def kubeadm_case(name: str) -> Completed:
    """A recorded run of kubeadm."""
    base = FIXTURES / "kubeadm" / name
    out = base.with_name(f"{name}.out")
    return said(
        out.read_text() if out.exists() else "",
        base.with_name(f"{name}.err").read_text(),
        int(base.with_name(f"{name}.rc").read_text()),
    )
