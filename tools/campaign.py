"""Runs the fault properties with many examples under one printed seed, and writes down how it went.

tools/campaign.py full      10,000 rollouts and more, and a lab whose API server is away for 25 s: before an issue is
                            resolved; writes docs/campaigns/DATE.md
tools/campaign.py sampled   2,000 and more, as many lives of a node, parts of the failure cells and of the races for
                            one slot, with another seed each time: in CI
"""

import argparse
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tests"))
from support.examples import CELLS, EXAMPLES, MALFORMED_REQUESTS, RESULTS, STORE_STORIES  # noqa: E402 - the tests' own numbers

ROLLOUTS = (
    "tests/properties/test_rollout.py",
    "tests/properties/test_two_leaders.py",
    "tests/properties/test_real_leaders.py",
)
OTHERS = (
    "tests/properties/test_node_steps.py",
    "tests/properties/test_failure_matrix.py",
    "tests/properties/test_lock_store.py",
)
NODES = ("tests/integration/test_failure_cells.py",)
LOCKS = ("tests/properties/test_stores_machine.py", "tests/contract/test_fleetlock_fuzz.py")
RACES = "tests/integration/test_over_grants.py"
SAMPLED = ((*ROLLOUTS, *OTHERS), (*NODES, RACES, "--with-cluster"))
PARTS = {
    "rollouts": (ROLLOUTS,),
    "nodes": (OTHERS, (*NODES, "--with-cluster")),
    "fleetlock": (LOCKS,),
    "races": ((RACES, "--with-cluster"),),
    "outage": (),  # a lab run
}
OUTAGE = "scenarios/api-away.yaml"


def main() -> None:
    """Ends with pytest's exit code; a failure's text names the seed and how to run it again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("size", choices=("full", "sampled"))
    parser.add_argument("--only", choices=PARTS, help="this part of a full campaign alone")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**31))
    given = parser.parse_args()
    again = f"tools/campaign.py {given.size} --seed {given.seed}" + (f" --only {given.only}" if given.only else "")
    print(f"campaign: {again}", flush=True)
    parts = (given.only,) if given.only else ("sampled",) if given.size == "sampled" else tuple(PARTS)
    with tempfile.TemporaryDirectory() as folder:
        os.environ[RESULTS] = f"{folder}/over-grants"
        results = [_run(given.size, given.seed, *tests) for part in parts for tests in PARTS.get(part, SAMPLED)]
        if "outage" in parts:
            results.append(_outage())
        if given.size == "full":
            _write(given.seed, results, Path(os.environ[RESULTS]), given.only)
    failed = any(code for _, code, _ in results)
    print(f"campaign: {'FAILED' if failed else 'passed'}; again: {again}", flush=True)
    sys.exit(failed)


def _run(size: str, seed: int, *tests: str) -> tuple[tuple[str, ...], int, float]:
    argv = [sys.executable, "-m", "pytest", *tests, "-p", "no:randomly", "--timeout=3000", "-q"]
    argv += [f"--hypothesis-profile={size}", f"--hypothesis-seed={seed}"]
    began = time.monotonic()
    code = subprocess.run(argv, cwd=ROOT, check=False).returncode
    return tests, code, time.monotonic() - began


def _outage() -> tuple[tuple[str, ...], int, float]:
    """One real outage, longer than any client's patience with a request."""
    began = time.monotonic()
    argv = [sys.executable, "-m", "kube_upgrade", "lab", "--scenario", OUTAGE]
    code = subprocess.run(argv, cwd=ROOT, check=False).returncode
    return (OUTAGE,), code, time.monotonic() - began


def _write(seed: int, results: list[tuple[tuple[str, ...], int, float]], over_grants: Path, only: str | None) -> None:
    commit = subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, text=True).strip()
    now = datetime.now(UTC)
    lines = [
        f"# Campaign of {now:%Y-%m-%d}",
        "",
        f"{now:%H:%M} UTC, commit {commit}, seed {seed}; {EXAMPLES['full']} examples of each property.",
        "",
        "| properties, and a real outage | result | seconds |",
        "|---|---|---|",
    ]
    for tests, code, seconds in results:
        lines.append(f"| {', '.join(tests)} | {'failed' if code else 'passed'} | {seconds:.0f} |")
    if any(tests == LOCKS for tests, _, _ in results):
        stories, requests = STORE_STORIES["full"], MALFORMED_REQUESTS["full"]
        lines += ["", f"Stories of each store against the model: {stories}; malformed requests: {requests:,}."]
    lines += _over_grants(over_grants) + _failure_cells(over_grants.with_name(CELLS))
    folder = ROOT / "docs/campaigns"
    folder.mkdir(exist_ok=True)
    (folder / f"{now:%Y-%m-%d}{f'-{only}' if only else ''}.md").write_text("\n".join(lines) + "\n")


def _over_grants(file: Path) -> list[str]:
    """The table of the races for one slot, where they were run; a race that failed is in it as well."""
    if not file.exists():
        return []
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    counts = [f"| {' | '.join(str(value) for value in row.values())} |" for row in rows]
    return [
        "",
        "Three fleetlock processes on one store, one slot, six clients that ask at once in each round:",
        "",
        "| store | rounds | grants | over-grants | seconds |",
        "|---|---|---|---|---|",
        *counts,
    ]


def _failure_cells(file: Path) -> list[str]:
    """The table of the cells with real processes, where they were played."""
    if not file.exists():
        return []
    rows = json.loads(file.read_text())
    seen = [f"| {row['cell']} | {row['end']} | {row['struck']} | {row['seconds']:.0f} |" for row in rows]
    return [
        "",
        f"Cells of the failure matrix with real processes: {len(rows)}. *Struck at*: what the node said that it was at"
        " when the fault came; empty where the fault lay in wait.",
        "",
        "| cell | end | struck at | seconds |",
        "|---|---|---|---|",
        *seen,
    ]


if __name__ == "__main__":
    main()
