"""Whole rollouts in memory, told as stories in golden/*.txt. `pytest --update-golden` writes them anew."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from kube_upgrade.model.plan import Percent
from support.builders import (
    CONTROL,
    MINUTE,
    OLD,
    WORKERS,
    a_cluster,
    a_node,
    a_plan,
    a_window,
    v,
)
from support.story import Event, Story
from support.world import World

GOLDEN = Path(__file__).parent / "golden"


def upgrading(node: str) -> Callable[[World], bool]:
    return lambda world: world.nodes[node].report.status == "upgrading"


def drained(node: str) -> Callable[[World], bool]:
    return lambda world: world.nodes[node].drain is not None


def default(seed: int | None = None) -> Story:
    """Three control planes, three workers, one minor, everything by default."""
    return Story(World(a_plan(), a_cluster()), seed=seed)


def single_node(seed: int | None = None) -> Story:
    return Story(World(a_plan(CONTROL), a_cluster(1, 0)), seed=seed)


def one_and_one(seed: int | None = None) -> Story:
    return Story(World(a_plan(), a_cluster(1, 1)), seed=seed)


def wide_with_soak(seed: int | None = None) -> Story:
    """Half of the workers at once, each to stay healthy for a minute."""
    plan = a_plan(CONTROL, replace(WORKERS, max_unavailable=Percent(50), soak=MINUTE, depends_on=("control-plane",)))
    return Story(World(plan, a_cluster(1, 4)), seed=seed)


def failure_stops_the_group(seed: int | None = None) -> Story:
    """kubeadm fails on w-1: nobody else starts until a person retries it."""
    world = World(a_plan(), a_cluster(1, 3))
    world.machines["w-1"].kubeadm_fails = 1
    mended = Event(
        said="disk freed, `kube-upgrade retry w-1`",
        when=lambda w: w.nodes["w-1"].report.status == "error" and w.now.minute >= 10,
        do=lambda w: w.machines["w-1"].retry(),
    )
    later = Event(said="(time passes)", when=lambda w: w.nodes["w-1"].report.status == "error", do=_ten_past)
    return Story(world, [later, mended], seed=seed)


def _ten_past(world: World) -> None:
    world.now = world.now.replace(minute=10, second=0)


def paused_midway(seed: int | None = None) -> Story:
    """Paused while w-1 runs kubeadm (it finishes) and w-2 is only drained (its order is taken back)."""
    world = World(a_plan(CONTROL, replace(WORKERS, max_unavailable=2)), a_cluster(1, 3))
    world.machines["w-2"].slow = 1
    pause = Event(said="spec.paused: true", when=upgrading("w-1"), do=lambda w: w.edit_plan(paused=True))
    resume = Event(
        said="spec.paused: false",
        when=lambda w: w.plan.paused and not w.plan.status.claims,
        do=lambda w: w.edit_plan(paused=False),
    )
    return Story(world, [pause, resume], seed=seed)


def three_minors(seed: int | None = None) -> Story:
    """via names a version for each minor in between: one full pass of the cluster for each."""
    plan = a_plan(via=(v("v1.35.9"), v("v1.36.4")))
    return Story(World(plan, a_cluster(2, 2, kubelet=v("v1.34.5"))), seed=seed)


def three_minors_workers_skip(seed: int | None = None) -> Story:
    """workersSkipHops: the control planes pass every hop, the workers go once."""
    plan = a_plan(via=(v("v1.35.9"), v("v1.36.4")), workers_skip_hops=True)
    return Story(World(plan, a_cluster(2, 2, kubelet=v("v1.34.5"))), seed=seed)


def window_closes_midway(seed: int | None = None) -> Story:
    """cp-2's pods will not go until the window is too short: it is given back. The worker would not fit either."""
    world = World(a_plan(windows=(a_window("30 7 * * *", hours=0.5 + 150 / 3600),)), a_cluster(2, 1))
    world.machines["cp-2"].slow = 8
    return Story(world, seed=seed)


def three_minors_window_closes(seed: int | None = None) -> Story:
    """The window closes in the second of three hops and opens again next day: the way goes on where it was."""
    window = a_window("30 7 * * *", hours=37 / 60)
    plan = a_plan(via=(v("v1.35.9"), v("v1.36.4")), windows=(window,))
    return Story(World(plan, a_cluster(2, 2, kubelet=v("v1.34.5"))), seed=seed)


def version_changed_midway(seed: int | None = None) -> Story:
    """v1.37.2 becomes v1.37.3 while w-1 is drained and the rest is done or waiting."""
    edit = Event(
        said="spec.kubernetesVersion: v1.37.3",
        when=drained("w-1"),
        do=lambda w: w.edit_plan(version=v("v1.37.3")),
    )
    return Story(World(a_plan(), a_cluster(1, 2)), [edit], seed=seed)


def corrected_after_a_failure(seed: int | None = None) -> Story:
    """v1.37.2 fails in kubeadm on the first worker; the plan goes to v1.37.3 instead."""
    world = World(a_plan(), a_cluster(1, 2))
    world.machines["w-1"].kubeadm_fails = 1
    edit = Event(
        said="spec.kubernetesVersion: v1.37.3",
        when=lambda w: w.nodes["w-1"].report.status == "error",
        do=lambda w: w.edit_plan(version=v("v1.37.3")),
    )
    return Story(world, [edit], seed=seed)


def cordoned_and_held(seed: int | None = None) -> Story:
    """w-3 was cordoned by a person: it goes first and stays cordoned. w-1 is on hold until the others are done."""
    nodes = [*a_cluster(1, 1), a_node("w-2"), a_node("w-3", unschedulable=True)]
    held = [replace(node, hold="disk swap") if node.name == "w-1" else node for node in nodes]
    freed = Event(
        said="annotation hold removed from w-1, w-3 uncordoned",
        when=lambda w: w.nodes["w-3"].kubelet != OLD and not w.plan.status.claims,
        do=_free,
    )
    return Story(World(a_plan(), held), [freed], seed=seed)


def _free(world: World) -> None:
    world.patch("w-1", hold=None)
    world.patch("w-3", unschedulable=False)


SCENARIOS = (
    default,
    single_node,
    one_and_one,
    wide_with_soak,
    failure_stops_the_group,
    paused_midway,
    three_minors,
    three_minors_workers_skip,
    window_closes_midway,
    three_minors_window_closes,
    version_changed_midway,
    corrected_after_a_failure,
    cordoned_and_held,
)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_the_story_is_the_golden_one(scenario: Callable[[], Story], request: pytest.FixtureRequest) -> None:
    story = scenario().play()
    told = f"{' '.join((scenario.__doc__ or scenario.__name__).split())}\n\n{story.text()}"
    golden = GOLDEN / f"{scenario.__name__}.txt"
    if request.config.getoption("--update-golden"):
        golden.write_text(told)
    assert told == golden.read_text(), "run pytest --update-golden and read the diff"
    assert story.done


@pytest.mark.parametrize("seed", range(25), ids=lambda seed: f"seed{seed}")
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_bounds_hold_and_it_ends_in_whatever_order_the_daemons_step(
    scenario: Callable[[int], Story], seed: int
) -> None:
    """Bounds are checked at every revision of the world."""
    assert scenario(seed).play().done


def test_every_golden_belongs_to_a_scenario() -> None:
    """Those of a single node's daemon begin with `node_`."""
    told = {path.stem for path in GOLDEN.iterdir() if not path.stem.startswith("node_")}
    assert told == {scenario.__name__ for scenario in SCENARIOS}
