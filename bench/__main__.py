"""python -m bench: one JSON line per bench on stdout, all in build/bench.json, a table in docs/benchmarks.md."""

import argparse
import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from bench import decide, handover, heartbeat, locks, rollout, table
from bench.fleet import names
from kube_upgrade.lab.binaries import find_or_make
from kube_upgrade.lab.control_plane import ControlPlane
from kube_upgrade.lab.runs import Run

OUT = Path("build/bench.json")
Row = dict[str, object]


def main() -> None:
    """Run what was asked for and write its rows."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--nodes", type=int, nargs="+", default=[100, 1000, 5000])
    parser.add_argument("--rounds", type=int, default=5, help="pairs of bound and rollout")
    parser.add_argument("--only", choices=("fleetlock",), help="this bench alone")
    parser.add_argument("--keep-page", action="store_true", help="leave docs/benchmarks.md as it is")
    given = parser.parse_args()
    rows = []
    for row in measure(given.nodes, given.rounds, given.only):
        print(json.dumps(row), flush=True)
        rows.append(row)
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(rows, indent=2) + "\n")
    if not given.keep_page:
        table.write(rows)


def measure(sizes: list[int], rounds: int, only: str | None) -> Iterator[Row]:
    """A fresh control plane for each size."""
    binaries = find_or_make()
    yield from locks.measure()
    for count in sizes:
        print(f"{count} nodes", file=sys.stderr)
        if not only:
            yield decide.measure(count)
        with Run.open("bench") as run:
            plane = ControlPlane.start(run, binaries)
            try:
                yield from asyncio.run(on(plane, count, rounds, only))
            finally:
                plane.stop()


async def on(plane: ControlPlane, count: int, rounds: int, only: str | None) -> list[Row]:
    """All benches that need the API server."""
    workers = names(count)
    await rollout.prepare(plane, workers)
    async with rollout.bare(plane) as api:
        held = await locks.measure_kubernetes(plane, count, api)
    if only:
        return [held]
    return [
        held,
        await rollout.measure(plane, workers, rounds=rounds),
        await handover.measure(plane, workers),
        await heartbeat.measure(plane, workers),
    ]


if __name__ == "__main__":
    main()
