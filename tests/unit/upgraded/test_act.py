"""What an effect writes down: before it begins, and of how it ended."""

from collections.abc import Awaitable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from kube_upgrade.fleetlock_client import Granted, Refused
from kube_upgrade.host.drivers import KubeadmDriver, KubeadmError, OsDriver, OsError
from kube_upgrade.host.runner import Completed
from kube_upgrade.host.trust import TrustError, TrustProblem, with_contents
from kube_upgrade.model.host import Facts, Verification
from kube_upgrade.model.kubeadm import KubeadmProblem
from kube_upgrade.model.node import KubeadmRole
from kube_upgrade.model.os import OsProblem
from kube_upgrade.model.step import AwaitKubeadm, Reboot, RunKubeadm, TakeLock, VerifyImage
from kube_upgrade.model.version import KubeVersion
from kube_upgrade.upgraded.act import Actor, Ports
from support.builders import NEW, NOW
from support.host_views import (
    GRANTED,
    KUBEADM,
    MINUTE,
    NEW_DIGEST,
    RAN,
    REPOSITORY,
    a_node,
    facts,
    held,
    staged,
    upgraded,
)

TAKE = TakeLock(url="http://lock", group="g")
RUN = RunKubeadm(role=KubeadmRole.NODE, version=NEW, kubeadm=KUBEADM)
REBOOT = Reboot(digest=NEW_DIGEST, allow_unlocked=False)
FULL = Refused("all_slots_full", "held by w-2", 423)


@dataclass
class Memory:
    """The facts, and all that were ever written."""

    facts: Facts
    written: list[Facts] = field(default_factory=list)

    def save(self, facts: Facts) -> None:
        self.facts = facts
        self.written.append(facts)


@dataclass
class Outside:
    """The world, by how its calls end."""

    lock: Granted | Refused = field(default_factory=Granted)
    kubeadm: KubeadmError | None = None
    finalize: OsError | None = None
    untrusted: TrustError | None = None
    seen: list[Facts] = field(default_factory=list)  # the facts on disk when a call came
    memory: Memory = field(default_factory=lambda: Memory(Facts()))

    async def pre_reboot(self) -> Granted | Refused:
        self.seen.append(self.memory.facts)
        return self.lock

    async def steady_state(self) -> Granted | Refused:
        return self.lock

    async def upgrade_node(self, version: KubeVersion, key: str) -> Completed:
        self.seen.append(self.memory.facts)
        if self.kubeadm:
            raise self.kubeadm
        return Completed(argv=("kubeadm",), code=0, out="", err="", seconds=1)

    async def upgrade_end(self) -> Completed:
        return await self.upgrade_node(NEW, "")

    async def finalize_call(self, digest: str, *, allow_unlocked: bool = False) -> None:
        self.seen.append(self.memory.facts)
        if self.finalize:
            raise self.finalize

    async def verify(self, reference: str, digest: str) -> None:
        if self.untrusted:
            raise self.untrusted

    def actor(self, facts: Facts) -> Actor:
        """One with these facts on its disk."""
        self.memory = Memory(facts)

        @dataclass
        class Os:
            finalize: Any

        async def nothing(*_: object) -> Any:
            raise AssertionError("nobody asked for this")

        ports = Ports(
            os=cast("OsDriver", Os(self.finalize_call)),
            kubeadm=lambda path: cast("KubeadmDriver", self),
            resolve=cast("Any", nothing),
            verify=self.verify,
            lock=lambda url, group: self,
            tidy=cast("Any", nothing),
            images_config=cast("Any", nothing),
            etcd_snapshot=cast("Any", lambda: _text("")),
            clock=lambda: NOW + MINUTE,
        )
        return Actor(ports, self.memory)


def _text(value: str) -> Awaitable[str]:
    async def it() -> str:
        return value

    return it()


