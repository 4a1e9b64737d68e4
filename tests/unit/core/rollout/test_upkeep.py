"""What nodes are told besides orders: permission for OS updates, what to fetch ahead, nothing when no plan is left."""

from dataclasses import replace

import pytest

from kube_upgrade.core.rollout.decide import decide
from kube_upgrade.core.rollout.farewell import farewell
from kube_upgrade.core.rollout.upkeep import FETCHED_AHEAD
from kube_upgrade.model.action import ForgetNode, WithdrawOrder
from kube_upgrade.model.moment import TICK
from kube_upgrade.model.node import Node, NodeStatus
from kube_upgrade.model.node_config import NodeConfig
from kube_upgrade.model.plan import Freeze, Percent, Plan
from kube_upgrade.model.snapshot import ClusterSnapshot
from kube_upgrade.model.status import MAX_CLAIMS, Claim, Duration
from support.builders import (
    CONTROL,
    DAY,
    HOUR,
    MINUTE,
    NEW,
    NOW,
    WORKERS,
    a_claim,
    a_cluster,
    a_group,
    a_node,
    a_plan,
    a_window,
    control_planes_done,
    having,
    said,
    seen,
    upgraded,
)
from support.decisions import configured, orders

DONE = upgraded("w-1")
WINDOW = a_window("0 8 * * *", hours=2)  # opens NOW
TOMORROW = (NOW + DAY).isoformat()


# --- OS updates ---------------------------------------------------------------------------------


def test_a_quiet_cluster_may_update_its_os_for_a_day() -> None:
    assert configured(control_planes_done(DONE))["w-1"].os_updates == NOW + DAY


def test_a_permission_is_renewed_at_half_time_and_not_before() -> None:
    fresh = replace(DONE, os_updates=(NOW + DAY / 2).isoformat())
    stale = replace(DONE, os_updates=(NOW + DAY / 2 - MINUTE).isoformat())
    assert "w-1" not in configured(control_planes_done(fresh))
    assert configured(control_planes_done(stale))["w-1"].os_updates == NOW + DAY


def test_a_permission_ends_with_the_window_and_before_the_next_freeze() -> None:
    window = a_plan(windows=(a_window("0 6 * * *", hours=4),))
    freeze = a_plan(freezes=(Freeze(since=NOW + HOUR, until=NOW + DAY),))
    assert configured(control_planes_done(DONE, plan=window))["w-1"].os_updates == NOW + 2 * HOUR
    assert configured(control_planes_done(DONE, plan=freeze))["w-1"].os_updates == NOW + HOUR


def test_a_permission_is_shortened_where_a_freeze_or_a_window_was_added_since() -> None:
    allowed = replace(DONE, os_updates=TOMORROW)
    for plan in (
        a_plan(freezes=(Freeze(since=NOW + HOUR, until=NOW + DAY),)),
        a_plan(windows=(a_window("0 6 * * *", hours=3),)),
    ):
        assert configured(control_planes_done(allowed, plan=plan))["w-1"].os_updates == NOW + HOUR


@pytest.mark.parametrize(
    "plan",
    [
        a_plan(paused=True),
        a_plan(CONTROL, replace(WORKERS, paused=True)),
        a_plan(windows=(a_window("0 2 * * *", hours=1),)),
        a_plan(freezes=(Freeze(since=NOW - HOUR, until=NOW + HOUR),)),
    ],
    ids=["plan paused", "group paused", "outside every window", "freeze"],
)
def test_a_permission_is_taken_back_where_nothing_may_start(plan: Plan) -> None:
    allowed = replace(DONE, os_updates=TOMORROW)
    assert configured(control_planes_done(allowed, plan=plan))["w-1"].os_updates == "no"
    never = control_planes_done(DONE, plan=plan)
    assert "w-1" not in configured(never), "absent means no: nothing to write"


def test_a_held_node_may_not_update_its_os() -> None:
    assert configured(control_planes_done(replace(DONE, os_updates=TOMORROW, hold="x")))["w-1"].os_updates == "no"


@pytest.mark.parametrize("paused", [False, True])
@pytest.mark.parametrize("hold", [None, "x"])
def test_a_node_in_several_groups_may_not_update_its_os(paused: bool, hold: str | None) -> None:
    """It must not be touched, so what it was given before is taken back; its settings stay as they are."""
    plan = a_plan(CONTROL, WORKERS, a_group("gpu", selector=having("gpu", "yes")), paused=paused)
    torn = replace(DONE, labels={"gpu": "yes"}, os_updates=TOMORROW, config={"stream": "x"}, hold=hold)
    told = configured(control_planes_done(torn, plan=plan))["w-1"]
    assert (told.os_updates, told.config, told.stage, told.unstage) == ("no", {}, None, False)
    ended = replace(torn, os_updates=NOW.isoformat())
    assert "w-1" not in configured(control_planes_done(ended, plan=plan)), "nothing left to take back"


