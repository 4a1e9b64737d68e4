"""Two real controllers' reads, decisions and writes, paused before any request: the bounds hold and the work is done.

tests/contract/test_resource_versions.py holds the API that this runs on to the real API server's promises; the verdict
is the lab judge's, who shares no rule with the controller.
"""

import asyncio
from datetime import timedelta

from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

from kube_upgrade.lab.judge import Rule, judge
from support.examples import examples
from support.paused_leaders import Cluster, Gated, Leader

ROUNDS = 400  # far more than any rollout here takes

names = st.sampled_from(["first"] * 8 + ["second"] * 8 + ["daemon"] * 6 + ["pause", "resume", "version", "reborn"])
scripts = st.lists(st.tuples(names, st.integers(0, 6)), min_size=10, max_size=120)


async def act(cluster: Cluster, leaders: list[Leader], name: str, which: int) -> None:
    node = cluster.names[which % len(cluster.names)]
    match name:
        case "first" | "second":
            await leaders[name == "second"].step()
        case "daemon":
            cluster.daemon(node)
        case "pause" | "resume":
            cluster.edit(paused=name == "pause")
        case "version":
            cluster.edit(kubernetesVersion=("v1.37.2", "v1.37.3")[which % 2])
        case "reborn":
            cluster.reborn(node)


async def play(cluster: Cluster, script: list[tuple[str, int]]) -> None:
    leaders = [Leader(Gated(cluster.memory), clock=timedelta(seconds=20 * n)) for n in (0, 1)]
    for name, which in script:
        await act(cluster, leaders, name, which)
    for leader in leaders:
        await leader.finish()
    event(f"under way when it cleared up: {bool(cluster.plan().status.claims)}")
    cluster.edit(paused=False, kubernetesVersion="v1.37.3")
    for _ in range(ROUNDS):
        for leader in leaders:
            await leader.step()
            await leader.finish()
        moved = [cluster.daemon(node) for node in cluster.names]
        plan = cluster.plan()
        if not any(moved) and plan.status.summary == "Complete" and not plan.status.claims:
            return
    raise AssertionError(f"not complete after {ROUNDS} rounds: {cluster.plan().status}")


# Found by 10,000 examples: the second one's nodes are older than its plan, and show cp1 under way when it has ended.
WORDS = {"f": "first", "s": "second", "d": "daemon", "v": "version", "r": "resume", "b": "reborn"}
LATE_NODES = [(WORDS[word], 0) for word in "sssfsbdffssfdfsbffssfsdfdsfffrffvfdffffddsfdvddsf"]


@settings(max_examples=examples(50), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example(3, 1, 2, LATE_NODES)
@given(st.sampled_from([1, 3]), st.integers(1, 4), st.integers(1, 2), scripts)
def test_two_real_controllers_paused_before_any_request_hold_the_bounds(
    control_planes: int, workers: int, budget: int, script: list[tuple[str, int]]
) -> None:
    cluster = Cluster()
    cluster.build(control_planes, workers, budget)

    asyncio.run(play(cluster, script))

    breaches = [breach for breach in judge(cluster.history()).breaches if breach.rule is not Rule.NODE_PROVEN]
    assert breaches == []
