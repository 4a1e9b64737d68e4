"""What the daemon may rely on from an OS driver: the same promises over the stand-in and over recorded output."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kube_upgrade.host.bootc import Bootc
from kube_upgrade.host.drivers import OsDriver, OsError
from kube_upgrade.host.plain_jobs import PlainJobs
from kube_upgrade.host.rpm_ostree import RpmOstree
from kube_upgrade.host.runner import Completed, SubprocessRunner
from kube_upgrade.lab import machine_state as rules
from kube_upgrade.lab.machine import Machine
from kube_upgrade.lab.machine_state import Transaction
from kube_upgrade.lab.registry import Registry
from kube_upgrade.model.os import OsProblem, StageOutcome
from support.replay import Replay, ReplayJobs, bootc_status, os_status, said

REPLAYED_DIGEST = "sha256:199dc4896200a0edbc237b2eceee38d62d14fc0c777f66b12366f0979db42b93"
SAME_TAG, NEXT_TAG = "v1.36.3", "v1.37.2"


@dataclass(kw_only=True)
class Host:
    """A host in some situation: its driver, the image's name without tag, and the digest that is wanted there."""

    driver: OsDriver
    image: str
    digest: str


Given = Callable[[str], Host]
RECORDED: dict[str, dict[str, list[Completed]]] = {
    "fresh": {
        "status": [os_status("fresh"), os_status("staged-locked")],
        "rebase": [said("Staging deployment...done\n")],
        "deploy --register-driver=upgraded": [said("Empty string revision found; registering update driver only\n")],
    },
    "idle": {
        "status": [os_status("fresh")],
        "finalize-deployment": [said(err="error: No pending staged deployment found\n", code=1)],
        "admin lock-finalization": [said(err="error: No staged deployment\n", code=1)],
        "cleanup": [said("Deployments unchanged.\n")],
    },
    "rebuilt": {
        "status": [os_status("fresh"), os_status("same-tag-rebuilt")],
        "deploy --lock-finalization": [said("Staging deployment...done\n")],
    },
    "staged-locked": {
        "status": [os_status("staged-locked")],
        "finalize-deployment sha256:0000": [said(err="error: Expected staged base checksum 0, but found 1\n", code=1)],
        "finalize-deployment": [said()],
    },
    "staged-unlocked": {
        "status": [os_status("staged-unlocked"), os_status("staged-locked")],
        "admin lock-finalization": [said("Staged deployment is now finalization locked\n")],
    },
    "finalize-unlocked": {
        "status": [os_status("staged-unlocked")],
        "finalize-deployment --allow-unlocked": [said()],
        "finalize-deployment": [said(err="error: Staged deployment already unlocked\n", code=1)],
    },
    "booted": {"status": [os_status("booted")]},
    "failed-boot": {"status": [os_status("failed-boot")], "cleanup": [said("Freed: 1.2 GB (pkgcache branches: 0)\n")]},
    "busy": {"status": [os_status("busy")]},
    "other-driver": {"status": [os_status("other-driver")]},
    "image-gone": {
        "status": [os_status("fresh")],
        "rebase": [
            said(
                err="error: Creating importer: Failed to invoke skopeo proxy method OpenImage: remote error: "
                "reading manifest v1.37.2 in registry.example/fcos-k8s: manifest unknown\n",
                code=1,
            )
        ],
    },
    "no-effect": {"status": [os_status("fresh")], "rebase": [said()]},
}


BOOTC: dict[str, dict[str, list[Completed]]] = {
    "fresh": {
        "status": [bootc_status("fresh"), bootc_status("staged-locked")],
        "upgrade --download-only": [said("Queued for next boot\n")],
    },
    "idle": {
        "status": [bootc_status("fresh")],
        "admin lock-finalization": [said(err="error: No staged deployment\n", code=1)],
    },
    "rebuilt": {
        "status": [bootc_status("fresh"), bootc_status("same-tag-rebuilt")],
        "upgrade --download-only": [said("Queued for next boot\n")],
    },
    "staged-locked": {"status": [bootc_status("staged-locked")], "upgrade --from-downloaded --apply": [said()]},
    "staged-unlocked": {
        "status": [bootc_status("staged-unlocked"), bootc_status("staged-locked")],
        "admin lock-finalization": [said("Staged deployment is now finalization locked\n")],
        "upgrade --from-downloaded --apply": [said()],
    },
    "booted": {"status": [bootc_status("booted")]},
    "failed-boot": {
        "status": [bootc_status("failed-boot"), bootc_status("failed-boot"), bootc_status("fresh")],
        "admin undeploy 0": [said("Deleted deployment 0\n")],
    },
    "image-gone": {
        "status": [bootc_status("fresh")],
        "upgrade": [
            said(
                err="error: Upgrading: Preparing import: Fetching manifest: remote error: reading manifest v1.37.2 in "
                "registry.example/fcos-k8s: manifest unknown\n",
                code=1,
            )
        ],
    },
    "no-effect": {"status": [bootc_status("fresh")], "upgrade": [said()]},
    "finalize-unlocked": {"status": [bootc_status("staged-unlocked")], "reboot": [said()]},
    "layered": {"status": [bootc_status("layered")]},
}