def test_while_nodes_are_on_their_way_no_permission_is_given() -> None:
    """The lock's slots are the upgrade's."""
    snapshot = control_planes_done(a_node("w-2", **said()), DONE, plan=a_plan(claims=[a_claim("w-2")]))
    assert "w-1" not in configured(snapshot)


@pytest.mark.parametrize(("before", "told"), [(None, None), (TOMORROW, "no")])
def test_a_failed_node_may_not_update_its_own_os(before: str | None, told: str | None) -> None:
    """Its order is still open: it tries anew, or a person looks at it."""
    broken = a_node("w-2", os_updates=before, **said(NodeStatus.ERROR))
    found = configured(control_planes_done(broken, DONE, plan=a_plan(claims=[a_claim("w-2")])))
    assert (found["w-2"].os_updates if "w-2" in found else None) == told


def test_a_failed_node_does_not_keep_the_others_from_updating() -> None:
    broken = a_node("w-2", **said(NodeStatus.ERROR))
    snapshot = control_planes_done(broken, DONE, plan=a_plan(claims=[a_claim("w-2")]))
    assert configured(snapshot)["w-1"].os_updates == NOW + DAY


# --- fetching ahead -----------------------------------------------------------------------------


def fetching(snapshot: ClusterSnapshot) -> list[str]:
    return sorted(name for name, each in configured(snapshot).items() if each.stage == NEW)


def test_the_next_of_each_group_fetches_the_image_before_its_turn() -> None:
    assert fetching(seen()) == ["cp-2", "w-1"]


def test_at_most_ten_of_a_group_fetch_ahead() -> None:
    plan = a_plan(CONTROL, replace(WORKERS, max_unavailable=Percent(100)))
    ahead = [name for name in fetching(seen(*a_cluster(3, 30), plan=plan)) if name.startswith("w-")]
    assert len(ahead) == FETCHED_AHEAD


def test_nobody_fetches_for_a_paused_plan_or_while_held() -> None:
    assert fetching(seen(plan=a_plan(paused=True))) == []
    nodes = (*a_cluster(3, 0), a_node("w-1", hold="x"), a_node("w-2"))
    assert fetching(seen(*nodes)) == ["cp-2", "w-2"]


def test_a_fetch_is_called_off_when_it_is_not_wanted_any_more() -> None:
    fetched = a_node("w-1", stage=NEW)
    assert configured(seen(*a_cluster(3, 0), fetched, plan=a_plan(paused=True)))["w-1"].unstage


def test_a_node_that_fetches_already_costs_no_write() -> None:
    assert "w-1" not in configured(seen(*a_cluster(3, 0), a_node("w-1", stage=NEW)))


def test_a_node_past_the_thousandth_claim_gets_its_settings_with_its_order() -> None:
    """It can do nothing before that; a patch more for each of thousands of nodes would only slow the rollout."""
    plan = a_plan(CONTROL, replace(WORKERS, max_unavailable=Percent(100), config=NodeConfig(stream="x/os")))
    workers = [a_node(f"w-{i:04}") for i in range(MAX_CLAIMS + FETCHED_AHEAD + 1)]
    ahead = [node.name for node in workers[MAX_CLAIMS:-1]]
    first, told = control_planes_done(*workers, plan=plan), {node.name: node for node in workers}

    assert [name for name in configured(first) if name in told] == ahead
    assert all(each.config == {"stream": "x/os"} for each in configured(first).values())
    assert orders(first)["w-0000"].config == {"stream": "x/os"}

    allowed = replace(told["w-1010"], os_updates=TOMORROW)
    assert configured(control_planes_done(*workers[:-1], allowed, plan=plan))["w-1010"].config == {"stream": "x/os"}


# --- no plan ------------------------------------------------------------------------------------


def test_without_a_plan_a_waiting_order_is_taken_back_first() -> None:
    (action,) = farewell([a_node("w-1", **said())], NOW)
    assert isinstance(action, WithdrawOrder)
    assert action.reason == "the plan was deleted"