class TestTakeLock:
    async def test_it_is_written_down_before_the_server_is_asked(self) -> None:
        outside = Outside()
        await outside.actor(facts()).act(TAKE, staged())
        assert outside.seen[0].lock is not None
        assert outside.seen[0].lock.granted is None
        assert outside.memory.facts.lock is not None
        assert outside.memory.facts.lock.granted == NOW + MINUTE

    async def test_a_yes_is_written_down_with_the_boot_and_the_node_that_it_was_said_to(self) -> None:
        outside = Outside()
        await outside.actor(facts(lock=GRANTED)).act(TAKE, held(boot_id="boot-7", node=a_node(uid="u7")))
        assert [known.lock and known.lock.confirmed for known in outside.memory.written] == [None, NOW + MINUTE]
        lock = outside.memory.facts.lock
        assert lock is not None
        assert (lock.boot_id, lock.node_uid, lock.granted) == ("boot-7", "u7", NOW)

    async def test_a_refused_confirmation_ends_the_grant(self) -> None:
        """The slot may be another's by now: kubeadm must not start on it."""
        outside = Outside(lock=FULL)
        await outside.actor(facts(lock=GRANTED)).act(TAKE, held())
        lock = outside.memory.facts.lock
        assert lock is not None
        assert lock.granted is None
        assert lock.confirmed is None
        assert lock.answer == "all_slots_full: held by w-2"
        assert lock.again is not None
        assert lock.again > NOW + MINUTE

    async def test_from_kubeadm_on_a_refusal_does_not_stop_the_node_half_way(self) -> None:
        outside = Outside(lock=FULL)
        known = facts(lock=replace(GRANTED, touched=True), kubeadm=RAN)
        await outside.actor(known).act(TAKE, upgraded(facts=known))
        assert outside.memory.facts.lock is not None
        assert outside.memory.facts.lock.granted == GRANTED.granted
        assert outside.memory.facts.lock.touched

    async def test_asking_again_forgets_neither_what_was_begun_nor_the_first_grant(self) -> None:
        outside = Outside()
        known = facts(lock=replace(GRANTED, touched=True))
        await outside.actor(known).act(TAKE, held(facts=known))
        assert outside.memory.facts.lock is not None
        assert outside.memory.facts.lock.touched
        assert outside.memory.facts.lock.granted == GRANTED.granted

    async def test_a_servers_retry_after_is_kept_to(self) -> None:
        outside = Outside(lock=replace(FULL, retry_after=7.0))
        await outside.actor(facts()).act(TAKE, staged())
        assert outside.memory.facts.lock is not None
        assert outside.memory.facts.lock.again == NOW + MINUTE + timedelta(seconds=7)


class TestKubeadm:
    @pytest.mark.parametrize("known", [None, RAN])
    async def test_a_run_that_nobody_knows_of_keeps_the_lock_until_the_node_is_well(self, known: Any) -> None:
        """Something was begun under it: the facts of it were lost, or it counted as not started."""
        outside = Outside()
        before = facts(lock=GRANTED, kubeadm=known)
        await outside.actor(before).act(AwaitKubeadm(key="strange"), held(facts=before))
        after = outside.memory.facts
        assert outside.seen == [after]
        assert after == replace(before, lock=replace(GRANTED, touched=True))

    async def test_the_run_and_the_touched_lock_are_written_down_before_it_starts(self) -> None:
        outside = Outside()
        await outside.actor(facts(lock=GRANTED)).act(RUN, held())
        before = outside.seen[0]
        assert before.kubeadm is not None
        assert before.kubeadm.ended is None
        assert before.lock is not None
        assert before.lock.touched
        assert outside.memory.facts.kubeadm is not None
        assert outside.memory.facts.kubeadm.succeeded

    @pytest.mark.parametrize("kind", [KubeadmProblem.NOT_FOUND, KubeadmProblem.WRONG_VERSION, KubeadmProblem.RUNNING])
    async def test_one_that_did_not_start_touched_nothing(self, kind: KubeadmProblem) -> None:
        outside = Outside(kubeadm=KubeadmError(kind, "it did not start"))
        await outside.actor(facts(lock=GRANTED)).act(RUN, held())
        assert outside.memory.facts.kubeadm is None
        assert outside.memory.facts.lock == GRANTED
        assert outside.memory.facts.tries["kubeadm"].reason == kind

    async def test_a_run_after_one_that_ended_well_is_counted(self) -> None:
        """The one before had no effect, else nobody would ask for another."""
        outside = Outside()
        await outside.actor(facts(lock=GRANTED, kubeadm=RAN)).act(RUN, upgraded())
        assert outside.memory.facts.tries["kubeadm-effect"].count == 1
        assert outside.memory.facts.tries["kubeadm-effect"].reason == "NoEffect"

    async def test_one_that_failed_keeps_its_code_and_the_lock(self) -> None:
        outside = Outside(kubeadm=KubeadmError(KubeadmProblem.PREFLIGHT, "CreateJob", 1))
        await outside.actor(facts(lock=GRANTED)).act(RUN, held())
        assert outside.memory.facts.kubeadm is not None
        assert outside.memory.facts.kubeadm.code == 1
        assert outside.memory.facts.lock is not None
        assert outside.memory.facts.lock.touched


