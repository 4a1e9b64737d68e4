"""python -m bench [--nodes 100 1000 5000] [--rounds 5]: one JSON line per bench on stdout, all in build/bench.json."""

import argparse
import asyncio
import json
import sys
from pathlib import Path

from bench import rollout
from bench.fleet import names
from kube_upgrade.lab.binaries import find_or_make
from kube_upgrade.lab.control_plane import ControlPlane
from kube_upgrade.lab.runs import Run

OUT = Path("build/bench.json")


def main() -> None:
    """Run every bench and write its row."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--nodes", type=int, nargs="+", default=[100, 1000, 5000])
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    binaries = find_or_make()
    rows = []
    for count in given.nodes:
        print(f"{count} nodes", file=sys.stderr)
        with Run.open("bench") as run:
            plane = ControlPlane.start(run, binaries)
            try:
                rows.append(asyncio.run(_at(plane, count, given.rounds)))
                print(json.dumps(rows[-1]), flush=True)
            finally:
                plane.stop()
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(rows, indent=2) + "\n")


async def _at(plane: ControlPlane, count: int, rounds: int) -> dict[str, object]:
    workers = names(count)
    await rollout.prepare(plane, workers)
    return await rollout.measure(plane, workers, rounds=rounds)


if __name__ == "__main__":
    main()