def replayed_bootc(situation: str) -> Host:
    replay = Replay(answers={command: list(waiting) for command, waiting in BOOTC[situation].items()})
    driver = Bootc(replay, ReplayJobs(replay=replay))
    return Host(driver=driver, image="registry.example/fcos-k8s", digest=REPLAYED_DIGEST)


def replayed(situation: str) -> Host:
    answers = {command: list(waiting) for command, waiting in RECORDED[situation].items()}
    replay = Replay(answers=answers)
    return Host(
        driver=RpmOstree(replay, ReplayJobs(replay=replay)), image="registry.example/fcos-k8s", digest=REPLAYED_DIGEST
    )


def bootc(root: Path) -> Bootc:
    return Bootc(SubprocessRunner(), PlainJobs(root), root=root)


def rpm_ostree(root: Path) -> RpmOstree:
    return RpmOstree(SubprocessRunner(), PlainJobs(root), root=root)


def _arranged(machine: Machine, registry: Registry, situation: str, image: str, digest: str) -> None:
    reference = f"ostree-unverified-registry:{image}:{NEXT_TAG}"
    if situation in ("staged-locked", "staged-unlocked", "finalize-unlocked", "booted", "failed-boot"):
        machine.stage(reference, digest, NEXT_TAG, locked=situation == "staged-locked")
    match situation:
        case "booted":
            machine.boot()
        case "failed-boot":
            machine.set_fault("boot", rules.Fault(mode="previous"))
            machine.boot()
        case "busy":
            start = Path("/proc/1/stat").read_text().rsplit(")", 1)[1].split()[19]
            with machine.edit() as state:
                state.transaction = Transaction(title="upgrade", pid=1, started=start)
        case "other-driver":
            with machine.edit() as state:
                state.driver = ("Zincati", "zincati.service")
        case "image-gone":
            registry.broken = 404
        case "no-effect":
            machine.set_fault("rpm-ostree rebase", rules.Fault(mode="no-effect"))
            machine.set_fault("bootc upgrade", rules.Fault(mode="no-effect"))


def _given(kind: str, folder: Path) -> Iterator[Given]:
    if kind.endswith("replay"):
        yield replayed_bootc if kind.startswith("bootc") else replayed
        return
    with Registry() as registry:
        image = f"{registry.host}/fcos-k8s"
        old = registry.publish("fcos-k8s", SAME_TAG)
        rebuilt = registry.publish("fcos-k8s", SAME_TAG, build=2)
        new = registry.publish("fcos-k8s", NEXT_TAG)
        program = kind.partition(" ")[0]
        machine = Machine.create(
            folder / "m", "n", image=f"ostree-unverified-registry:{image}:{SAME_TAG}", version=SAME_TAG, digest=old,
            driver=program,
        )  # fmt: skip

        def stand_in(situation: str) -> Host:
            _arranged(machine, registry, situation, image, new)
            driver: OsDriver = bootc(machine.root) if program == "bootc" else rpm_ostree(machine.root)
            return Host(driver=driver, image=image, digest=rebuilt if situation == "rebuilt" else new)

        yield stand_in


@pytest.fixture(params=["rpm-ostree stand-in", "rpm-ostree replay", "bootc stand-in", "bootc replay"])
def given(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Given]:
    yield from _given(request.param, tmp_path)


@pytest.fixture(params=["stand-in", "replay"])
def given_rpm_ostree(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Given]:
    """What only rpm-ostree knows: transactions and drivers."""
    yield from _given(f"rpm-ostree {request.param}", tmp_path)


