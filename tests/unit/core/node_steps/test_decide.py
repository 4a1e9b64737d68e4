"""Each rule by which a node takes its next step, from one look at it."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from kube_upgrade.core.node_steps.decide import decide
from kube_upgrade.core.node_steps.verify import look
from kube_upgrade.model.host import (
    Facts,
    GoalKind,
    Health,
    HostRules,
    Job,
    Kubeadm,
    KubeadmRun,
    LockFact,
    RebootFact,
    Streak,
    Try,
    Verification,
)
from kube_upgrade.model.node import KubeadmRole, NodeStatus, Order, Report
from kube_upgrade.model.os import OsStatus
from kube_upgrade.model.step import (
    AcceptRetry,
    AwaitKubeadm,
    CleanUp,
    Failed,
    Idle,
    LockStaged,
    MarkBad,
    PullImages,
    Reboot,
    ReleaseLock,
    ReportCompleted,
    ResolveImage,
    RunKubeadm,
    SnapshotEtcd,
    StageImage,
    Step,
    TakeLock,
    Wait,
)
from support.builders import NEW, NOW, OLD, v
from support.host_views import (
    CONFIG,
    GRANTED,
    HOUR,
    KUBEADM,
    MINUTE,
    NEW_DIGEST,
    RAN,
    REPOSITORY,
    RUNNING_NEW,
    RUNNING_OLD,
    SECOND,
    STAGED,
    UNLOCKED,
    a_node,
    a_pod,
    deployment,
    facts,
    fell_back,
    held,
    rebooted,
    seen,
    staged,
    static_pods,
    upgraded,
)

CHECKED = Facts(os_checked=NOW)  # no OS update is due
COMPLETED = Report(status=NodeStatus.COMPLETED)
APPLY = Order(version=NEW, kubeadm=KubeadmRole.APPLY)


def said(step: Step) -> str:
    """The reason of a wait or a failure."""
    assert isinstance(step, Wait | Failed), step
    return step.reason


class TestTheWay:
    def test_no_order_no_step(self) -> None:
        assert isinstance(decide(seen(node=a_node(order=None), facts=CHECKED)), Idle)

    def test_a_completed_order_is_no_order(self) -> None:
        assert isinstance(decide(seen(RUNNING_NEW, node=a_node(kubelet=NEW, report=COMPLETED), facts=CHECKED)), Idle)

    def test_the_tag_becomes_a_digest(self) -> None:
        assert decide(seen()) == ResolveImage(reference=f"{REPOSITORY}:v1.37.2")

    def test_the_digest_is_staged_in_service(self) -> None:
        wanted = StageImage(reference=f"{REPOSITORY}:v1.37.2", digest=NEW_DIGEST, unsigned=False)
        assert decide(seen(facts=facts())) == wanted

    def test_another_transaction_is_waited_for(self) -> None:
        busy = OsStatus(deployments=(RUNNING_OLD,), transaction="upgrade")
        assert said(decide(seen(facts=facts(), os=busy))) == "OsBusy"

    def test_the_lock_is_taken_only_when_staged(self) -> None:
        assert decide(staged()) == TakeLock(url="http://lock", group="g")

    def test_kubeadm_runs_with_the_lock_and_without_pods(self) -> None:
        assert decide(held()) == RunKubeadm(role=KubeadmRole.NODE, version=NEW, kubeadm=KUBEADM)

    def test_the_reboot_follows_kubeadm(self) -> None:
        assert decide(upgraded()) == Reboot(digest=NEW_DIGEST, allow_unlocked=False)

    def test_completed_is_reported_when_proven(self) -> None:
        assert decide(rebooted()) == ReportCompleted()

    def test_the_lock_goes_back_after_the_report(self) -> None:
        step = decide(rebooted(node=a_node(kubelet=NEW, report=COMPLETED)))
        assert step == ReleaseLock(url="http://lock", group="g", proven=True)

    def test_a_node_already_there_is_only_verified(self) -> None:
        there = seen(RUNNING_NEW, node=a_node(kubelet=NEW), streak=Streak(since=NOW - MINUTE, last=NOW + SECOND))
        assert decide(there) == ReportCompleted()

    def test_the_next_order_does_not_get_the_last_ones_completed(self) -> None:
        """The controller may order the next hop between our report and the release."""
        ahead = a_node(kubelet=NEW, order=Order(version=v("v1.38.1"), kubeadm=KubeadmRole.NODE))
        assert decide(rebooted(node=ahead)) == ReleaseLock(url="http://lock", group="g", proven=True)


class TestIdentity:
    def test_an_unknown_node_is_waited_for(self) -> None:
        assert said(decide(replace(held(), node=None))) == "ApiAway"

    def test_another_machines_node_is_left_alone(self) -> None:
        assert said(decide(held(node=a_node(machine_id="0" * 32)))) == "WrongNode"

    def test_a_dashed_machine_id_is_the_same_machine(self) -> None:
        dashed = "dfd7882a-cda6-4c34-aca7-6193c46f5d4e"
        assert isinstance(decide(held(node=a_node(machine_id=dashed))), RunKubeadm)

    def test_an_unreadable_host_is_waited_for(self) -> None:
        assert said(decide(replace(held(), os=None, os_problem="NotFound: no rpm-ostree"))) == "HostUnreadable"


class TestLock:
    def test_a_refusal_is_waited_out(self) -> None:
        lock = LockFact(asked=NOW, url="http://lock", group="g", answer="all_slots_full: by w-2", again=NOW + MINUTE)
        step = decide(staged(facts=facts(lock=lock)))
        assert step == Wait(reason="LockBusy", message="all_slots_full: by w-2", until=NOW + MINUTE)
        assert isinstance(decide(staged(facts=facts(lock=lock), now=NOW + MINUTE)), TakeLock)

    def test_another_server_means_to_give_the_first_its_slot_back(self) -> None:
        lock = LockFact(asked=NOW, url="http://first", group="g")
        assert decide(staged(facts=facts(lock=lock))) == ReleaseLock(
            url="http://first", group="g", proven=False, message="asked under another URL or group"
        )

    def test_a_held_lock_stays_with_its_server_whatever_the_config_says(self) -> None:
        elsewhere = replace(CONFIG, fleetlock_url="http://other")
        step = decide(rebooted(config=elsewhere, node=a_node(kubelet=NEW, report=COMPLETED)))
        assert step == ReleaseLock(url="http://lock", group="g", proven=True)

    @pytest.mark.parametrize("before_reboot", [False, True])
    @pytest.mark.parametrize(
        "change", [{"now": NOW + 11 * MINUTE}, {"now": NOW - SECOND}, {"boot_id": "boot-2"}, {"node": a_node(uid="u2")}]
    )
    def test_an_old_yes_is_asked_for_again_before_what_cannot_be_taken_back(
        self, change: dict[str, Any], before_reboot: bool
    ) -> None:
        """The server frees the slot of a node whose object is gone; this node may have slept for days meanwhile."""
        view = replace(upgraded() if before_reboot else held(), **change)
        assert decide(view) == TakeLock(url="http://lock", group="g")

    def test_a_yes_of_this_boot_and_node_is_believed_for_ten_minutes(self) -> None:
        assert isinstance(decide(held(now=NOW + 10 * MINUTE)), RunKubeadm)
        assert isinstance(decide(upgraded(now=NOW + 10 * MINUTE)), Reboot)

    def test_a_refused_confirmation_stops_the_reboot_until_the_server_says_yes(self) -> None:
        lock = replace(GRANTED, confirmed=None, answer="all_slots_full: by w-2", again=NOW + MINUTE)
        view = upgraded(facts=facts(lock=lock, kubeadm=RAN))
        assert said(decide(view)) == "LockBusy"
        assert isinstance(decide(replace(view, now=NOW + MINUTE)), TakeLock)

    def test_an_image_whose_reboot_did_not_come_is_locked_while_the_server_says_no(self) -> None:
        lock = replace(GRANTED, confirmed=None, answer="all_slots_full: by w-2", again=NOW + 2 * HOUR)
        asked = RebootFact(digest=NEW_DIGEST, boot_id="boot-1", asked=NOW)
        view = seen(UNLOCKED, RUNNING_OLD, facts=facts(lock=lock, kubeadm=RAN, reboot=asked), now=NOW + HOUR)
        assert decide(view) == LockStaged()

    def test_kubeadms_own_remedy_and_what_follows_the_reboot_need_no_new_yes(self) -> None:
        failed = facts(lock=GRANTED, kubeadm=replace(RAN, code=1))
        assert isinstance(decide(held(facts=failed, now=NOW + HOUR)), RunKubeadm)
        assert decide(rebooted()) == ReportCompleted()

    def test_without_a_server_the_node_says_so(self) -> None:
        assert said(decide(staged(config=replace(CONFIG, fleetlock_url=None)))) == "NoLockServer"

    def test_a_lock_without_a_staged_image_goes_back(self) -> None:
        assert isinstance(decide(seen(facts=facts(lock=GRANTED))), ReleaseLock)

    def test_lost_facts_do_not_release_a_node_that_may_be_half_way(self) -> None:
        assert isinstance(decide(seen(facts=Facts(lock=LockFact(asked=NOW)))), ResolveImage)

    def test_lost_facts_without_an_order_release_to_be_sure(self) -> None:
        lost = Facts(lock=LockFact(asked=NOW), os_checked=NOW)
        assert decide(seen(node=a_node(order=None), facts=lost)) == ReleaseLock(
            url="http://lock", group="g", proven=False
        )

    def test_a_failing_release_is_tried_for_ever_with_pauses(self) -> None:
        tried = {"release": Try(count=50, last=NOW, reason="unreachable", message="no answer")}
        view = rebooted(node=a_node(kubelet=NEW, report=COMPLETED))
        step = decide(replace(view, facts=replace(view.facts, tries=tried)))
        assert said(step) == "unreachable"
        later = replace(view, facts=replace(view.facts, tries=tried), now=NOW + 3 * HOUR)
        streak = Streak(since=NOW, last=later.now)
        assert isinstance(decide(replace(later, streak=streak)), ReleaseLock)

    @pytest.mark.parametrize(("failures", "seconds"), [(1, 4), (50, 60)])
    def test_a_lock_server_that_comes_back_is_not_kept_waiting(self, failures: int, seconds: float) -> None:
        """It may have been rebooted with this very node; whatever retryInterval says, a slot stops others."""
        tried = {"release": Try(count=failures, last=NOW, reason="unreachable", message="no answer")}
        view = rebooted(node=a_node(kubelet=NEW, report=COMPLETED))
        step = decide(replace(view, facts=replace(view.facts, tries=tried)))
        assert isinstance(step, Wait)
        assert step.until is not None
        assert timedelta(0) < step.until - NOW <= timedelta(seconds=seconds)


class TestPods:
    def test_other_peoples_pods_are_waited_for(self) -> None:
        assert said(decide(held(pods=(a_pod(),)))) == "PodsRemain"

    @pytest.mark.parametrize("change", [{"mirror": True}, {"phase": "Succeeded"}, {"owner": ("DaemonSet", "net")}])
    def test_what_no_drain_moves_is_not_waited_for(self, change: dict[str, Any]) -> None:
        assert isinstance(decide(held(pods=(a_pod(**change),))), RunKubeadm)

    def test_unknown_pods_are_not_gone(self) -> None:
        assert said(decide(held(pods=None))) == "ApiAway"

    def test_no_other_node_lets_them_stay(self) -> None:
        alone = replace(GRANTED, no_other_node=True)
        assert isinstance(decide(held(pods=(a_pod(),), facts=facts(lock=alone))), RunKubeadm)

    def test_drain_none_lets_them_stay(self) -> None:
        assert isinstance(decide(held(pods=(a_pod(),), rules=HostRules(wait_for_pods=False))), RunKubeadm)

    def test_pods_that_came_back_stop_the_reboot(self) -> None:
        assert said(decide(upgraded(pods=(a_pod(),)))) == "PodsRemain"

    def test_where_they_stay_the_server_is_asked_to_drain_again(self) -> None:
        assert isinstance(decide(held(pods=(a_pod(),), now=NOW + 2 * MINUTE)), TakeLock)


class TestKubeadm:
    def test_a_worker_never_applies(self) -> None:
        assert said(decide(staged(node=a_node(order=APPLY)))) == "ApplyOnWorker"

    def test_a_refused_worker_gives_its_lock_back_first(self) -> None:
        assert isinstance(decide(held(node=a_node(order=APPLY))), ReleaseLock)

    def test_node_waits_for_the_clusters_configuration(self) -> None:
        assert said(decide(staged(cluster_version=OLD))) == "ClusterBehind"

    def test_the_cluster_must_answer_right_before(self) -> None:
        assert said(decide(held(cluster_version=None))) == "ApiAway"
        assert said(decide(held(api_reachable=False))) == "ApiAway"

    def test_only_a_kubeadm_of_the_target_is_run(self) -> None:
        other = (Kubeadm(path="/usr/bin/kubeadm", version=OLD),)
        assert said(decide(staged(kubeadms=other))) == "KubeadmVersion"

    @pytest.mark.parametrize(
        ("cluster", "target", "role", "passes"),
        [
            ("v1.36.3", "v1.37.2", None, True),
            ("v1.37.1", "v1.37.2", None, True),
            ("v1.35.3", "v1.37.2", None, False),
            ("v1.37.3", "v1.37.2", None, False),
            ("v1.37.3", "v1.37.2", KubeadmRole.APPLY, True),
            ("v1.38.0", "v1.37.2", KubeadmRole.APPLY, True),
            ("v1.39.0", "v1.37.2", KubeadmRole.APPLY, False),
            ("v1.35.3", "v1.37.2", KubeadmRole.APPLY, False),
        ],
    )
    def test_apply_goes_one_minor_up_and_down_only_when_ordered(
        self, cluster: str, target: str, role: KubeadmRole | None, passes: bool
    ) -> None:
        order = Order(version=v(target), kubeadm=role)
        ready = facts(images_for=NEW)
        view = staged(
            control_plane=True, cluster_version=v(cluster), node=a_node(order=order), facts=ready, manifests={"a": OLD}
        )
        step = decide(view)
        assert isinstance(step, TakeLock) if passes else said(step) == "VersionPath"

    def test_upstreams_order_applies_where_the_configuration_differs(self) -> None:
        view = held(
            control_plane=True,
            cluster_version=OLD,
            node=a_node(order=Order(version=NEW)),
            facts=facts(lock=GRANTED, images_for=NEW, etcd_for=NEW),
        )
        assert decide(view) == RunKubeadm(role=KubeadmRole.APPLY, version=NEW, kubeadm=KUBEADM)

    @pytest.mark.parametrize(("role", "again"), [(KubeadmRole.APPLY, "apply"), (KubeadmRole.NODE, "node")])
    def test_upstreams_order_repeats_an_apply_that_did_not_end(self, role: KubeadmRole, again: str) -> None:
        """The configuration is at the target already, but apply has more to do than that."""
        run = KubeadmRun(version=NEW, role=role, started=NOW)
        view = held(
            control_plane=True,
            node=a_node(order=Order(version=NEW)),
            facts=facts(lock=GRANTED, images_for=NEW, kubeadm=run),
        )
        step = decide(view)
        assert isinstance(step, RunKubeadm)
        assert step.role == again

    def test_a_run_whose_end_nobody_saw_is_run_again(self) -> None:
        started = KubeadmRun(version=NEW, role=KubeadmRole.NODE, started=NOW)
        assert isinstance(decide(held(facts=facts(lock=GRANTED, kubeadm=started))), RunKubeadm)

    def test_one_that_still_runs_is_waited_for_before_anything_else(self) -> None:
        """Whatever is wanted by now, and whether anything else can be looked at."""
        job = Job(key="an earlier one", running=True)
        awaited = AwaitKubeadm(key="an earlier one")
        assert decide(held(kubeadm_job=job)) == awaited
        assert decide(replace(held(kubeadm_job=job), node=None)) == awaited
        assert decide(held(kubeadm_job=job, node=a_node(order=None))) == awaited

    def test_an_end_that_nobody_saw_is_taken_down_once_and_only_for_its_own_run(self) -> None:
        started = KubeadmRun(version=NEW, role=KubeadmRole.NODE, started=NOW)
        unseen = facts(lock=GRANTED, kubeadm=started)
        assert decide(held(facts=unseen, kubeadm_job=Job(key=started.key, running=False, code=0))) == AwaitKubeadm(
            key=started.key
        )
        assert isinstance(decide(held(facts=unseen, kubeadm_job=Job(key="older", running=False, code=0))), RunKubeadm)
        gone = Job(key=started.key, running=False)  # no exit code: killed, or the host went down
        assert isinstance(decide(held(facts=unseen, kubeadm_job=gone)), RunKubeadm)
        taken_down = Job(key=RAN.key, running=False, code=0)
        assert isinstance(decide(upgraded(kubeadm_job=taken_down)), Reboot)

    def test_images_come_before_the_lock_on_a_control_plane(self) -> None:
        assert decide(staged(control_plane=True)) == PullImages(version=NEW, kubeadm=KUBEADM)

    def test_etcd_is_saved_before_apply(self) -> None:
        view = held(
            control_plane=True,
            cluster_version=OLD,
            node=a_node(order=APPLY),
            facts=facts(lock=GRANTED, images_for=NEW),
        )
        assert decide(view) == SnapshotEtcd(version=NEW)

    def test_a_kubelet_that_is_not_local_is_not_rebooted_into_a_new_minor(self) -> None:
        view = upgraded(
            control_plane=True,
            kubelet_server="https://vip:6443",
            kubelet_server_local=False,
            facts=facts(lock=GRANTED, kubeadm=RAN, images_for=NEW),
        )
        step = decide(view)
        assert said(step) == "KubeletNotLocal"
        assert "lock and cordon are kept" in getattr(step, "message", "")
        assert isinstance(decide(replace(view, node=a_node(kubelet=v("v1.37.1")))), Reboot)


class TestFailure:
    TIRED = Try(count=5, last=NOW, reason="Preflight", message="CreateJob")

    def test_a_failure_is_tried_again_after_a_pause(self) -> None:
        once = facts(lock=GRANTED, tries={"kubeadm": replace(self.TIRED, count=1)})
        assert said(decide(held(facts=once))) == "Preflight"
        assert isinstance(decide(held(facts=once, now=NOW + 10 * MINUTE)), RunKubeadm)

    def test_pauses_grow(self) -> None:
        ends = []
        for count in (1, 2, 3, 4):
            step = decide(held(facts=facts(lock=GRANTED, tries={"kubeadm": replace(self.TIRED, count=count)})))
            assert isinstance(step, Wait)
            assert step.until is not None
            ends.append(step.until)
        assert ends == sorted(ends)
        assert ends[0] >= NOW + MINUTE

    def test_before_step_three_the_lock_goes_back_and_then_the_error_stands(self) -> None:
        tired = {"etcd": self.TIRED}
        view = held(control_plane=True, cluster_version=OLD, node=a_node(order=APPLY))
        locked = replace(view, facts=facts(lock=GRANTED, images_for=NEW, tries=tired))
        assert isinstance(decide(locked), ReleaseLock)

    def test_an_error_in_service_holds_no_lock(self) -> None:
        assert said(decide(seen(facts=facts(tries={"stage": self.TIRED})))) == "Preflight"

    def test_from_step_three_on_the_lock_is_kept(self) -> None:
        run = replace(RAN, code=1)
        step = decide(held(facts=facts(lock=GRANTED, kubeadm=run, tries={"kubeadm": self.TIRED})))
        assert isinstance(step, Failed)
        assert "lock and cordon are kept" in step.message

    def test_a_lock_that_nobody_said_yes_to_is_not_said_to_be_kept(self) -> None:
        """As on a node whose daemon starts for the first time, or lost its state file."""
        unknown = Facts(lock=LockFact(asked=NOW, touched=True))
        step = decide(seen(facts=unknown, rules=HostRules(allowed_streams=("quay.io/mine",))))
        assert isinstance(step, Failed)
        assert step.message.endswith("quay.io/mine (a lock may be held)")

    def test_a_retry_request_counts_once(self) -> None:
        tired = facts(tries={"stage": self.TIRED})
        asked = a_node(retry="2026-11-24T09:00:00Z")
        assert decide(seen(node=asked, facts=tired)) == AcceptRetry(request="2026-11-24T09:00:00Z")
        assert isinstance(decide(seen(node=asked, facts=replace(tired, retried="2026-11-24T09:00:00Z"))), Failed)

    def test_another_order_forgets_the_failures_of_the_last(self) -> None:
        other = a_node(order=Order(version=v("v1.37.3"), kubeadm=KubeadmRole.NODE))
        assert isinstance(decide(seen(node=other, facts=facts(tries={"stage": self.TIRED}))), ResolveImage)

    def test_streams_that_the_host_does_not_allow_are_refused(self) -> None:
        assert said(decide(seen(rules=HostRules(allowed_streams=("quay.io/mine",))))) == "StreamNotAllowed"


class TestReboot:
    ASKED = RebootFact(digest=NEW_DIGEST, boot_id="boot-1", asked=NOW)

    def test_a_reboot_on_its_way_is_waited_for(self) -> None:
        view = seen(UNLOCKED, RUNNING_OLD, facts=facts(lock=GRANTED, kubeadm=RAN, reboot=self.ASKED))
        assert said(decide(view)) == "Rebooting"

    def test_one_that_never_came_is_asked_for_again(self) -> None:
        fresh = replace(GRANTED, confirmed=NOW + HOUR)
        view = seen(UNLOCKED, RUNNING_OLD, facts=facts(lock=fresh, kubeadm=RAN, reboot=self.ASKED))
        assert decide(replace(view, now=NOW + HOUR)) == Reboot(digest=NEW_DIGEST, allow_unlocked=True)

    def test_whoever_gives_up_locks_the_image_again(self) -> None:
        tired = {"reboot": Try(count=5, last=NOW, reason="NoReboot", message="")}
        known = facts(lock=GRANTED, kubeadm=RAN, reboot=self.ASKED, tries=tired)
        assert decide(seen(UNLOCKED, RUNNING_OLD, facts=known, now=NOW + HOUR)) == LockStaged()
        assert said(decide(seen(STAGED, RUNNING_OLD, facts=known, now=NOW + HOUR))) == "NoReboot"

    def test_an_image_lost_in_a_power_cut_is_staged_again(self) -> None:
        earlier = replace(self.ASKED, boot_id="boot-0")
        assert isinstance(decide(seen(facts=facts(lock=GRANTED, kubeadm=RAN, reboot=earlier))), StageImage)

    def test_an_unlocked_image_of_ours_is_locked_while_nobody_reboots(self) -> None:
        assert decide(seen(UNLOCKED, RUNNING_OLD, facts=facts())) == LockStaged()

    @pytest.mark.parametrize(
        "known",
        [
            facts(tries={"stage": Try(count=1, last=NOW, reason="TransactionRunning")}),
            facts(digest="", tries={"verify-image": Try(count=2, last=NOW, reason="ImageNotSigned")}),
            facts(digest="sha256:moved", tries={"verify-image": Try(count=2, last=NOW, reason="ImageNotSigned")}),
        ],
    )
    def test_whatever_is_staged_and_unlocked_is_locked_first(self, known: Facts) -> None:
        """bootc fetches tags: where the tag moved while nobody looked, an image that nobody checked lies there."""
        moved = deployment("sha256:moved", NEW, staged=True, locked=False)
        rules = HostRules(verification=Verification(keys=("/k",)))
        assert decide(seen(moved, RUNNING_OLD, facts=known, rules=rules)) == LockStaged()
        nothing_wanted = replace(known, os_checked=NOW)
        assert decide(seen(moved, RUNNING_OLD, facts=nothing_wanted, node=a_node(order=None))) == LockStaged()

    def test_what_is_not_ours_is_let_be_while_a_reboot_or_a_transaction_is_on_its_way(self) -> None:
        moved = deployment("sha256:moved", NEW, staged=True, locked=False)
        rebooting = facts(lock=GRANTED, kubeadm=RAN, reboot=self.ASKED)
        assert said(decide(seen(moved, RUNNING_OLD, facts=rebooting))) == "Rebooting"
        busy = OsStatus(deployments=(moved, RUNNING_OLD), transaction="upgrade")
        assert said(decide(seen(facts=facts(), os=busy))) == "OsBusy"


MARKED = {NEW_DIGEST: "the host fell back"}


class TestFallBack:
    def test_it_is_seen_and_marked(self) -> None:
        assert isinstance(decide(fell_back()), MarkBad)

    def test_it_is_seen_without_any_memory_of_a_reboot(self) -> None:
        assert isinstance(decide(fell_back(facts=facts(lock=GRANTED))), MarkBad)

    def test_after_our_reboot_any_place_in_the_boot_order_counts(self) -> None:
        view = fell_back()
        assert view.os is not None
        swapped = OsStatus(deployments=tuple(reversed(view.os.deployments)))
        assert isinstance(decide(replace(view, os=swapped)), MarkBad)

    def test_the_bad_image_leaves_the_boot_order(self) -> None:
        view = fell_back()
        assert isinstance(decide(replace(view, facts=replace(view.facts, bad_digests=MARKED))), CleanUp)

    def test_a_healthy_node_is_released_an_unhealthy_one_is_not(self) -> None:
        view = fell_back(os=OsStatus(deployments=(RUNNING_OLD,)))
        view = replace(view, facts=replace(view.facts, bad_digests=MARKED))
        well = replace(view, streak=Streak(since=NOW - MINUTE, last=view.now))
        assert isinstance(decide(well), ReleaseLock)
        ill = replace(well, node=a_node(ready=False))
        assert said(decide(ill)) == "BadImage"

    def test_it_is_never_staged_again(self) -> None:
        assert said(decide(seen(facts=facts(bad_digests=MARKED)))) == "BadImage"

    def test_another_order_may_try_its_own(self) -> None:
        other = a_node(order=Order(version=v("v1.37.3"), kubeadm=KubeadmRole.NODE))
        assert isinstance(decide(seen(node=other, facts=facts(bad_digests=MARKED))), ResolveImage)


class TestVerify:
    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"node": a_node(kubelet=OLD)}, "the kubelet reports v1.36.3"),
            ({"node": a_node(kubelet=NEW, ready=False)}, "the node is not Ready"),
            ({"node": a_node(kubelet=NEW, boot_id="boot-0")}, "older boot"),
            ({"api_reachable": False}, "the API server does not answer"),
            ({"health": Health(kubelet=False)}, "the kubelet is not healthy"),
            ({"boot_id": "boot-0", "node": a_node(kubelet=NEW, boot_id="boot-0")}, "not rebooted"),
        ],
    )
    def test_each_piece_of_evidence_is_needed(self, change: dict[str, object], words: str) -> None:
        step = decide(rebooted(**change))
        assert isinstance(step, Wait)
        assert words in step.message

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"pods": static_pods(OLD)}, "kube-apiserver is not ready at v1.37.2"),
            ({"pods": static_pods(ready=False)}, "kube-scheduler is not ready at v1.37.2"),
            ({"pods": None}, "pods are not known"),
            ({"health": Health(kubelet=True, api_server=False)}, "API server is not ready"),
            ({"health": Health(kubelet=True, api_server=True, etcd=False)}, "etcd is not healthy"),
        ],
    )
    def test_a_control_plane_needs_more(self, change: dict[str, object], words: str) -> None:
        step = decide(rebooted(**({"control_plane": True, "pods": static_pods()} | change)))
        assert isinstance(step, Wait)
        assert words in step.message

    def test_a_whole_control_plane_is_completed(self) -> None:
        well = Health(kubelet=True, api_server=True, etcd=True)
        assert decide(rebooted(control_plane=True, pods=static_pods(), health=well)) == ReportCompleted()

    def test_evidence_must_hold_for_a_while(self) -> None:
        assert said(decide(rebooted(streak=Streak(since=NOW, last=NOW + SECOND)))) == "Verifying"

    def test_one_bad_look_starts_the_time_anew(self) -> None:
        good = Streak(since=NOW - MINUTE, last=NOW)
        assert look(good, rebooted()) == Streak(since=NOW - MINUTE, last=NOW + SECOND)
        assert look(good, rebooted(node=a_node(kubelet=NEW, ready=False))) is None

    def test_what_was_not_looked_at_proves_nothing(self) -> None:
        late = rebooted(now=NOW + MINUTE)
        assert look(Streak(since=NOW - MINUTE, last=NOW), late) == Streak(since=late.now, last=late.now)

    def test_past_the_deadline_the_node_says_what_is_missing_and_keeps_its_lock(self) -> None:
        step = decide(rebooted(node=a_node(kubelet=NEW, ready=False), now=NOW + HOUR))
        assert isinstance(step, Failed)
        assert "the node is not Ready" in step.message


class TestWithdrawal:
    GONE = a_node(order=None)

    def test_before_step_three_the_lock_goes_back_and_the_image_stays(self) -> None:
        step = decide(held(node=self.GONE, facts=replace(facts(lock=GRANTED), os_checked=NOW)))
        assert isinstance(step, ReleaseLock)
        assert isinstance(decide(staged(node=self.GONE, facts=replace(facts(), os_checked=NOW))), Idle)

    def test_from_step_three_on_it_is_brought_to_its_end(self) -> None:
        assert isinstance(decide(upgraded(node=self.GONE)), Reboot)

    def test_start_before_holds_until_step_three(self) -> None:
        late = a_node(order=Order(version=NEW, kubeadm=KubeadmRole.NODE, start_before=NOW))
        assert isinstance(decide(held(node=late)), ReleaseLock)
        assert said(decide(staged(node=late))) == "Withdrawn"
        assert isinstance(decide(upgraded(node=late)), Reboot)

    def test_a_hold_leaves_the_node_alone(self) -> None:
        on_hold = a_node(hold="mine")
        assert isinstance(decide(held(node=on_hold)), ReleaseLock)
        assert said(decide(staged(node=on_hold))) == "NodeHold"
        assert isinstance(decide(upgraded(node=on_hold)), Reboot)


class TestOtherImages:
    def test_a_prefetch_stages_and_takes_no_lock(self) -> None:
        wanted = a_node(order=None, stage=NEW)
        assert isinstance(decide(seen(node=wanted)), ResolveImage)
        known = facts(kind=GoalKind.PREFETCH)
        assert isinstance(decide(seen(node=wanted, facts=known)), StageImage)
        assert isinstance(decide(staged(node=wanted, facts=known)), Idle)

    def test_an_os_update_is_looked_for_each_interval(self) -> None:
        idle = a_node(order=None)
        assert decide(seen(node=idle)) == ResolveImage(reference=f"{REPOSITORY}:v1.36.3")
        assert isinstance(decide(seen(node=idle, facts=CHECKED)), Idle)
        assert isinstance(decide(seen(node=idle, facts=CHECKED, now=NOW + 4 * HOUR)), ResolveImage)

    @pytest.mark.parametrize(
        ("word", "allowed"),
        [("2026-11-24T12:00:00Z", True), ("2026-11-24T07:00:00Z", False), ("no", False), (None, False)],
    )
    def test_it_takes_the_lock_only_while_os_updates_allows(self, word: str | None, allowed: bool) -> None:
        newer = replace(STAGED, digest="sha256:newer", checksum="newer", image=RUNNING_OLD.image)
        known = Facts(kind=GoalKind.OS, repository=REPOSITORY, target=str(OLD), digest="sha256:newer", os_checked=NOW)
        planned = a_node(order=None, os_updates=word, config={"stream": REPOSITORY})
        step = decide(seen(newer, RUNNING_OLD, node=planned, facts=known))
        assert isinstance(step, TakeLock) if allowed else said(step) == "OsUpdateHeld"

    def test_an_open_order_goes_first(self) -> None:
        known = Facts(kind=GoalKind.OS, repository=REPOSITORY, target=str(OLD), digest="sha256:newer")
        assert decide(seen(facts=known)) == ResolveImage(reference=f"{REPOSITORY}:v1.37.2")


def test_a_clock_that_was_set_back_never_lengthens_a_pause() -> None:
    tired = facts(tries={"stage": Try(count=1, last=NOW + timedelta(days=300), reason="ImagePull")})
    step = decide(seen(facts=tired))
    assert isinstance(step, Wait)
    assert step.until is not None
    assert step.until <= NOW + 5 * MINUTE
