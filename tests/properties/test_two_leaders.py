"""Two controllers at once, each pausable between look, claim and every single order (design: 2.4, ADR 2).

Lease election makes this rare; only compare-and-swap makes it harmless. Each leader's copy of the API lags behind by
as much as hypothesis likes, for plan and nodes alike or for one of them alone, and their clocks differ.
"""

from collections.abc import Container, Iterator
from dataclasses import dataclass
from datetime import timedelta

from hypothesis import event, given, note
from hypothesis import strategies as st

from kube_upgrade.core.rollout.decide import decide
from kube_upgrade.model.snapshot import ClusterSnapshot
from support.bounds import Bounds
from support.weather import ACTS, PATIENT, Act, act, clear_up, worlds
from support.world import World, carry_out

CLAIMS_STAND = ("published", "read the claims again")  # as support/world.py says it; what follows are the orders
SKEW = timedelta(seconds=20)  # how far the second leader's clock is ahead


@dataclass
class Leader:
    """A controller that believes it leads. Its copy only ever moves forward."""

    world: World
    bounds: Bounds
    clock: timedelta
    plan_at: int = 0  # index of the state that its copy of the plan shows
    nodes_at: int = 0  # the same for the nodes: their watch may be late alone
    seen: ClusterSnapshot | None = None
    doing: Iterator[str] | None = None

    def look(self, plan: int = 0, nodes: int = 0) -> None:
        """Read states so many writes old, or what it knew already, and decide; what was under way is dropped."""
        newest = len(self.world.states) - 1
        self.plan_at, self.nodes_at = max(self.plan_at, newest - plan), max(self.nodes_at, newest - nodes)
        states = self.world.states
        self.seen = self.world.snapshot(plan=states[self.plan_at], nodes=states[self.nodes_at], clock=self.clock)
        self.doing = carry_out(self.world, self.seen, decide(self.seen))

    def go_on(self, requests: int, until: Container[str] = ()) -> None:
        """So many more requests of what it decided, however long ago that was, or until one of these is done."""
        for _ in range(requests):
            if self.doing is None:
                return
            self.bounds.seen_by = self.seen
            done = next(self.doing, None)
            self.bounds.seen_by = None
            note(f"  {done}")
            if done is None:
                self.doing = None
            if done in until:
                return

    def finish(self) -> None:
        self.go_on(100)


which, how = st.integers(0, 9), st.integers(0, 7)
LEADING = ["look A", "look B", "go on A", "go on B", "finish A", "finish B", "turn A", "turn B"]
# Fresh or slightly old looks are frequent enough for both to act; weather is what changes under their feet.
names = st.sampled_from(LEADING * 4 + ["step", "all step"] * 6 + sorted(ACTS))
acts = st.lists(st.tuples(names, which, how), min_size=30, max_size=100)
edits = ["pause", "version", "group", "budget", "reborn", "sick", "cordon", "hold"] + ["step", "all step"] * 4
focused = st.lists(st.tuples(st.sampled_from(LEADING * 3 + edits), which, how), min_size=30, max_size=100)


@st.composite
def races(draw: st.DrawFn) -> list[Act]:
    """Again and again A looks, goes on for a while and pauses; B goes on in between; then A wakes up.

    Random acts seldom put A between its claim and its order; this does. Nobody but A looks before: it finds something
    to order.
    """
    script: list[Act] = []
    some = st.integers(1, 3)
    for _ in range(draw(st.integers(1, 10))):
        script += [("turn B", 0, 0), *[("all step", 0, 0)] * draw(st.integers(5, 9))]
        script += [("look A", 0, 0), ("reach orders A", 0, 0), *[("go on A", 0, 0)] * draw(st.integers(0, 1))]
        for _ in range(draw(some)):
            edit = (draw(st.sampled_from(["pause", "version", "group", "budget"])), draw(which), draw(how))
            script += [edit, *[("turn B", 0, 0)] * draw(some)]
        script += [("finish A", 0, 0), ("pause", 0, 1)]
    return script


def perform(world: World, script: list[Act]) -> tuple[Leader, Leader, Bounds]:
    bounds = Bounds(world)
    leaders = {"A": Leader(world, bounds, timedelta()), "B": Leader(world, bounds, SKEW)}
    for name, node, variant in script:
        note(f"{world.now:%H:%M:%S} {name} {node} {variant}")
        match name.rpartition(" "):
            case ("look", _, who) if who in leaders:
                late = max(0, variant - 2) * node
                leaders[who].look(plan=late if variant % 3 else 0, nodes=late if variant % 3 != 1 else 0)
            case ("turn", _, who) if who in leaders:
                leaders[who].look()
                leaders[who].finish()
            case ("go on", _, who) if who in leaders:
                leaders[who].go_on(1 + variant % 2)
            case ("reach orders", _, who) if who in leaders:
                leaders[who].go_on(100, until=CLAIMS_STAND)
            case ("finish", _, who) if who in leaders:
                leaders[who].finish()
            case _:
                act(world, name, node, variant)
        world.now += timedelta(seconds=1)
    return leaders["A"], leaders["B"], bounds


def come_to_rest(world: World, leaders: tuple[Leader, Leader], rounds: int = 600) -> None:
    """Both go on, with current copies, until nothing moves and nothing will."""
    for leader in leaders:
        leader.finish()
    for number in range(rounds):
        leader = leaders[number % 2]
        before = world.state.revision
        leader.look()
        leader.finish()
        for name in sorted(world.machines):
            world.machines[name].step()
        world.now += timedelta(seconds=1)
        if world.plan.status.summary == "Complete" and world.state.revision == before:
            return
        if world.state.revision == before and leader.seen and (wake := decide(leader.seen).wake_at):
            world.now = max(world.now, wake - leader.clock)
    raise AssertionError(f"no end after {rounds} rounds: {world.plan.status}")


def holds_and_converges(world: World, script: list[Act]) -> None:
    a, b, bounds = perform(world, script)
    event(f"orders by then: {min(len(bounds.orders), 3)}")
    clear_up(world)
    come_to_rest(world, (a, b))
    assert all(node.kubelet == world.plan.version for node in world.nodes.values())


@PATIENT
@given(worlds(), acts)
def test_two_leaders_in_any_weather_hold_the_bounds_and_converge(world: World, script: list[Act]) -> None:
    holds_and_converges(world, script)


@PATIENT
@given(worlds(), focused)
def test_two_leaders_while_the_plan_is_edited_hold_the_bounds_and_converge(world: World, script: list[Act]) -> None:
    """Only what concerns claims and orders: version, pause, groups, budgets, nodes that come and go."""
    holds_and_converges(world, script)


@PATIENT
@given(worlds(), races())
def test_a_leader_that_pauses_before_its_order_orders_nothing_that_the_other_gave_up(
    world: World, script: list[Act]
) -> None:
    """ADR 2: without the fence on the Node this breaks within some hundred examples."""
    holds_and_converges(world, script)
