"""How a run is told: the object of `-o json`, the closing table, and what makes it a failure."""

from dataclasses import replace

from kube_upgrade.lab.judge import Breach, Result, Rule, Verdict
from kube_upgrade.lab.outcome import EXIT, Outcome, no_verdict
from kube_upgrade.lab.times import NodeTimes

NODE = NodeTimes(
    name="worker-1",
    role="worker",
    version="v1.37.2",
    boot_before="a",
    boot_after="b",
    staged=1.23,
    out=7.0,
    total=None,
)
GOOD = Outcome(
    verdict=Verdict(result=Result.COMPLETE, worst_unavailable={"workers": 1}),
    seconds=61.04,
    target="v1.37.2",
    nodes=(NODE,),
    memory={"upgraded": 45.0},
)


def test_the_json_object_has_the_promised_keys() -> None:
    found = GOOD.to_json()

    assert (found["result"], found["seconds"], found["worstUnavailable"]) == ("complete", 61.0, {"workers": 1})
    assert found["nodes"] == [
        {
            "name": "worker-1",
            "role": "worker",
            "version": "v1.37.2",
            "target": "v1.37.2",
            "bootIdBefore": "a",
            "bootIdAfter": "b",
            "stagedSeconds": 1.2,
            "outSeconds": 7.0,
            "seconds": None,
        }
    ]


def test_a_missing_permission_fails_a_run_that_ended_well() -> None:
    refused = replace(GOOD, refused=("system:serviceaccount:kube-upgrade:fleetlock may not patch nodes worker-1",))

    assert (GOOD.result, EXIT[GOOD.result]) == (Result.COMPLETE, 0)
    assert (refused.result, EXIT[refused.result]) == (Result.FAILED, 1)
    assert "may not patch nodes" in refused.text()


def test_a_lost_watch_is_not_success() -> None:
    unproven = replace(GOOD, verdict=Verdict(result=Result.UNPROVEN, gaps=("/api/v1/nodes: 410 Expired",)))

    assert EXIT[unproven.result] == 3
    assert unproven.to_json()["reasons"] == ["/api/v1/nodes: 410 Expired"]


def test_an_event_that_did_not_happen_has_proven_nothing() -> None:
    missed = replace(GOOD, missed=("reboot worker-1, 90 s after the plan",))

    assert (missed.result, EXIT[missed.result]) == (Result.UNPROVEN, 3)
    assert missed.reasons == ("the rollout was over before: reboot worker-1, 90 s after the plan",)


def test_a_breach_is_told_with_its_rule_and_revision() -> None:
    breach = Breach(Rule.ONE_CONTROL_PLANE, 812, "control planes cp-1, cp-2 are claimed together")
    failed = replace(GOOD, verdict=Verdict(result=Result.FAILED, breaches=(breach,)))

    assert "OneControlPlane at revision 812: control planes cp-1, cp-2 are claimed together" in failed.text()


def test_the_closing_shows_a_dash_for_a_moment_that_never_came() -> None:
    assert GOOD.text().splitlines()[1] == "worker-1   v1.37.2   1.2 s          7.0 s            -"


def test_a_run_without_a_verdict_is_told_in_the_same_words() -> None:
    found = no_verdict("x: workers: -1 is not 0 or more\nx: to: 'one' is not a version")

    assert found["result"] == "unproven"
    assert found["reasons"] == found["error"].splitlines()
    assert set(found) & set(GOOD.to_json()) == {"result", "reasons"}
