"""Cells of the failure matrix with the real daemon and lock server, real files, real kill -9 and power cuts (stand-in
disk).

The whole matrix runs in memory (tests/properties/test_failure_matrix.py); here it is sampled, with another seed each
time, beside every cell that ever failed. `tools/campaign.py full` plays them all.
"""

import asyncio
import json
import os
import random
import secrets
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path

import pytest

from kube_upgrade.lab.binaries import Binaries
from kube_upgrade.lab.control_plane import ControlPlane
from kube_upgrade.lab.objects import kubeadm_objects
from kube_upgrade.lab.runs import Run
from support.examples import CELLS as ENDS
from support.examples import FAILURE_CELLS, RESULTS, many, profile
from support.lock_process import a_process
from support.real_cells import CELLS, EVER_FAILED, Cell, Who
from support.real_node import NEW, OLD
from support.real_scene import Played, play

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(3600)]
SEED = int(os.environ.get("KUBE_UPGRADE_SEED", secrets.randbelow(2**31)))
AT_ONCE = 4  # on the one API server that all share
ALONE = {"full": 2, "default": 1}  # API servers for those that need one for themselves


def chosen() -> list[Cell]:
    """All in a campaign, else a sample; the seed stands in a failure's text (KUBE_UPGRADE_SEED repeats it)."""
    if wanted := os.environ.get("KUBE_UPGRADE_CELLS"):
        return [cell for cell in CELLS if wanted in str(cell)]
    if profile() == "full":
        return list(CELLS)
    rest = [cell for cell in CELLS if cell not in EVER_FAILED]
    return [*EVER_FAILED, *random.Random(SEED).sample(rest, max(0, many(FAILURE_CELLS) - len(EVER_FAILED)))]


async def test_cells_with_real_processes_end_as_they_may(
    control_plane: ControlPlane, binaries: Binaries, tmp_path: Path
) -> None:
    """A few at once: they mostly wait."""
    cells = chosen()
    alone = [cell for cell in cells if cell.alone]
    shares = [alone[index :: many(ALONE)] for index in range(many(ALONE))]
    async with asyncio.TaskGroup() as group:
        together = group.create_task(side_by_side(control_plane, tmp_path, [c for c in cells if not c.alone]))
        others = [group.create_task(one_by_one(binaries, tmp_path, share)) for share in shares if share]
    played = [*together.result(), *(seen for task in others for seen in task.result())]
    write_down(played)
    complaints = {str(seen.cell): seen.wrong for seen in played if seen.wrong}
    assert not complaints, f"KUBE_UPGRADE_SEED={SEED}: {complaints}"


async def side_by_side(plane: ControlPlane, folder: Path, cells: Iterable[Cell]) -> list[Played]:
    """Several nodes of one cluster, whose configuration is at the target already."""
    await configure(plane, NEW)
    places = asyncio.Semaphore(AT_ONCE)

    async def one(cell: Cell) -> Played:
        async with places:
            return await tried(plane, locks, folder, cell)

    async with locks_of(plane, folder) as locks:
        return list(await asyncio.gather(*(one(cell) for cell in cells)))


async def one_by_one(binaries: Binaries, folder: Path, cells: Iterable[Cell]) -> list[Played]:
    """Each on a cluster that nobody else is in."""
    async with AsyncExitStack() as stack:
        run = stack.enter_context(Run.open("tests"))
        plane = stack.enter_context(await asyncio.to_thread(ControlPlane.start, run, binaries))
        locks = await stack.enter_async_context(locks_of(plane, folder))
        played = []
        for cell in cells:
            await configure(plane, OLD if cell.who is Who.CONTROL_PLANE else NEW)
            played.append(await tried(plane, locks, folder, cell))
        return played


def locks_of(plane: ControlPlane, folder: Path) -> AbstractAsyncContextManager[str]:
    """A lock server that drains this cluster's nodes. The slot of a node that kept its lock is free when it is gone."""
    config = {
        "kubernetes": {"kubeconfig": str(plane.admin_kubeconfig)},
        "namespace": "default",
        "holdSeconds": 5,
        "nodeGoneSeconds": 1,
        "groups": {"workers": {"slots": AT_ONCE}},
    }
    return a_process(folder, config)


async def tried(plane: ControlPlane, locks: str, folder: Path, cell: Cell) -> Played:
    """One that comes nowhere is told beside the others."""
    try:
        return await play(plane, locks, folder, cell)
    except TimeoutError:
        return Played(cell=cell, end="it never came to the step", seconds=0.0)


async def configure(plane: ControlPlane, version: str) -> None:
    """kubeadm's ConfigMaps at this version."""
    bodies = "\n---\n".join(json.dumps(body) for body in kubeadm_objects(version, plane.url))
    await asyncio.to_thread(plane.kubectl, "apply", "-f", "-", input=bodies)


def write_down(played: Iterable[Played]) -> None:
    """For the campaign's page."""
    if path := os.environ.get(RESULTS):
        rows = [
            {"cell": str(seen.cell), "end": seen.end, "struck": seen.struck, "seconds": round(seen.seconds, 1)}
            for seen in played
        ]
        Path(path).with_name(ENDS).write_text(json.dumps(rows))