def test_without_a_plan_each_withdrawal_changes_the_node_whatever_the_clock_says() -> None:
    """A paused leader's order must find another resourceVersion, also where its clock was ahead (ADR 2)."""
    for withdrawn, at in ((NOW + HOUR, NOW + HOUR + TICK), (NOW, NOW + TICK), (NOW - HOUR, NOW), (None, NOW)):
        (action,) = farewell([a_node("w-1", withdrawn=withdrawn, **said())], NOW)
        assert isinstance(action, WithdrawOrder)
        assert action.at == at


@pytest.mark.parametrize("status", [NodeStatus.UPGRADING, NodeStatus.REBASING])
def test_without_a_plan_a_node_in_flight_finishes(status: NodeStatus) -> None:
    assert farewell([a_node("w-1", **said(status))], NOW) == []


def test_without_a_plan_a_node_forgets_what_it_was_told() -> None:
    told = upgraded("w-1", config={"stream": "x"}, os_updates=TOMORROW)
    assert farewell([told, a_node("w-2")], NOW) == [
        ForgetNode(node="w-1", resource_version=told.resource_version, config=("stream",))
    ]


def test_a_node_that_no_group_selects_any_more_forgets_too() -> None:
    stranger = a_node("other-1", config={"stream": "x"}, labels={"pool": "other"})
    plan = a_plan(CONTROL)
    found = [
        each for each in decide(seen(*a_cluster(3, 0), stranger, plan=plan)).actions if isinstance(each, ForgetNode)
    ]
    assert [each.node for each in found] == ["other-1"]


# --- windows and what was learned ---------------------------------------------------------------


def with_durations(plan: Plan, seconds: float) -> Plan:
    status = replace(plan.status, durations={"workers": Duration(count=9, p50=seconds, p90=seconds)})
    return replace(plan, status=status)


def test_a_node_that_would_not_end_inside_the_window_is_not_started() -> None:
    plan = a_plan(windows=(a_window("0 6 * * *", hours=2.1),))  # six minutes are left
    claimed = decide(control_planes_done(plan=with_durations(plan, 300))).status.claims
    too_long = decide(control_planes_done(plan=with_durations(plan, 400)))
    assert [claim.node for claim in claimed] == ["w-1"]
    assert too_long.status.claims == ()
    assert too_long.holds["w-1"].message == "nodes of workers take 400 s, longer than is left until 08:06 UTC"


def test_while_the_window_runs_out_the_reason_stays_word_for_word() -> None:
    """A status is written only when something changed: seconds that are left would change it at each look."""
    plan = with_durations(a_plan(windows=(a_window("0 6 * * *", hours=2.1),)), 400)
    first, later = (control_planes_done(plan=plan, now=NOW + MINUTE * n) for n in range(2))
    assert decide(first).status.holds == decide(later).status.holds


def test_an_order_must_begin_early_enough_to_end_inside_the_window() -> None:
    plan = a_plan(windows=(a_window("0 6 * * *", hours=2.1),), claims=[a_claim("w-1")])
    snapshot = control_planes_done(a_node("w-1"), plan=with_durations(plan, 300))
    assert orders(snapshot)["w-1"].start_before == NOW + MINUTE


def test_what_a_node_took_is_learned_when_its_claim_ends() -> None:
    """From kubeadm's start: it may have waited for hours for its turn at the lock."""
    claim: Claim = a_claim("w-1", since=NOW - DAY, started_at=NOW - 4 * MINUTE)
    status = decide(control_planes_done(DONE, plan=a_plan(claims=[claim]))).status
    assert status.claims == ()
    assert status.durations["workers"].p90 == 240


@pytest.mark.parametrize(
    "claim",
    [
        a_claim("w-1"),
        a_claim("w-1", started_at=NOW - MINUTE, untimed=True),
        a_claim("w-1", since=NOW - DAY, started_at=NOW - 45 * MINUTE),
        a_claim("w-1", started_at=NOW + MINUTE),
    ],
    ids=["never seen to begin", "failed or ill meanwhile", "past its deadline", "begun by a clock that is ahead"],
)
def test_a_time_that_is_not_a_nodes_usual_one_is_not_learned(claim: Claim) -> None:
    status = decide(control_planes_done(DONE, plan=a_plan(claims=[claim]))).status
    assert (status.claims, status.durations) == ((), {})


