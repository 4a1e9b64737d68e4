"""The judge accepts what keeps the bounds, and refuses every bad history in this file."""

import random
from collections.abc import Callable
from dataclasses import replace
from functools import reduce

import pytest

from kube_upgrade.lab.history import History, World
from kube_upgrade.lab.judge import Result, Rule, judge, judge_all
from kube_upgrade.model.node import NodeStatus, Order, Report
from kube_upgrade.model.plan import Percent
from support.histories import CONTROL, NEW, OLD, WORKERS, Story, begin


def finished() -> Story:
    """Two control planes and two workers, one after the other."""
    return begin("cp-1", "cp-2", "w-1", "w-2").upgrade("cp-1").upgrade("cp-2").upgrade("w-1").upgrade("w-2")


def test_a_run_that_kept_every_bound_and_proved_every_node_is_complete() -> None:
    verdict = judge(finished().history())
    assert verdict.breaches == ()
    assert verdict.result is Result.COMPLETE
    assert verdict.worst_unavailable == {"control-plane": 1, "workers": 1}


def test_the_order_of_revisions_counts_and_not_the_order_of_arrival() -> None:
    history = finished().history()
    shuffled = list(history.revisions)
    random.Random(3).shuffle(shuffled)
    assert judge(History(revisions=tuple(shuffled))) == judge(history)


def test_a_lost_watch_is_unproven_even_where_the_end_is_good() -> None:
    verdict = judge(finished().history("nodes: 410 Gone"))
    assert verdict.result is Result.UNPROVEN
    assert verdict.gaps == ("nodes: 410 Gone",)


def test_a_breach_stays_a_breach_where_the_watch_was_lost_too() -> None:
    assert judge(begin("w-1").order("w-1").history("nodes: 410 Gone")).result is Result.FAILED


def test_two_workers_at_once_are_within_a_budget_of_two() -> None:
    story = begin("w-1", "w-2").edit_plan(groups=(CONTROL, replace(WORKERS, max_unavailable=2)))
    story.claims("w-1", "w-2").order("w-1").order("w-2").reboot("w-1").reboot("w-2").done("w-1").done("w-2").claims()
    verdict = judge(story.history())
    assert (verdict.result, verdict.worst_unavailable["workers"]) == (Result.COMPLETE, 1)


def test_a_node_that_was_cordoned_before_may_stay_so() -> None:
    kept = Story()
    kept.node("w-1", unschedulable=True).add(kept.plan)
    kept.claims("w-1").order("w-1").reboot("w-1").node("w-1", report=Report(status=NodeStatus.COMPLETED)).claims()
    assert judge(kept.history()).result is Result.COMPLETE


def test_a_budget_that_shrinks_below_the_open_claims_breaks_nothing() -> None:
    wide, narrow = (CONTROL, replace(WORKERS, max_unavailable=2)), (CONTROL, WORKERS)
    story = begin("w-1", "w-2").edit_plan(groups=wide).claims("w-1", "w-2").order("w-1").order("w-2")
    story.edit_plan(groups=narrow).reboot("w-1").done("w-1").reboot("w-2").done("w-2").claims()
    assert judge(story.history()).result is Result.COMPLETE


def test_a_run_that_does_not_go_to_the_end_is_held_to_the_bounds_alone() -> None:
    half = begin("w-1", "w-2").claims("w-1").order("w-1")
    assert judge(half.history(), proven=False).result is Result.COMPLETE
    assert judge(half.order("w-2").history(), proven=False).result is Result.FAILED


def put_back(at: int) -> tuple[History, History]:
    """A whole run, cut at a revision: from there on the history is another one."""
    whole = finished().history()
    first = History(revisions=whole.revisions[:at])
    start = reduce(World.after, first.revisions, World())
    return first, History(revisions=whole.revisions[at:], start=start, before=first.baseline())


@pytest.mark.parametrize("at", range(6, len(finished().history().revisions) - 1))
def test_where_etcd_was_put_back_each_history_is_held_to_the_bounds_and_the_last_to_its_end(at: int) -> None:
    histories = put_back(at)
    assert judge_all(histories) == judge(finished().history())
    assert judge_all(histories[:1]).result is Result.FAILED, "it does not end at the target"


def test_a_breach_before_etcd_was_put_back_is_not_forgotten() -> None:
    bad = begin("w-1").order("w-1").history()
    assert judge_all([bad, finished().history()]).result is Result.FAILED


def test_a_failed_order_may_be_without_a_claim() -> None:
    story = begin("w-1").claims("w-1").order("w-1").node("w-1", report=Report(status=NodeStatus.ERROR)).claims()
    assert {breach.rule for breach in judge(story.history()).breaches} == {Rule.NODE_PROVEN}


def test_an_edited_plan_may_move_a_claim_before_it_moves_the_order() -> None:
    story = begin("w-1").claims("w-1", version=OLD).order("w-1", OLD).claims("w-1").order("w-1")
    assert judge(story.reboot("w-1").done("w-1").claims().history()).result is Result.COMPLETE


