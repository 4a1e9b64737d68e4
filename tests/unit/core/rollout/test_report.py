"""What users read: upstream's exact words (domain: 2.5), counts, conditions, holds, history."""

from dataclasses import replace
from datetime import timedelta

import pytest

from kube_upgrade.core.rollout.decide import decide
from kube_upgrade.core.rollout.report import RISKY, GroupView, State, summarize, summarize_holds
from kube_upgrade.model.labels import CONTROL_PLANE_LABEL, Operator, Requirement, Selector
from kube_upgrade.model.node import NodeStatus
from kube_upgrade.model.node_config import NodeConfig
from kube_upgrade.model.snapshot import ClusterSnapshot
from kube_upgrade.model.status import Condition, Duration, Hold, PlanStatus, Reason, Run
from support.builders import (
    CONTROL,
    HOUR,
    MINUTE,
    NEW,
    NOW,
    OLD,
    WORKERS,
    a_claim,
    a_cluster,
    a_group,
    a_node,
    a_plan,
    control_planes_done,
    having,
    replaced,
    said,
    seen,
    upgraded,
    v,
)
from support.decisions import status


def condition(found: PlanStatus, type: str) -> Condition:
    return next(each for each in found.conditions if each.type == type)


def done(**changed: object) -> ClusterSnapshot:
    """Everything at the target."""
    return control_planes_done(*(upgraded(f"w-{i}") for i in (1, 2, 3)), **changed)  # type: ignore[arg-type]


def after(snapshot: ClusterSnapshot, *nodes: object, **changed: object) -> ClusterSnapshot:
    """One decision later: its status is published, then the world changes."""
    plan = replace(snapshot.plan, status=decide(snapshot).status)
    return replace(snapshot, plan=plan, **changed)  # type: ignore[arg-type]


# --- upstream's words ---------------------------------------------------------------------------


def test_a_group_that_matches_no_node_is_unknown_and_so_is_the_plan() -> None:
    found = status(
        control_planes_done(a_node("w-1"), plan=a_plan(CONTROL, a_group("gpu", selector=having("gpu", "yes"))))
    )
    assert (found.groups["gpu"], found.summary) == ("Unknown", "Unknown")


def test_groups_wait_before_anything_starts() -> None:
    found = status(seen(plan=a_plan(paused=True)))
    assert (found.groups, found.summary) == ({"control-plane": "Waiting", "workers": "Waiting"}, "Waiting")


def test_progress_counts_the_nodes_that_are_done() -> None:
    found = status(control_planes_done(upgraded("w-1"), a_node("w-2"), a_node("w-3")))
    assert found.groups == {"control-plane": "Complete", "workers": "Progressing: 1/3 nodes upgraded"}
    assert found.summary == "Progressing: Upgrading groups [workers]"


def test_the_first_claim_is_progress() -> None:
    assert status(seen()).groups["control-plane"] == "Progressing: 0/3 nodes upgraded"


def test_several_groups_are_listed_with_spaces() -> None:
    plan = a_plan(CONTROL, *(a_group(name, selector=having("pool", name)) for name in ("a", "b")))
    nodes = [a_node("w-1", labels={"pool": "a"}), a_node("w-2", labels={"pool": "b"})]
    assert status(control_planes_done(*nodes, plan=plan)).summary == "Progressing: Upgrading groups [a b]"
    failing = [replace(node, **said(NodeStatus.ERROR)) for node in nodes]
    claims = [a_claim("w-1", group="a"), a_claim("w-2", group="b")]
    found = status(control_planes_done(*failing, plan=replace(plan, status=PlanStatus(claims=tuple(claims)))))
    assert found.summary == "Error: Some groups encountered errors [a b]"


def test_failed_nodes_are_listed_with_spaces() -> None:
    broken = [a_node(f"w-{i}", **said(NodeStatus.ERROR)) for i in (1, 2)]
    found = status(control_planes_done(*broken, a_node("w-3"), plan=a_plan(claims=map(a_claim, ("w-1", "w-2")))))
    assert found.groups["workers"] == "Error: The nodes [w-1 w-2] are reporting errors"
    assert found.summary == "Error: Some groups encountered errors [workers]"


def test_everything_proven_is_complete() -> None:
    found = status(done())
    assert (found.groups, found.summary) == ({"control-plane": "Complete", "workers": "Complete"}, "Complete")


