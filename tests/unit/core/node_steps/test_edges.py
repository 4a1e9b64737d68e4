"""Where each rule begins and ends: one test per condition that could be left out and nobody would see it."""

from dataclasses import replace
from datetime import timedelta

import pytest

from kube_upgrade.core.node_steps.decide import decide
from kube_upgrade.core.node_steps.goal import next_check
from kube_upgrade.model.host import (
    Facts,
    GoalKind,
    Health,
    HostRules,
    HostSnapshot,
    Job,
    Kubeadm,
    KubeadmRun,
    LockFact,
    RebootFact,
    Streak,
    Try,
    Verification,
)
from kube_upgrade.model.node import KubeadmRole, Order
from kube_upgrade.model.os import OsStatus
from kube_upgrade.model.step import (
    Failed,
    Idle,
    LockStaged,
    Reboot,
    ReleaseLock,
    ReportCompleted,
    ResolveImage,
    RunKubeadm,
    SnapshotEtcd,
    StageImage,
    TakeLock,
    VerifyImage,
    Wait,
)
from support.builders import NEW, NOW, OLD
from support.host_views import (
    CONFIG,
    GRANTED,
    HOUR,
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
    facts,
    held,
    rebooted,
    seen,
    staged,
    static_pods,
    upgraded,
)

CHECKED = Facts(os_checked=NOW)
IDLE = a_node(order=None)
TOUCHED = replace(GRANTED, touched=True)
APPLY = Order(version=NEW, kubeadm=KubeadmRole.APPLY)
THIS_BOOT = RebootFact(digest=NEW_DIGEST, boot_id="boot-1", asked=NOW)
EARLIER_BOOT = replace(THIS_BOOT, boot_id="boot-0")
WELL = Streak(since=NOW - MINUTE, last=NOW + SECOND)
NEWER = replace(STAGED, digest="sha256:newer", checksum="newer", image=RUNNING_OLD.image)  # the running tag, rebuilt


def os_facts(**changed: object) -> Facts:
    """Those of the way to the rebuilt image."""
    known = Facts(kind=GoalKind.OS, repository=REPOSITORY, target=str(OLD), digest="sha256:newer", os_checked=NOW)
    return replace(known, **changed)  # type: ignore[arg-type]


def said(view: HostSnapshot) -> str:
    """The reason of a wait or a failure."""
    step = decide(view)
    assert isinstance(step, Wait | Failed), step
    return step.reason


class TestRebootUnderWay:
    def test_one_of_an_earlier_boot_is_over(self) -> None:
        known = facts(lock=GRANTED, kubeadm=RAN, reboot=EARLIER_BOOT)
        assert decide(seen(UNLOCKED, RUNNING_OLD, facts=known)) == LockStaged()

    def test_one_that_did_not_unlock_the_image_never_began(self) -> None:
        known = facts(lock=GRANTED, kubeadm=RAN, reboot=THIS_BOOT)
        assert decide(staged(facts=known)) == Reboot(digest=NEW_DIGEST, allow_unlocked=False)


class TestUnlocked:
    """What is staged and unlocked goes into the next reboot, whoever asks for that."""

    MOVED = replace(UNLOCKED, digest="sha256:moved", checksum="moved")

    def test_what_is_not_ours_is_let_be_while_we_reboot(self) -> None:
        rebooting = replace(facts(reboot=THIS_BOOT), os_checked=NOW)
        assert isinstance(decide(seen(self.MOVED, RUNNING_OLD, node=IDLE, facts=rebooting)), Idle)
        earlier = replace(rebooting, reboot=EARLIER_BOOT)
        assert decide(seen(self.MOVED, RUNNING_OLD, node=IDLE, facts=earlier)) == LockStaged()

    def test_what_is_not_ours_is_let_be_while_somebody_changes_it(self) -> None:
        busy = OsStatus(deployments=(self.MOVED, RUNNING_OLD), transaction="upgrade")
        assert isinstance(decide(seen(node=IDLE, facts=CHECKED, os=busy)), Idle)
        assert decide(seen(node=IDLE, facts=CHECKED, os=replace(busy, transaction=""))) == LockStaged()

    def test_it_is_tried_as_often_as_may_be(self) -> None:
        often = Try(count=5, last=NOW, reason="CommandFailed", message="no ostree")
        known = replace(facts(tries={"lock-staged": often}), os_checked=NOW)
        assert isinstance(decide(seen(UNLOCKED, RUNNING_OLD, node=IDLE, facts=known)), Idle)
        once = replace(known, tries={"lock-staged": replace(often, count=4)})
        assert decide(seen(UNLOCKED, RUNNING_OLD, node=IDLE, facts=once)) == LockStaged()

    @pytest.mark.parametrize("lock", [None, GRANTED])
    def test_a_withdrawn_orders_image_is_locked_before_anything_is_given_back(self, lock: LockFact | None) -> None:
        late = a_node(order=Order(version=NEW, kubeadm=KubeadmRole.NODE, start_before=NOW))
        assert decide(seen(UNLOCKED, RUNNING_OLD, node=late, facts=facts(lock=lock))) == LockStaged()