async def test_a_new_image_is_staged_locked_and_pinned(given: Given) -> None:
    host = given("fresh")
    staged = await host.driver.stage(f"{host.image}:{NEXT_TAG}", host.digest, unsigned=True)
    assert staged.outcome is StageOutcome.STAGED
    assert (staged.deployment.digest, staged.deployment.locked) == (host.digest, True)
    assert staged.deployment.image is not None
    assert staged.deployment.image.tag == NEXT_TAG  # the origin keeps the tag


async def test_a_rebuild_of_the_running_tag_is_staged_although_the_reference_stays(given: Given) -> None:
    host = given("rebuilt")
    staged = await host.driver.stage(f"{host.image}:{SAME_TAG}", host.digest, unsigned=True)
    assert (staged.outcome, staged.deployment.digest) == (StageOutcome.STAGED, host.digest)


@pytest.mark.parametrize(
    ("situation", "outcome"),
    [
        ("staged-locked", StageOutcome.ALREADY_STAGED),
        ("staged-unlocked", StageOutcome.ALREADY_STAGED),
        ("booted", StageOutcome.ALREADY_BOOTED),
    ],
)
async def test_what_is_there_is_not_fetched_again(given: Given, situation: str, outcome: StageOutcome) -> None:
    host = given(situation)
    staged = await host.driver.stage(f"{host.image}:{NEXT_TAG}", host.digest, unsigned=True)
    assert (staged.outcome, staged.deployment.digest) == (outcome, host.digest)
    assert staged.deployment.locked == staged.deployment.staged  # an unlocked one was locked


@pytest.mark.parametrize(
    ("situation", "problem"),
    [
        ("failed-boot", OsProblem.FAILED_BOOT),
        ("image-gone", OsProblem.IMAGE_PULL),
        ("no-effect", OsProblem.NO_EFFECT),
    ],
)
async def test_what_keeps_an_image_from_being_staged_has_a_word(
    given: Given, situation: str, problem: OsProblem
) -> None:
    host = given(situation)
    with pytest.raises(OsError) as refused:
        await host.driver.stage(f"{host.image}:{NEXT_TAG}", host.digest, unsigned=True)
    assert refused.value.kind is problem


@pytest.mark.parametrize(
    ("situation", "problem"),
    [("busy", OsProblem.TRANSACTION_RUNNING), ("other-driver", OsProblem.OTHER_DRIVER)],
)
async def test_who_is_at_it_has_a_word(given_rpm_ostree: Given, situation: str, problem: OsProblem) -> None:
    host = given_rpm_ostree(situation)
    with pytest.raises(OsError) as refused:
        await host.driver.stage(f"{host.image}:{NEXT_TAG}", host.digest, unsigned=True)
    assert refused.value.kind is problem


async def test_finalizing_what_is_staged_and_locked_ends_well(given: Given) -> None:
    host = given("staged-locked")
    await host.driver.finalize(host.digest)


async def test_finalizing_again_needs_the_word_that_it_may_be_unlocked(given: Given) -> None:
    host = given("finalize-unlocked")
    with pytest.raises(OsError) as refused:
        await host.driver.finalize(host.digest)
    assert refused.value.kind is OsProblem.ALREADY_UNLOCKED
    await host.driver.finalize(host.digest, allow_unlocked=True)


async def test_nothing_but_the_wanted_digest_is_finalized(given: Given) -> None:
    host = given("staged-locked")
    with pytest.raises(OsError) as refused:
        await host.driver.finalize("sha256:" + "0" * 64)
    assert refused.value.kind is OsProblem.OTHER_STAGED


async def test_without_anything_staged_there_is_nothing_to_finalize_or_lock(given: Given) -> None:
    host = given("idle")
    for attempt in (host.driver.finalize(host.digest), host.driver.lock_finalization()):
        with pytest.raises(OsError) as refused:
            await attempt
        assert refused.value.kind is OsProblem.NOTHING_STAGED
    await host.driver.cleanup_pending()  # forgetting nothing is no error


async def test_a_failed_boot_is_seen_and_can_be_cleaned_up(given: Given) -> None:
    host = given("failed-boot")
    seen = await host.driver.status()
    assert seen.failed_boot(host.digest)
    assert seen.booted is not None
    assert seen.booted.digest != host.digest
    await host.driver.cleanup_pending()