def test_a_group_is_not_complete_while_its_last_node_soaks() -> None:
    plan = a_plan(CONTROL, replace(WORKERS, soak=HOUR), claims=[a_claim("w-1")])
    assert (
        status(control_planes_done(upgraded("w-1"), plan=plan)).groups["workers"] == "Progressing: 0/1 nodes upgraded"
    )


def test_a_group_is_not_complete_while_one_of_its_nodes_is_held_in_two_groups() -> None:
    plan = a_plan(CONTROL, WORKERS, a_group("gpu", selector=having("gpu", "yes")))
    found = status(control_planes_done(upgraded("w-1"), a_node("w-2", labels={"gpu": "yes"}), plan=plan))
    assert found.groups["workers"] == "Progressing: 1/2 nodes upgraded"
    assert found.groups["gpu"] == "Waiting"
    assert (found.nodes.total, found.nodes.completed, found.nodes.waiting) == (5, 4, 1)


VIEWS = {
    State.UNKNOWN: GroupView(),
    State.ERROR: GroupView(done=["n-1"], flying=["n-2"], failed=["n-3"]),
    State.PROGRESSING: GroupView(flying=["n-1"], waiting=["n-2"]),
    State.WAITING: GroupView(waiting=["n-1"]),
    State.COMPLETE: GroupView(done=["n-1"]),
}


@pytest.mark.parametrize("state", State)
def test_a_groups_words_begin_with_its_state(state: State) -> None:
    assert VIEWS[state].state is state
    assert VIEWS[state].words().partition(":")[0] == state


@pytest.mark.parametrize(
    ("first", "summary"),
    [
        (State.UNKNOWN, "Unknown"),
        (State.ERROR, "Error: Some groups encountered errors [Error]"),
        (State.PROGRESSING, "Progressing: Upgrading groups [Progressing]"),
        (State.WAITING, "Waiting"),
        (State.COMPLETE, "Complete"),
    ],
)
def test_the_summary_follows_upstreams_precedence(first: State, summary: str) -> None:
    """Each state, with a group in every state that comes after it."""
    states = list(State)
    later = states[states.index(first) :]
    assert summarize({str(state): VIEWS[state] for state in reversed(later)}) == summary


def test_a_plan_without_groups_is_unknown() -> None:
    assert summarize({}) == "Unknown"


# --- counts, version ----------------------------------------------------------------------------


def test_every_node_of_the_plan_is_counted_once() -> None:
    broken = a_node("w-1", **said(NodeStatus.ERROR))
    plan = a_plan(CONTROL, replace(WORKERS, max_unavailable=2, max_failures=5), claims=[a_claim("w-1")])
    counts = status(control_planes_done(broken, upgraded("w-2"), a_node("w-3"), a_node("w-4"), plan=plan)).nodes
    assert (counts.total, counts.completed, counts.in_flight, counts.failed, counts.waiting) == (7, 4, 1, 1, 1)


def test_the_version_says_from_to_and_which_hop() -> None:
    plan = a_plan(version=NEW, via=(v("v1.36.4"),))
    found = status(seen(*a_cluster(kubelet=v("v1.35.1")), plan=plan)).version
    assert found is not None
    assert (found.start, found.target, found.hop, found.hops) == (v("v1.35.1"), NEW, 1, 2)


def test_where_an_upgrade_began_is_remembered_until_the_target_changes() -> None:
    begun = after(seen())
    later = replace(begun, nodes=control_planes_done().nodes, static_pods=control_planes_done().static_pods)
    assert status(later).version.start == OLD  # type: ignore[union-attr]
    corrected = replace(later, plan=replace(later.plan, version=v("v1.37.3")))
    assert status(corrected).version.start == NEW  # type: ignore[union-attr]


# --- conditions ---------------------------------------------------------------------------------


def test_conditions_of_a_running_upgrade() -> None:
    found = status(seen())
    ready, progressing = condition(found, "Ready"), condition(found, "Progressing")
    assert (ready.status, ready.reason, ready.message) == (False, "NotComplete", found.summary)
    assert (progressing.status, progressing.reason) == (True, "Upgrading")
    assert progressing.message == "upgrading cp-1 to v1.37.2"
    assert (condition(found, "Degraded").status, condition(found, "Degraded").reason) == (False, "AsExpected")


def test_conditions_of_a_waiting_upgrade_give_the_most_frequent_reason() -> None:
    found = condition(status(seen(plan=a_plan(paused=True))), "Progressing")
    assert (found.status, found.reason, found.message) == (False, "Paused", "the plan is paused: spec.paused")