class TestConfirmation:
    def test_the_server_that_granted_is_asked_whatever_the_config_says_by_now(self) -> None:
        elsewhere = replace(CONFIG, fleetlock_url="http://other", fleetlock_group="h")
        assert decide(held(config=elsewhere, now=NOW + HOUR)) == TakeLock(url="http://lock", group="g")


class TestLockWithoutUse:
    def test_a_lock_over_the_running_image_is_of_use(self) -> None:
        there = seen(RUNNING_NEW, node=a_node(kubelet=NEW), facts=facts(lock=GRANTED), streak=WELL)
        assert decide(there) == ReportCompleted()

    def test_one_of_unknown_origin_goes_back_before_a_prefetch(self) -> None:
        unknown = Facts(lock=LockFact(asked=NOW))
        assert isinstance(decide(seen(node=a_node(order=None, stage=NEW), facts=unknown)), ReleaseLock)

    def test_one_over_an_image_that_is_only_to_be_fetched_goes_back(self) -> None:
        known = facts(kind=GoalKind.PREFETCH, lock=GRANTED)
        assert isinstance(decide(staged(node=a_node(order=None, stage=NEW), facts=known)), ReleaseLock)


class TestTouchedLock:
    """Something was begun under it: it goes back with a node that is well, and with no other."""

    def test_a_new_order_that_fails_early_keeps_it(self) -> None:
        step = decide(held(node=a_node(order=APPLY), facts=facts(lock=TOUCHED)))
        assert isinstance(step, Failed)
        assert "lock and cordon are kept" in step.message

    def test_it_goes_back_where_the_node_is_well_as_it_is(self) -> None:
        """A daemon's first order finds no state file: nobody knows that nothing was begun before."""
        view = held(node=a_node(order=APPLY), facts=facts(lock=TOUCHED), well=WELL)
        assert isinstance(decide(view), ReleaseLock)
        ill = decide(replace(view, health=Health(kubelet=False)))
        assert isinstance(ill, Failed)
        assert ill.until is not None, "it is looked at again, since it may get well"
        since = Streak(since=NOW - SECOND, last=NOW + SECOND)
        assert isinstance(decide(replace(view, well=since)), Failed)

    def test_a_run_of_kubeadm_that_nobody_knows_of_keeps_it(self) -> None:
        job = Job(key="of lost facts", running=False, code=0)
        view = held(node=a_node(order=APPLY), facts=facts(lock=TOUCHED), well=WELL, kubeadm_job=job)
        assert isinstance(decide(view), Failed)
        known = replace(RAN, version=OLD)
        ours = replace(view, facts=facts(lock=TOUCHED, kubeadm=known), kubeadm_job=replace(job, key=known.key))
        assert isinstance(decide(ours), ReleaseLock)

    def test_a_withdrawn_order_gives_it_back_then(self) -> None:
        late = a_node(order=Order(version=NEW, kubeadm=KubeadmRole.NODE, start_before=NOW))
        view = held(node=late, facts=facts(lock=TOUCHED), well=WELL)
        assert isinstance(decide(view), ReleaseLock)
        ill = decide(replace(view, well=None))
        assert isinstance(ill, Wait)
        assert ill.until is not None
        assert isinstance(decide(held(node=late, facts=facts(lock=TOUCHED), well=WELL, boot_id="boot-2")), Wait)

    def test_it_is_not_given_back_while_the_image_is_only_on_its_way(self) -> None:
        """Another order's half-done node stays out of service until this one is done, or given up."""
        assert isinstance(decide(seen(facts=facts(lock=TOUCHED), well=WELL)), StageImage)

    def test_without_an_order_it_goes_back_when_the_node_is_well(self) -> None:
        lost = replace(CHECKED, lock=TOUCHED)
        assert decide(seen(node=IDLE, facts=lost, streak=WELL)) == ReleaseLock(
            url="http://lock", group="g", proven=True
        )
        assert said(seen(node=a_node(order=None, ready=False), facts=lost, streak=WELL)) == "Verifying"

    def test_an_unlocked_image_is_locked_first(self) -> None:
        lost = replace(facts(lock=TOUCHED), kind=None, os_checked=NOW)
        assert decide(seen(UNLOCKED, RUNNING_OLD, node=IDLE, facts=lost, streak=WELL)) == LockStaged()

    def test_lost_facts_wait_for_a_well_node_too(self) -> None:
        lost = Facts(lock=LockFact(asked=NOW, touched=True), os_checked=NOW)
        assert said(seen(node=a_node(order=None, ready=False), facts=lost)) == "Verifying"