class TestReboot:
    async def test_it_is_written_down_before_it_is_asked_for(self) -> None:
        outside = Outside()
        await outside.actor(facts(lock=GRANTED, kubeadm=RAN)).act(REBOOT, upgraded())
        assert outside.seen[0].reboot is not None
        assert outside.seen[0].reboot.boot_id == "boot-1"
        assert outside.memory.facts.reboot is not None

    async def test_one_that_the_host_refused_has_not_begun(self) -> None:
        outside = Outside(finalize=OsError(OsProblem.INHIBITED, "somebody logs in"))
        await outside.actor(facts(lock=GRANTED)).act(REBOOT, held())
        assert outside.memory.facts.reboot is None
        assert outside.memory.facts.lock == GRANTED
        assert outside.memory.facts.tries["reboot"].reason == "ShutdownInhibited"

    async def test_one_whose_call_hung_may_come(self) -> None:
        outside = Outside(finalize=OsError(OsProblem.TIMED_OUT, "120 s"))
        await outside.actor(facts(lock=GRANTED)).act(REBOOT, held())
        assert outside.memory.facts.reboot is not None
        assert outside.memory.facts.lock is not None
        assert outside.memory.facts.lock.touched


class TestVerifyImage:
    STEP = VerifyImage(reference=f"{REPOSITORY}:{NEW}", digest=NEW_DIGEST, proof="proof")

    async def test_the_proof_is_written_down(self) -> None:
        outside = Outside()
        await outside.actor(facts()).act(self.STEP, staged())
        assert outside.memory.facts.trusted == "proof"

    async def test_an_image_that_does_not_pass_is_resolved_anew_next_time(self) -> None:
        """Its tag may name a signed one by then."""
        outside = Outside(untrusted=TrustError(TrustProblem.UNSIGNED, "no .sig"))
        await outside.actor(facts()).act(self.STEP, staged())
        assert outside.memory.facts.digest == ""
        assert outside.memory.facts.trusted == ""
        assert outside.memory.facts.tries["verify-image"].reason == "ImageNotSigned"


def test_another_key_or_identity_is_another_proof() -> None:
    policy = Verification(keys=("/a.pub",))
    proofs = {policy.proof("sha256:1"), policy.proof("sha256:2"), replace(policy, keys=("/b.pub",)).proof("sha256:1"),
              replace(policy, identity="ghcr.io/o/os").proof("sha256:1")}  # fmt: skip
    assert len(proofs) == 4


def test_a_key_file_with_another_key_in_it_is_another_proof(tmp_path: Path) -> None:
    """A key that was changed in its place, since the old one leaked, trusts nothing that the old one had passed."""
    key, policy = tmp_path / "key.pub", Verification(keys=("/key.pub",))
    proofs = []
    for text in ("one", "two", "one"):
        key.write_text(text)
        proofs.append(with_contents(policy, tmp_path).proof("sha256:1"))
    key.unlink()
    proofs.append(with_contents(policy, tmp_path).proof("sha256:1"))

    assert proofs[0] == proofs[2]
    assert len(set(proofs)) == 3