def test_conditions_of_a_complete_upgrade() -> None:
    found = status(done())
    assert (condition(found, "Ready").status, condition(found, "Ready").reason) == (True, "Complete")
    assert (condition(found, "Progressing").status, condition(found, "Progressing").reason) == (False, "Complete")


def test_an_empty_plan_has_reasons_that_the_api_server_takes() -> None:
    found = status(seen(plan=replace(a_plan(), groups=())))
    assert found.summary == "Unknown"
    for each in found.conditions:
        assert each.reason.isalnum()


def test_a_failed_node_degrades_the_plan_with_the_daemons_own_words() -> None:
    broken = a_node("w-1", **said(NodeStatus.ERROR, message="kubeadm: disk full"))
    found = condition(status(control_planes_done(broken, plan=a_plan(claims=[a_claim("w-1")]))), "Degraded")
    assert (found.status, found.reason, found.message) == (True, "NodesFailed", "w-1: kubeadm: disk full")


def test_a_refused_downgrade_degrades_the_plan_and_is_never_complete() -> None:
    found = status(done(plan=a_plan(version=v("v1.37.1"))))
    assert found.summary == "Waiting"
    assert condition(found, "Degraded").reason == "DowngradeRefused"
    assert "allowDowngrade" in condition(found, "Degraded").message


def test_guards_that_the_plan_lifts_are_named_for_as_long_as_it_does() -> None:
    unsigned = NodeConfig(allow_unsigned_ostree_images=True)
    groups = (
        CONTROL,
        replace(WORKERS, config=unsigned),
        a_group("gpu", selector=having("gpu", "yes"), config=unsigned),
    )
    found = condition(status(seen(*a_cluster(), plan=a_plan(*groups, allow_downgrade=True))), RISKY)
    assert (found.status, found.reason) == (True, "GuardsLifted")
    assert found.message == "allowDowngrade; allowUnsignedOstreeImages for workers, gpu"
    assert RISKY not in {each.type for each in status(seen(*a_cluster())).conditions}


def test_an_ordinary_wait_does_not_degrade() -> None:
    assert condition(status(seen(plan=a_plan(paused=True))), "Degraded").status is False


@pytest.mark.parametrize(
    ("selector", "labels", "message"),
    [
        (
            having(CONTROL_PLANE_LABEL, "true"),
            {},
            "group masters matches no node: label node-role.kubernetes.io/control-plane has value '', not 'true'",
        ),
        (having("pool", "a"), {"pool": "b"}, "group masters matches no node: label pool has value 'b', not 'a'"),
        (having("pool", "a"), {}, "group masters matches no node"),
        (Selector((Requirement("pool", Operator.EXISTS),)), {}, "group masters matches no node"),
        (
            Selector((Requirement("pool", Operator.NOT_IN, ("b",)), Requirement("pool", Operator.IN, ("b",)))),
            {"pool": "b"},
            "group masters matches no node",
        ),
    ],
)
def test_an_empty_group_says_which_value_its_label_has(
    selector: Selector, labels: dict[str, str], message: str
) -> None:
    nodes = replaced(a_cluster(1, 0), a_node("w-1", labels=labels))
    found = condition(status(seen(*nodes, plan=a_plan(WORKERS, a_group("masters", selector=selector)))), "Degraded")
    if found.reason == "UnmanagedControlPlane":
        nodes = [upgraded("cp-1"), *(upgraded(n.name, labels=labels) for n in nodes if n.name != "cp-1")]  # type: ignore[assignment]
        found = condition(status(seen(*nodes, plan=a_plan(WORKERS, a_group("masters", selector=selector)))), "Degraded")
    assert (found.status, found.reason, found.message) == (True, "EmptyGroup", message)


def test_a_condition_keeps_its_moment_while_its_status_does_not_change() -> None:
    first = status(seen())
    later = after(
        seen(), now=NOW + HOUR, nodes=control_planes_done().nodes, static_pods=control_planes_done().static_pods
    )
    second = status(later)
    assert condition(second, "Progressing").message != condition(first, "Progressing").message
    assert condition(second, "Progressing").last_transition == NOW
    finished = after(later, now=NOW + 2 * HOUR, nodes=done().nodes)
    assert condition(status(finished), "Progressing").last_transition == NOW + 2 * HOUR
    assert condition(status(finished), "Degraded").last_transition == NOW


def test_conditions_and_status_name_the_generation_they_are_about() -> None:
    found = status(seen(plan=a_plan(generation=7)))
    assert found.observed_generation == 7
    assert {each.observed_generation for each in found.conditions} == {7}