class TestStreams:
    ONLY = HostRules(allowed_streams=(REPOSITORY,))

    def test_an_allowed_one_passes(self) -> None:
        assert isinstance(decide(seen(rules=self.ONLY)), ResolveImage)

    def test_an_os_update_from_another_one_waits_for_a_change_of_mind(self) -> None:
        step = decide(seen(node=IDLE, rules=HostRules(allowed_streams=("quay.io/mine",))))
        assert isinstance(step, Wait)
        assert step.reason == "StreamNotAllowed"
        assert step.until is not None


class TestSpent:
    """What was tried as often as may be does not take the node out of service once more."""

    @pytest.mark.parametrize("name", ["etcd", "kubeadm", "kubeadm-effect", "reboot"])
    def test_the_lock_is_not_asked_for_again(self, name: str) -> None:
        tired = {name: Try(count=5, last=NOW, reason="Preflight", message="CreateJob")}
        step = decide(staged(facts=facts(tries=tired)))
        assert isinstance(step, Failed)
        assert step.reason == "Preflight"
        once = {name: Try(count=4, last=NOW, reason="Preflight")}
        assert isinstance(decide(staged(facts=facts(tries=once))), TakeLock)

    def test_an_os_update_tries_for_ever_and_spends_its_pauses_in_service(self) -> None:
        """An inhibitor that is never given up must not keep a slot and a cordoned node for ever."""
        tired = {"reboot": Try(count=5, last=NOW, reason="ShutdownInhibited")}
        often = replace(CONFIG, check_interval=timedelta(days=9))
        view = seen(NEWER, RUNNING_OLD, node=IDLE, config=often, facts=os_facts(tries=tired, lock=GRANTED))
        assert isinstance(decide(view), ReleaseLock)
        released = replace(view, facts=os_facts(tries=tired))
        assert said(released) == "ShutdownInhibited"
        assert isinstance(decide(replace(released, now=NOW + HOUR)), TakeLock)
        fresh = replace(GRANTED, confirmed=NOW + HOUR)
        again = replace(released, now=NOW + HOUR, facts=os_facts(tries=tired, lock=fresh))
        assert isinstance(decide(again), Reboot)

    def test_before_that_an_os_update_pauses_with_its_lock(self) -> None:
        """The next try is minutes away, and a drain costs more than that."""
        once = {"reboot": Try(count=4, last=NOW, reason="ShutdownInhibited")}
        assert (
            said(seen(NEWER, RUNNING_OLD, node=IDLE, facts=os_facts(tries=once, lock=GRANTED))) == "ShutdownInhibited"
        )


class TestKubeadmWithoutEffect:
    """It ended with 0, but the static pod files are where they were: no reboot over an old control plane."""

    FILES = {"kube-apiserver": OLD}  # noqa: RUF012 - read only

    def view(self, **changed: object) -> HostSnapshot:
        known = facts(lock=GRANTED, kubeadm=RAN, images_for=NEW, **changed)
        return upgraded(control_plane=True, manifests=self.FILES, facts=known)

    def test_it_is_run_again(self) -> None:
        assert isinstance(decide(self.view()), RunKubeadm)

    def test_a_bounded_number_of_times(self) -> None:
        tired = {"kubeadm-effect": Try(count=5, last=NOW, reason="NoEffect", message="static pod files")}
        step = decide(self.view(tries=tired))
        assert isinstance(step, Failed)
        assert step.reason == "NoEffect"
        assert "lock and cordon are kept" in step.message