@pytest.mark.parametrize(
    ("node", "claim"),
    [
        (a_node("w-1", **said(NodeStatus.ERROR)), a_claim("w-1", started_at=NOW - MINUTE)),
        (upgraded("w-1", ready=False), a_claim("w-1", started_at=NOW - 2 * MINUTE, proven_at=NOW - MINUTE)),
        (upgraded("w-1", ready=False), a_claim("w-1")),
        (a_node("w-1", **said(NodeStatus.REBASING)), a_claim("w-1")),
        (a_node("w-1", **said(NodeStatus.UPGRADING)), a_claim("w-1", since=NOW - DAY, started_at=NOW - HOUR)),
    ],
    ids=["failed", "ill in its soak", "first seen at its end", "first seen after kubeadm", "past its deadline"],
)
def test_what_spoils_a_nodes_time_is_remembered_in_its_claim(node: Node, claim: Claim) -> None:
    (kept,) = decide(control_planes_done(node, plan=a_plan(claims=[claim]))).status.claims
    assert kept.untimed


@pytest.mark.parametrize("status", [NodeStatus.UPGRADING, NodeStatus.REBASING])
def test_the_time_of_work_that_was_under_way_before_anybody_claimed_it_is_not_learned(status: NodeStatus) -> None:
    """Its claim sees only the rest of it: too short a time would start others too late in a window."""
    busy = decide(control_planes_done(a_node("w-1", **said(status)))).status
    under_way = control_planes_done(a_node("w-1", **said(status)), plan=a_plan(status=busy), now=NOW + MINUTE)
    done = control_planes_done(DONE, plan=a_plan(status=decide(under_way).status), now=NOW + 2 * MINUTE)
    ended = decide(done).status
    assert (ended.claims, ended.durations) == ((), {})


def test_a_long_estimate_never_stops_a_group_for_ever() -> None:
    """Else nothing starts, nothing is learned, and it stays so: the first quarter of each window is for one node."""
    plan = with_durations(a_plan(CONTROL, replace(WORKERS, max_unavailable=3), windows=(WINDOW,)), 9000)
    for minutes, started in ((0, ["w-1"]), (29, ["w-1"]), (30, []), (119, [])):
        decision = decide(control_planes_done(plan=plan, now=NOW + minutes * MINUTE))
        assert [claim.node for claim in decision.status.claims] == started
        assert decision.holds["w-3"].message == (
            "nodes of workers take 9000 s, longer than is left until 10:00 UTC; one at a time may begin in a window's "
            "first quarter"
        )
    nearly = with_durations(plan, 7190)
    assert len(decide(control_planes_done(plan=nearly)).status.claims) == 3, "as before: they would be done in time"
    assert len(decide(control_planes_done(plan=nearly, now=NOW + MINUTE)).status.claims) == 1


def test_the_first_quarter_is_for_nobody_else_while_one_is_on_its_way_and_a_failed_one_does_not_count() -> None:
    group = replace(WORKERS, max_unavailable=3, max_failures=3)
    plan = with_durations(a_plan(CONTROL, group, windows=(WINDOW,), claims=[a_claim("w-1")]), 9000)
    flying = control_planes_done(a_node("w-1", **said(start_before=NOW)), a_node("w-2"), plan=plan)
    broken = control_planes_done(a_node("w-1", **said(NodeStatus.ERROR)), a_node("w-2"), plan=plan)
    assert [claim.node for claim in decide(flying).status.claims] == ["w-1"]
    assert [claim.node for claim in decide(broken).status.claims] == ["w-1", "w-2"]


def test_a_node_with_a_long_estimate_may_begin_in_the_windows_first_quarter() -> None:
    """An order that must begin at once would be too late after any drain."""
    plan = a_plan(windows=(WINDOW,), claims=[a_claim("w-1")])
    for seconds in (7200, 9000):
        snapshot = control_planes_done(a_node("w-1"), plan=with_durations(plan, seconds))
        assert orders(snapshot)["w-1"].start_before == NOW + HOUR / 2


def test_the_first_quarter_gives_no_time_to_those_that_must_begin_before_it_ends() -> None:
    """Many may be ordered until then; at its end all of them could begin, and run past the window."""
    plan = with_durations(a_plan(CONTROL, replace(WORKERS, max_unavailable=3), windows=(WINDOW,)), 6600)
    given = orders(control_planes_done(plan=plan))
    assert {name: order.start_before for name, order in given.items()} == dict.fromkeys(
        ("w-1", "w-2", "w-3"), NOW + 10 * MINUTE
    )


def test_no_node_begins_where_a_freeze_cuts_the_window_short() -> None:
    plan = a_plan(windows=(WINDOW,), freezes=(Freeze(since=NOW + 5 * MINUTE, until=NOW + DAY),))
    decision = decide(control_planes_done(plan=with_durations(plan, 9000)))
    assert decision.status.claims == ()
    assert decision.holds["w-1"].message == "nodes of workers take 9000 s, longer than is left until 08:05 UTC"
