"""Runs the lab and puts what it said, shortened, into docs/transcript.txt and between the marks in README.md."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- transcript:begin -->", "<!-- transcript:end -->"
# The story of one control plane and one worker is enough; the others read alike.
TOLD = re.compile(r"^ +[\d.]+s (control-plane-1|worker-1|plan:|the |nodes, |starting|waiting:)")
LEFT_OUT = re.compile(
    r"resolving|: idle|: pending|not looked at|NotReady|locking \(\S+ Ready\)|rebooting \(v1.36|completed \(.*holds"
)
WAITS = 2  # the first reasons to wait that are shown
HOST = re.compile(r"127\.0\.0\.1:\d+/")
WIDTH, LINES = 118, 60


def main() -> None:
    """Ends with the lab's own exit code where that is not 0."""
    run = subprocess.run(
        [sys.executable, "-m", "kube_upgrade", "lab"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, check=False,
    )  # fmt: skip
    if run.returncode:
        sys.exit(f"{run.stdout}\nthe lab ended with {run.returncode}")
    told = ["$ make lab", *shortened(run.stdout.splitlines())]
    if len(told) > LINES:
        sys.exit(f"{len(told)} lines are more than the {LINES} that a first screen bears: leave more out")
    text = "\n".join(told) + "\n"
    (ROOT / "docs/transcript.txt").write_text(text)
    readme = (ROOT / "README.md").read_text()
    head, tail = readme.partition(BEGIN)[0], readme.partition(END)[2]
    (ROOT / "README.md").write_text(f"{head}{BEGIN}\n```\n{text}```\n{END}{tail}")


def shortened(lines: list[str]) -> list[str]:
    """Every word of kubectl and of the closing, and the lines of the rollout that tell its story."""
    kept, waits = [], 0
    for line in lines:
        if re.match(r" +[\d.]+s ", line):
            waiting = "waiting:" in line
            waits += waiting
            if LEFT_OUT.search(line) or not TOLD.search(line) or (waiting and waits > WAITS):
                continue
        if not line.startswith("kubeconfig:"):
            kept.append(fitting(HOST.sub("", line).rstrip()))
    return kept


def fitting(line: str) -> str:
    """The line, no longer than a README shows."""
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 1]}…"


if __name__ == "__main__":
    main()