class TestEtcdAfterAFailure:
    """kubeadm said that it rolled etcd back; etcd's own health says whether it did."""

    FAILED = replace(RAN, role=KubeadmRole.APPLY, code=1)
    DEAD = Health(kubelet=True, api_server=False, etcd=False)

    def view(self, **changed: object) -> HostSnapshot:
        known = facts(lock=GRANTED, images_for=NEW, kubeadm=self.FAILED, etcd_snapshot="/var/lib/x.db (9 bytes)")
        shown = {"control_plane": True, "node": a_node(order=APPLY), "facts": known, "health": self.DEAD} | changed
        return held(**shown)

    def test_a_dead_one_stops_everything_and_both_ways_back_are_named(self) -> None:
        step = decide(self.view())
        assert isinstance(step, Failed)
        assert step.reason == "EtcdDown"
        assert "/etc/kubernetes/tmp/kubeadm-backup-etcd-*/etcd/member" in step.message
        assert "/var/lib/x.db (9 bytes) with etcdutl" in step.message
        assert "lock and cordon are kept" in step.message

    def test_even_where_the_api_died_with_it(self) -> None:
        assert said(self.view(cluster_version=None, api_reachable=False)) == "EtcdDown"

    def test_a_living_one_lets_kubeadm_run_again(self) -> None:
        assert isinstance(decide(self.view(health=Health(etcd=True))), RunKubeadm)
        assert isinstance(decide(self.view(health=Health())), RunKubeadm)

    def test_only_a_failure_of_this_version_that_was_seen_counts(self) -> None:
        """Of an older one etcd has recovered, or its owner knows; one whose end nobody saw is run again: the remedy."""
        older = facts(lock=GRANTED, images_for=NEW, etcd_for=NEW, kubeadm=replace(self.FAILED, version=OLD))
        assert isinstance(decide(self.view(facts=older)), RunKubeadm)
        unseen = facts(lock=GRANTED, images_for=NEW, kubeadm=replace(self.FAILED, ended=None, code=None))
        assert isinstance(decide(self.view(facts=unseen)), RunKubeadm)

    def test_a_workers_etcd_is_nobodys(self) -> None:
        failed = facts(lock=GRANTED, kubeadm=replace(RAN, code=1))
        assert isinstance(decide(held(facts=failed, health=self.DEAD)), RunKubeadm)

    def test_before_a_failure_its_health_is_verifys_business(self) -> None:
        assert isinstance(decide(self.view(facts=facts(lock=GRANTED, images_for=NEW, etcd_for=NEW))), RunKubeadm)


class TestSignature:
    """With keys in the host's config nothing is staged, and nothing that is staged is used, before it was checked."""

    POLICY = Verification(keys=("/key.pub",))
    RULES = HostRules(verification=POLICY)
    CHECK = VerifyImage(reference=f"{REPOSITORY}:v1.37.2", digest=NEW_DIGEST, proof=f"{NEW_DIGEST} /key.pub")

    def test_the_digest_is_checked_before_it_is_staged(self) -> None:
        assert decide(seen(facts=facts(), rules=self.RULES)) == self.CHECK
        passed = facts(trusted=self.POLICY.proof(NEW_DIGEST))
        assert isinstance(decide(seen(facts=passed, rules=self.RULES)), StageImage)

    def test_what_somebody_staged_already_is_checked_too(self) -> None:
        assert decide(staged(rules=self.RULES)) == self.CHECK

    def test_another_key_means_another_check(self) -> None:
        passed = facts(trusted=Verification(keys=("/old.pub",)).proof(NEW_DIGEST))
        assert decide(staged(facts=passed, rules=self.RULES)) == self.CHECK

    def test_what_runs_already_is_not_asked_about(self) -> None:
        assert decide(rebooted(rules=self.RULES)) == ReportCompleted()

    def test_an_image_that_never_passes_is_an_error_and_takes_no_lock(self) -> None:
        tired = {"verify-image": Try(count=5, last=NOW, reason="ImageNotSigned", message="no .sig")}
        assert said(seen(facts=facts(tries=tired), rules=self.RULES)) == "ImageNotSigned"


class TestTransactions:
    def test_one_of_somebody_else_does_not_keep_a_proven_node_out_of_service(self) -> None:
        assert decide(rebooted(os=OsStatus(deployments=(RUNNING_NEW,), transaction="upgrade"))) == ReportCompleted()


class TestImages:
    def test_an_os_update_pulls_none(self) -> None:
        view = seen(
            NEWER,
            RUNNING_OLD,
            node=IDLE,
            facts=os_facts(),
            control_plane=True,
            kubeadms=(Kubeadm(path="/k", version=OLD),),
        )
        assert isinstance(decide(view), TakeLock)


class TestSnapshot:
    def test_an_earlier_orders_run_is_no_reason_to_go_without(self) -> None:
        earlier = KubeadmRun(version=OLD, role=KubeadmRole.APPLY, started=NOW, ended=NOW, code=0)
        known = facts(lock=GRANTED, images_for=NEW, kubeadm=earlier)
        view = held(control_plane=True, cluster_version=OLD, node=a_node(order=APPLY), facts=known)
        assert decide(view) == SnapshotEtcd(version=NEW)