def test_a_status_that_says_it_all_already_is_not_written_again() -> None:
    for snapshot in (seen(), done(), seen(plan=a_plan(paused=True))):
        settled = after(snapshot)
        settled = replace(settled, now=settled.now + MINUTE)
        assert [type(a).__name__ for a in decide(settled).actions if type(a).__name__ == "PublishStatus"] == []


# --- holds --------------------------------------------------------------------------------------


def test_holds_are_summed_up_by_reason_and_sentence_the_most_frequent_first() -> None:
    budget, hold = Hold(Reason.BUDGET, "full"), Hold(Reason.NODE_HOLD, "a person")
    found = summarize_holds({"w-4": budget, "w-3": budget, "w-1": hold, "w-2": budget, "w-5": budget})
    assert [(each.reason, each.nodes, each.sample) for each in found] == [
        (Reason.BUDGET, 4, ("w-2", "w-3", "w-4")),
        (Reason.NODE_HOLD, 1, ("w-1",)),
    ]


def test_equally_frequent_holds_are_sorted_by_reason_then_sentence() -> None:
    holds = {"a": Hold(Reason.PAUSED, "y"), "b": Hold(Reason.BUDGET, "z"), "c": Hold(Reason.PAUSED, "x")}
    assert [(each.reason, each.message) for each in summarize_holds(holds)] == [
        (Reason.BUDGET, "z"), (Reason.PAUSED, "x"), (Reason.PAUSED, "y"),
    ]  # fmt: skip


def test_at_most_twenty_holds_are_published() -> None:
    assert len(summarize_holds({f"w-{i:02}": Hold(Reason.NODE_HOLD, str(i)) for i in range(30)})) == 20


def test_nodes_that_wait_for_the_same_thing_share_one_entry() -> None:
    """A sentence that names the node itself would make one entry per node."""
    plan = a_plan(CONTROL, WORKERS, a_group("gpu", selector=having("gpu", "yes")))
    for workers in (
        [a_node(f"w-{i}", ready=False) for i in range(9)],
        [a_node(f"w-{i}", kubelet=v("v1.33.0")) for i in range(9)],
        [a_node(f"w-{i}", kubelet=v("v1.39.0")) for i in range(9)],
        [a_node(f"w-{i}", kubelet=None) for i in range(9)],
        [a_node(f"w-{i}", labels={"gpu": "yes"}) for i in range(9)],
    ):
        assert [each.nodes for each in status(control_planes_done(*workers, plan=plan)).holds] == [9]


def test_durations_are_kept() -> None:
    known = PlanStatus(durations={"workers": Duration(count=3, p50=60, p90=90)})
    assert status(seen(plan=a_plan(status=known))).durations == known.durations


# --- history ------------------------------------------------------------------------------------


def test_a_finished_upgrade_is_remembered_with_its_beginning_and_end() -> None:
    waiting = after(seen(plan=a_plan(paused=True)))  # begun at NOW, as a wait
    running = after(replace(waiting, now=NOW + HOUR, plan=replace(waiting.plan, paused=False)))
    assert running.plan.status.claims
    finished = status(replace(running, now=NOW + 3 * HOUR, nodes=done().nodes, static_pods=done().static_pods))
    assert finished.history == (Run(version=NEW, started=NOW, finished=NOW + 3 * HOUR, result="Complete", nodes=6),)


def test_a_node_that_is_away_for_a_minute_after_the_end_is_no_upgrade() -> None:
    complete = after(done())
    away = after(replace(complete, nodes=replaced(complete.nodes, upgraded("w-3", ready=False))))
    assert away.plan.status.summary != "Complete"
    back = status(replace(away, nodes=done().nodes, now=NOW + MINUTE))
    assert (back.summary, back.history) == ("Complete", ())


def test_a_plan_for_what_is_there_already_is_no_upgrade() -> None:
    assert status(done()).history == ()


def test_the_last_ten_upgrades_are_kept() -> None:
    old = tuple(Run(version=OLD, started=NOW, finished=NOW, result="Complete", nodes=i) for i in range(10))
    plan = a_plan(status=PlanStatus(summary="Progressing: x", history=old, claims=(a_claim("w-1"),)))
    found = status(done(plan=plan)).history
    assert len(found) == 10
    assert [run.nodes for run in found] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 6]


def test_without_any_condition_before_an_upgrade_began_when_it_ended() -> None:
    plan = a_plan(status=PlanStatus(summary="Progressing: x", claims=(a_claim("w-1"),)))
    run = status(done(plan=plan)).history[0]
    assert run.finished - run.started == timedelta(0)