BAD: dict[str, tuple[Rule, Callable[[], Story]]] = {
    "two claims with a budget of one": (
        Rule.CLAIMS_WITHIN_BUDGET,
        lambda: finished().claims("w-1", "w-2").claims(),
    ),
    "half of three is one, and two are claimed": (
        Rule.CLAIMS_WITHIN_BUDGET,
        lambda: (
            begin("w-1", "w-2", "w-3")
            .edit_plan(groups=(CONTROL, replace(WORKERS, max_unavailable=Percent(50))))
            .claims("w-1", "w-3")
        ),
    ),
    "a claim swapped while the budget is overdrawn": (
        Rule.CLAIMS_WITHIN_BUDGET,
        lambda: (
            begin("w-1", "w-2", "w-3")
            .edit_plan(groups=(CONTROL, replace(WORKERS, max_unavailable=2)))
            .claims("w-1", "w-2")
            .edit_plan(groups=(CONTROL, WORKERS))
            .claims("w-1", "w-3")
        ),
    ),
    "a claim in a group that the plan does not have": (
        Rule.CLAIMS_WITHIN_BUDGET,
        lambda: begin("w-1").edit_plan(groups=(CONTROL,)).claims("w-1"),
    ),
    "two control planes in a group with room for two": (
        Rule.ONE_CONTROL_PLANE,
        lambda: (
            begin("cp-1", "cp-2")
            .edit_plan(groups=(replace(CONTROL, max_unavailable=2), WORKERS))
            .claims("cp-1", "cp-2")
        ),
    ),
    "an order that nobody claimed": (Rule.ORDERS_ARE_CLAIMED, lambda: begin("w-1").order("w-1")),
    "an order before its claim": (Rule.ORDERS_ARE_CLAIMED, lambda: begin("w-1").order("w-1").claims("w-1")),
    "an order to another version than the claim's": (
        Rule.ORDERS_ARE_CLAIMED,
        lambda: begin("w-1").claims("w-1", version=OLD).order("w-1"),
    ),
    "an order on a node re-created under the claimed name": (
        Rule.ORDERS_ARE_CLAIMED,
        lambda: begin("w-1").claims("w-1").node("w-1", uid="another").order("w-1"),
    ),
    "a claim released in the middle of the order": (
        Rule.ORDERS_ARE_CLAIMED,
        lambda: begin("w-1").claims("w-1").order("w-1").drain("w-1").claims(),
    ),
    "a failed node that tries again without a claim": (
        Rule.ORDERS_ARE_CLAIMED,
        lambda: (
            begin("w-1")
            .claims("w-1")
            .order("w-1")
            .node("w-1", report=Report(status=NodeStatus.ERROR))
            .claims()
            .node("w-1", report=Report(status=NodeStatus.PENDING))
        ),
    ),
    "a start while another node of the group is cordoned": (
        Rule.STARTS_WITHIN_BUDGET,
        lambda: begin("w-1", "w-2").drain("w-2").claims("w-1").order("w-1"),
    ),
    "a start while another node of the group is not Ready": (
        Rule.STARTS_WITHIN_BUDGET,
        lambda: begin("w-1", "w-2").node("w-2", ready=False).claims("w-1").order("w-1"),
    ),
    "a start while the node before is still cordoned": (
        Rule.STARTS_WITHIN_BUDGET,
        lambda: (
            begin("w-1", "w-2")
            .claims("w-1")
            .order("w-1")
            .drain("w-1")
            .reboot("w-1")
            .node("w-1", report=Report(status=NodeStatus.COMPLETED))
            .claims("w-2")
            .order("w-2")
        ),
    ),
    "a node left at the old version": (Rule.NODE_PROVEN, lambda: finished().node("w-2", kubelet=OLD)),
    "a node that says completed and never rebooted": (
        Rule.NODE_PROVEN,
        lambda: (
            begin("w-1")
            .claims("w-1")
            .order("w-1")
            .node("w-1", kubelet=NEW, report=Report(status=NodeStatus.COMPLETED))
            .claims()
        ),
    ),
    "a node that is not Ready at the end": (Rule.NODE_PROVEN, lambda: finished().node("w-1", ready=False)),
    "a node left cordoned": (Rule.NODE_PROVEN, lambda: finished().drain("w-1")),
    "a node that no group selects": (
        Rule.NODE_PROVEN,
        lambda: begin("w-1", "cp-1").edit_plan(groups=(CONTROL,)).upgrade("cp-1"),
    ),
    "a plan that was deleted on the way": (
        Rule.PLAN_THERE,
        lambda: (story := finished()).add(story.plan, deleted=True),
    ),
    "no plan at all": (Rule.PLAN_THERE, lambda: Story().node("w-1")),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_history_is_refused_with_the_rule_it_broke(name: str) -> None:
    rule, tell = BAD[name]
    verdict = judge(tell().history())
    assert verdict.result is Result.FAILED
    assert rule in {breach.rule for breach in verdict.breaches}, verdict.breaches


def test_a_breach_names_the_revision_and_the_nodes() -> None:
    story = begin("w-1", "w-2").claims("w-1", "w-2")
    assert str(judge(story.history()).breaches[0]) == (
        "ClaimsWithinBudget at revision 4: group workers claims w-1, w-2 with a budget of 1"
    )


def test_a_completed_order_needs_no_claim() -> None:
    """A node that an earlier run upgraded keeps its annotations."""
    story = begin("w-1").node("w-1", order=Order(version=OLD), report=Report(status=NodeStatus.COMPLETED))
    assert {breach.rule for breach in judge(story.history()).breaches} == {Rule.NODE_PROVEN}


def test_a_node_that_registered_without_a_boot_id_has_not_been_rebooted_by_reporting_its_first() -> None:
    story = Story().node("w-1", boot_id="").node("w-1", kubelet=NEW)
    story.add(story.plan).node("w-1", boot_id="boot-1")
    assert "w-1 has not been rebooted" in {breach.message for breach in judge(story.history()).breaches}