async def test_the_daemon_registers_itself_but_not_over_another_driver(given_rpm_ostree: Given) -> None:
    host = given_rpm_ostree("fresh")
    await host.driver.register_driver()
    host = given_rpm_ostree("other-driver")
    with pytest.raises(OsError, match="Zincati"):
        await host.driver.register_driver()


async def test_bootc_changes_no_host_with_layered_packages() -> None:
    host = replayed_bootc("layered")
    with pytest.raises(OsError) as refused:
        await host.driver.stage(f"{host.image}:{NEXT_TAG}", host.digest, unsigned=True)
    assert refused.value.kind is OsProblem.LAYERED


async def test_bootc_pulls_tags_so_a_tag_that_moved_on_is_told_and_stays_locked(tmp_path: Path) -> None:
    for given in _given("bootc stand-in", tmp_path):
        host = given("fresh")
        with pytest.raises(OsError) as refused:
            await host.driver.stage(f"{host.image}:{NEXT_TAG}", "sha256:" + "0" * 64, unsigned=True)
        assert refused.value.kind is OsProblem.TAG_MOVED
        staged = (await host.driver.status()).staged
        assert staged is not None
        assert staged.locked


@pytest.mark.parametrize("unsigned", [True, False])
async def test_bootc_switches_to_another_repository_and_locks_at_once(tmp_path: Path, unsigned: bool) -> None:
    with Registry() as registry:
        old, new = registry.publish("os", SAME_TAG), registry.publish("other", NEXT_TAG)
        image = f"ostree-unverified-registry:{registry.host}/os:{SAME_TAG}"
        machine = Machine.create(tmp_path / "m", "n", image=image, version=SAME_TAG, digest=old, driver="bootc")
        staged = await bootc(machine.root).stage(f"{registry.host}/other:{NEXT_TAG}", new, unsigned=unsigned)
        assert (staged.deployment.digest, staged.deployment.locked) == (new, True)
        assert staged.deployment.image is not None
        assert staged.deployment.image.prefix.startswith("ostree-unverified" if unsigned else "ostree-image-signed")


@pytest.mark.parametrize("kind", [rpm_ostree, bootc])
async def test_a_full_boot_is_said_before_anything_is_fetched(tmp_path: Path, kind: Callable[[Path], OsDriver]) -> None:
    with Registry() as registry:
        image, digest = f"{registry.host}/fcos-k8s", registry.publish("fcos-k8s", NEXT_TAG)
        reference = f"ostree-unverified-registry:{image}:{SAME_TAG}"
        name = "bootc" if kind is bootc else "rpm-ostree"
        machine = Machine.create(
            tmp_path / "m", "n", image=reference, version=SAME_TAG, digest="sha256:0", driver=name
        )  # fmt: skip
        (machine.root / "boot").symlink_to("/proc")  # where nothing is ever free
        with pytest.raises(OsError, match="/boot has 0 MiB free") as refused:
            await kind(machine.root).stage(f"{image}:{NEXT_TAG}", digest, unsigned=True)
        assert refused.value.kind is OsProblem.NO_SPACE
        assert registry.requests == []


async def test_a_missing_program_is_an_answer_too(tmp_path: Path) -> None:
    with pytest.raises(OsError) as refused:
        await rpm_ostree(tmp_path).status()
    assert refused.value.kind is OsProblem.NOT_FOUND


async def test_killed_while_it_pulls_nothing_is_staged_and_nobody_waits(tmp_path: Path) -> None:
    """The transaction ends with its process, and the next attempt goes through."""
    with Registry() as registry:
        old, new = registry.publish("os", SAME_TAG), registry.publish("os", NEXT_TAG)
        image = f"ostree-unverified-registry:{registry.host}/os:{SAME_TAG}"
        machine = Machine.create(tmp_path / "m", "n", image=image, version=SAME_TAG, digest=old)
        with machine.edit() as state:
            state.latency["stage"] = 30.0
        impatient = RpmOstree(SubprocessRunner(), PlainJobs(machine.root), root=machine.root, stage_timeout=2.0)
        with pytest.raises(OsError) as refused:
            await impatient.stage(f"{registry.host}/os:{NEXT_TAG}", new, unsigned=True)
        assert refused.value.kind is OsProblem.TIMED_OUT
        seen = await impatient.status()
        assert (seen.staged, seen.transaction) == (None, "")
        with machine.edit() as state:
            state.latency["stage"] = 0.0
        await impatient.stage(f"{registry.host}/os:{NEXT_TAG}", new, unsigned=True)