class TestKubeletIsLocal:
    def test_a_worker_talks_to_any_api_server(self) -> None:
        assert isinstance(decide(upgraded(kubelet_server="https://vip:6443", kubelet_server_local=False)), Reboot)

    def test_after_the_boot_nobody_asks_any_more(self) -> None:
        view = rebooted(control_plane=True, pods=static_pods(), node=a_node(kubelet=OLD), kubelet_server_local=False)
        assert said(view) == "Verifying"

    def test_an_unreadable_server_is_not_local(self) -> None:
        known = facts(lock=GRANTED, kubeadm=RAN, images_for=NEW)
        view = upgraded(control_plane=True, kubelet_server="", kubelet_server_local=None, facts=known)
        assert said(view) == "KubeletNotLocal"


class TestCommitted:
    def test_an_earlier_orders_kubeadm_commits_to_nothing(self) -> None:
        earlier = KubeadmRun(version=OLD, role=KubeadmRole.NODE, started=NOW, ended=NOW, code=0)
        none = (Kubeadm(path="/usr/bin/kubeadm", version=OLD),)
        assert isinstance(decide(held(facts=facts(lock=GRANTED, kubeadm=earlier), kubeadms=none)), ReleaseLock)

    def test_without_the_lock_a_person_may_still_hold_the_node(self) -> None:
        assert said(staged(node=a_node(hold="mine"), facts=facts(kubeadm=RAN))) == "NodeHold"

    def test_a_booted_image_alone_is_not_kubeadm(self) -> None:
        """Somebody booted it by hand: kubeadm has still to run, with the lock."""
        assert isinstance(decide(seen(RUNNING_NEW, node=a_node(kubelet=OLD))), TakeLock)
        view = seen(
            RUNNING_NEW,
            node=a_node(kubelet=NEW),
            control_plane=True,
            manifests={"kube-apiserver": OLD},
            facts=facts(images_for=NEW),
        )
        assert isinstance(decide(view), TakeLock)


class TestOsUpdate:
    def test_once_begun_neither_the_tag_nor_the_permission_is_looked_at_again(self) -> None:
        held_back = a_node(order=None, os_updates="no", config={"stream": REPOSITORY})
        begun = os_facts(lock=GRANTED, os_checked=None, reboot=replace(THIS_BOOT, digest="sha256:newer"))
        view = seen(NEWER, RUNNING_OLD, node=held_back, facts=begun)
        assert decide(view) == Reboot(digest="sha256:newer", allow_unlocked=False)

    def test_it_is_tried_for_ever_with_pauses(self) -> None:
        tired = {"stage": Try(count=50, last=NOW, reason="ImagePull", message="")}
        view = seen(node=IDLE, facts=os_facts(tries=tired))
        assert said(view) == "ImagePull"
        hourly = replace(CONFIG, check_interval=timedelta(days=1))
        assert isinstance(decide(replace(view, config=hourly, now=NOW + 3 * HOUR)), StageImage)

    def test_out_of_service_nobody_looks_for_a_newer_one(self) -> None:
        """It would be fetched, and the drain begun anew; a check interval shorter than a look would never end."""
        view = seen(NEWER, RUNNING_OLD, node=IDLE, facts=os_facts(lock=GRANTED, os_checked=None))
        assert decide(view) == Reboot(digest="sha256:newer", allow_unlocked=False)
        assert isinstance(decide(replace(view, facts=os_facts(os_checked=None))), ResolveImage)

    def test_each_node_looks_at_a_moment_of_its_own(self) -> None:
        """A thousand nodes that were switched on together must not ask the registry together."""
        views = [seen(node=IDLE, facts=CHECKED, machine_id=f"{number:032x}") for number in range(1, 40)]
        moments = {next_check(view) - NOW for view in views}
        assert len(moments) == len(views)
        assert all(0.8 * 3 * HOUR <= moment <= 1.2 * 3 * HOUR for moment in moments)

    def test_a_bad_image_is_no_news(self) -> None:
        bad = os_facts(bad_digests={"sha256:newer": "the host fell back"})
        assert isinstance(decide(seen(node=IDLE, facts=bad)), Idle)


class TestHold:
    def test_a_held_node_fetches_nothing(self) -> None:
        assert isinstance(decide(seen(node=a_node(order=None, hold="mine"))), Idle)
        assert isinstance(decide(seen(node=a_node(order=None, hold="mine", stage=NEW), facts=CHECKED)), Idle)

    def test_what_runs_is_not_fetched_and_hides_no_os_update(self) -> None:
        assert decide(seen(node=a_node(order=None, stage=OLD))) == ResolveImage(reference=f"{REPOSITORY}:v1.36.3")
