"""Runs the lab and puts what it said, shortened, into docs/transcript.txt and between the marks in README.md."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- transcript:begin -->", "<!-- transcript:end -->"
# The story of one control plane and one worker is enough; the others read alike.
TOLD = re.compile(r"control-plane-1|worker-1|^ +[\d.]+s (plan:|the |nodes, |starting)")
LEFT_OUT = re.compile(r"waiting:|kubeconfig:|resolving|: idle|NotReady")
HOST = re.compile(r"127\.0\.0\.1:\d+/")


def main() -> None:
    """Ends with the lab's own exit code where that is not 0."""
    run = subprocess.run(
        [sys.executable, "-m", "kube_upgrade", "lab"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, check=False,
    )  # fmt: skip
    if run.returncode:
        sys.exit(f"{run.stdout}\nthe lab ended with {run.returncode}")
    text = "\n".join(["$ make lab", *shortened(run.stdout.splitlines())]) + "\n"
    (ROOT / "docs/transcript.txt").write_text(text)
    readme = (ROOT / "README.md").read_text()
    head, tail = readme.partition(BEGIN)[0], readme.partition(END)[2]
    (ROOT / "README.md").write_text(f"{head}{BEGIN}\n```\n{text}```\n{END}{tail}")


def shortened(lines: list[str]) -> list[str]:
    """Every word of kubectl and of the closing, and the lines of the rollout that tell its story."""
    kept = []
    for line in lines:
        timed = re.match(r" +[\d.]+s ", line)
        if timed and (LEFT_OUT.search(line) or not TOLD.search(line)):
            continue
        if not timed and line.startswith("kubeconfig:"):
            continue
        kept.append(HOST.sub("", line).rstrip()[:118])
    return kept


if __name__ == "__main__":
    main()
