"""What must outlive the daemon outlives it, plainly and as a transient unit of systemd (its stand-in) alike.

The daemon that starts a job here is a process of its own, which is killed.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kube_upgrade.host.job_files import FOLDER
from kube_upgrade.host.jobs import Jobs, Lost, StillRunning
from kube_upgrade.host.plain_jobs import PlainJobs
from kube_upgrade.host.runner import Completed, NotStarted, SubprocessRunner, TimedOut
from kube_upgrade.host.systemd_jobs import SystemdJobs, choose_jobs
from kube_upgrade.lab import proc
from kube_upgrade.lab.machine import Machine

RUN, CONTROL = "/usr/bin/systemd-run", "/usr/bin/systemctl"
STARTER = f"""
import asyncio, sys
from pathlib import Path
from kube_upgrade.host.systemd_jobs import choose_jobs
from kube_upgrade.host.runner import SubprocessRunner
jobs = choose_jobs(Path(sys.argv[1]), SubprocessRunner(), run="{RUN}", control="{CONTROL}")
asyncio.run(jobs.run("kubeadm", "first", sys.argv[2:], 60))
"""
Chosen = PlainJobs | SystemdJobs


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine.create(tmp_path / "m", "n", image="r:v1", version="v1.36.3", digest="sha256:1")


@pytest.fixture(params=["plain", "systemd"])
def jobs(request: pytest.FixtureRequest, machine: Machine) -> Chosen:
    if request.param == "systemd":
        (machine.root / "run/systemd/system").mkdir(parents=True)
    chosen = choose_jobs(machine.root, SubprocessRunner(), run=RUN, control=CONTROL)
    assert isinstance(chosen, SystemdJobs if request.param == "systemd" else PlainJobs)
    return chosen


def script(machine: Machine, text: str) -> str:
    """A program on the machine's disk."""
    path = machine.root / "usr/bin/program"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def folder_of(machine: Machine, name: str) -> Path:
    """Where a job's files are; of the name "" all of them."""
    return machine.root / FOLDER.lstrip("/") / name


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - another process tells us nothing
            await asyncio.sleep(0.01)


async def test_exit_code_and_output_are_answers(jobs: Jobs, machine: Machine) -> None:
    program = script(machine, 'echo "out $1"; echo err >&2; exit 3')
    done = await jobs.run("kubeadm", "1", [program, "a b"], 20)
    assert (done.code, done.out, done.err, done.argv) == (3, "out a b\n", "err\n", (program, "a b"))
    job = await jobs.find("kubeadm")
    assert job is not None
    assert (job.key, job.running, job.code) == ("1", False, 3)


async def test_one_may_follow_another_at_once(jobs: Jobs, machine: Machine) -> None:
    program = script(machine, 'echo "$1"')
    assert [(await jobs.run("kubeadm", word, [program, word], 20)).out for word in "abc"] == ["a\n", "b\n", "c\n"]


async def test_a_missing_program_is_named(jobs: Jobs) -> None:
    with pytest.raises(NotStarted, match="/no/such/program"):
        await jobs.run("kubeadm", "1", ["/no/such/program"], 20)


@pytest.mark.parametrize("argv", [["/usr/bin/k\0"], ["/bin/true", "a\0b"]])
async def test_words_that_no_program_can_be_given_are_no_start(jobs: Jobs, argv: list[str]) -> None:
    """A path from an annotation may hold anything."""
    with pytest.raises(NotStarted, match="null byte"):
        await jobs.run("kubeadm", "1", argv, 20)


async def test_it_ends_with_its_time(jobs: Jobs, machine: Machine) -> None:
    program = script(machine, "sleep 60")
    with pytest.raises(TimedOut):
        await jobs.run("kubeadm", "1", [program], 0.5)
    job = await jobs.find("kubeadm")
    assert job is not None
    assert not job.running


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_step_of_the_wall_clock_ends_nothing(jobs: Jobs, machine: Machine, restarted: bool) -> None:
    """A node without a clock of its own learns the time late; that is as if job.json were hours old."""
    begun, go = machine.root / "run/begun", machine.root / "run/go"
    program = script(machine, f"touch {begun}; while [ ! -e {go} ]; do sleep 0.05; done; exit 4")
    waiting = asyncio.create_task(jobs.run("kubeadm", "1", [program], 60))
    await _until(begun.exists)
    if restarted:
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    record = machine.root / FOLDER.lstrip("/") / "kubeadm/job.json"
    os.utime(record, (record.stat().st_mtime - 7200,) * 2)
    if restarted:
        waiting = asyncio.create_task(jobs.join("kubeadm", 60))
    await asyncio.sleep(0.5)  # some looks
    go.touch()
    assert (await waiting).code == 4


async def test_after_a_restart_its_time_counts_from_its_start(jobs: Jobs, machine: Machine) -> None:
    begun, last = machine.root / "run/begun", machine.root / "run/last"
    program = script(machine, f"touch {begun}; while :; do touch {last}; sleep 0.05; done")
    task = asyncio.create_task(jobs.run("kubeadm", "1", [program], 60))
    await _until(begun.exists)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await asyncio.sleep(1.5)  # what is measured
    with pytest.raises(TimedOut):
        await jobs.join("kubeadm", 3.0)
    assert last.stat().st_mtime - begun.stat().st_mtime < 4.2


async def test_cancelling_leaves_it_running_and_it_is_not_started_twice(jobs: Jobs, machine: Machine) -> None:
    begun, go = machine.root / "run/begun", machine.root / "run/go"
    program = script(machine, f"echo x >> {begun}; while [ ! -e {go} ]; do sleep 0.05; done; echo done")
    task = asyncio.create_task(jobs.run("kubeadm", "1", [program], 60))
    await _until(begun.exists)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    job = await jobs.find("kubeadm")
    assert job is not None
    assert job.running
    with pytest.raises(StillRunning):
        await jobs.run("kubeadm", "2", [program], 60)
    go.touch()
    assert (await jobs.join("kubeadm", 60)).out == "done\n"
    assert begun.read_text() == "x\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_whoever_started_it_may_be_killed(jobs: Jobs, machine: Machine, number: signal.Signals) -> None:
    """It goes on, another process waits for it, and its exit code and output are all there."""
    begun, go = machine.root / "run/begun", machine.root / "run/go"
    program = script(machine, f"echo x >> {begun}; while [ ! -e {go} ]; do sleep 0.05; done; echo out; exit 7")
    starter = await asyncio.create_subprocess_exec(
        sys.executable, "-c", STARTER, str(machine.root), program, start_new_session=True
    )
    await _until(begun.exists)
    os.killpg(starter.pid, number)
    await starter.wait()

    job = await jobs.find("kubeadm")
    assert job is not None
    assert (job.key, job.running) == ("first", True)
    waiting = asyncio.create_task(jobs.join("kubeadm", 60))
    go.touch()
    done = await waiting
    assert (done.code, done.out, begun.read_text()) == (7, "out\n", "x\n")


async def test_one_that_is_gone_without_a_word_is_lost(jobs: Jobs, machine: Machine) -> None:
    """As after a reboot: nobody knows how it ended."""
    begun = machine.root / "run/begun"
    program = script(machine, f"echo x > {begun}; sleep 60")
    task = asyncio.create_task(jobs.run("kubeadm", "1", [program], 60))
    await _until(begun.exists)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    machine.power_cut()

    job = await jobs.find("kubeadm")
    assert job is not None
    assert (job.running, job.code) == (False, None)
    with pytest.raises(Lost):
        await jobs.join("kubeadm", 60)
    assert (await jobs.run("kubeadm", "2", [script(machine, "echo again")], 60)).out == "again\n"


async def test_what_an_earlier_boot_left_is_swept_but_for_what_is_kept(jobs: Chosen, machine: Machine) -> None:
    """Ended or cut off; the name to keep is one whose end somebody may still ask for."""
    await jobs.run("stage", "1", [script(machine, "echo out")], 60)
    await jobs.run("kubeadm", "1", [script(machine, "exit 3")], 60)
    machine.power_cut()

    assert jobs.sweep(keep=("kubeadm",)) == ("stage",)
    assert await jobs.find("stage") is None
    assert (await jobs.join("kubeadm", 60)).code == 3
    assert jobs.sweep() == ("kubeadm",)
    assert list(folder_of(machine, "").iterdir()) == []
    assert jobs.sweep() == ()


async def test_what_this_boot_left_is_not_swept(jobs: Chosen, machine: Machine) -> None:
    """An end that nobody has asked for yet, and one that is still to come."""
    begun, go = machine.root / "run/begun", machine.root / "run/go"
    await jobs.run("stage", "1", [script(machine, "echo out; exit 3")], 60)
    program = script(machine, f"touch {begun}; while [ ! -e {go} ]; do sleep 0.05; done; echo done")
    waiting = asyncio.create_task(jobs.run("kubeadm", "1", [program], 60))
    await _until(begun.exists)

    assert jobs.sweep() == ()
    go.touch()
    assert (await waiting).out == "done\n"
    assert (await jobs.join("stage", 60)).out == "out\n"


@pytest.mark.parametrize("record", [None, "{", '{"key": "1", "argv": ["a"], "child": "x.service"}'])
async def test_one_whose_boot_is_not_known_is_not_swept(jobs: Chosen, machine: Machine, record: str | None) -> None:
    """Just being started, cut off while it was written, or by a daemon that did not write it."""
    folder = folder_of(machine, "kubeadm")
    folder.mkdir(parents=True)
    if record is not None:
        (folder / "job.json").write_text(record)
    machine.power_cut()
    assert jobs.sweep() == ()
    assert folder.is_dir()


async def test_where_this_boot_is_not_known_nothing_is_swept(jobs: Chosen, machine: Machine) -> None:
    await jobs.run("stage", "1", [script(machine, "exit 0")], 60)
    (machine.root / "proc/sys/kernel/random/boot_id").write_text("")
    assert jobs.sweep() == ()


async def test_a_power_cut_ends_what_forks_again_and_again(jobs: Jobs, machine: Machine) -> None:
    """A child that was started between two looks at the processes does not survive its parent."""
    begun = machine.root / "run/begun"
    loop = f"while :; do sh -c 'read x' {machine.folder}/child <{begun}.wait & sleep 0.01; done"
    program = script(machine, f"mkfifo {begun}.wait; touch {begun}; ({loop}) & {loop}")
    task = asyncio.create_task(jobs.run("kubeadm", "1", [program], 60))
    await _until(begun.exists)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    machine.power_cut()

    assert not [seen for seen in proc.everyone() if proc.given(seen.pid, str(machine.folder))]


class Grumbling(SubprocessRunner):
    """systemd-run starts its unit and then says that it could not, or hangs: a bus that was restarted in between."""

    hangs = False

    async def run(self, argv: Sequence[str], timeout: float) -> Completed:
        done = await super().run(argv, timeout)
        if not argv[0].endswith(RUN):
            return done
        if self.hangs:
            raise TimedOut("systemd-run did not end within 30 s")
        return replace(done, code=1, err="Failed to start transient service unit: Connection reset by peer")


@pytest.mark.parametrize("hangs", [False, True])
@pytest.mark.parametrize("text", ["sleep 1; exit 3", "exit 3"])
async def test_a_unit_that_runs_counts_as_started_whatever_systemd_run_says(
    machine: Machine, hangs: bool, text: str
) -> None:
    runner = Grumbling()
    runner.hangs = hangs
    jobs = SystemdJobs(machine.root, runner, run=RUN, control=CONTROL)
    assert (await jobs.run("kubeadm", "1", [script(machine, text)], 20)).code == 3


class Queueing(SubprocessRunner):
    """systemd-run gives up while its start job waits in the queue of a busy init; `go_on` lets the queue move."""

    def __init__(self) -> None:
        super().__init__()
        self.queued: list[Sequence[str]] = []

    async def run(self, argv: Sequence[str], timeout: float) -> Completed:
        if not argv[0].endswith(RUN):
            return await super().run(argv, timeout)
        self.queued.append(argv)
        raise TimedOut("systemd-run did not end within 30 s")

    async def go_on(self) -> None:
        for argv in self.queued:
            await SubprocessRunner.run(self, argv, 20)
        self.queued = []


class Activating(Queueing):
    """The unit was started when systemd-run gave up; its shell runs at the third time that somebody looks at it."""

    looks = 0

    async def run(self, argv: Sequence[str], timeout: float) -> Completed:
        if argv[0].endswith(RUN):
            return await super().run(argv, timeout)
        self.looks += 1
        if self.looks == 3:
            await self.go_on()
        done = await super().run(argv, timeout)
        return replace(done, out="activating\n") if self.looks < 3 else done


async def test_a_unit_that_is_just_starting_is_waited_for(machine: Machine) -> None:
    jobs = SystemdJobs(machine.root, Activating(), run=RUN, control=CONTROL)
    assert (await jobs.run("kubeadm", "1", [script(machine, "exit 3")], 20)).code == 3


async def test_a_unit_that_starts_after_it_was_given_up_runs_nothing(machine: Machine) -> None:
    """Else kubeadm would run on a node whose lock was given back meanwhile."""
    runner, ran = Queueing(), machine.root / "run/ran"
    jobs = SystemdJobs(machine.root, runner, run=RUN, control=CONTROL)
    program = script(machine, f'echo "$1" >> {ran}')
    with pytest.raises(NotStarted, match="30 s"):
        await jobs.run("kubeadm", "1", [program, "late"], 20)
    await runner.go_on()
    await _until(lambda: not machine.unit_running("kube-upgraded-kubeadm.service"))
    assert not ran.exists()

    again = SystemdJobs(machine.root, SubprocessRunner(), run=RUN, control=CONTROL)
    assert (await again.run("kubeadm", "2", [program, "anew"], 20)).code == 0
    assert ran.read_text() == "anew\n"


async def test_one_that_was_queued_before_a_restart_does_not_run_beside_the_next(machine: Machine) -> None:
    """The daemon died while its unit was queued; the next one starts its own, and then the queue moves."""
    runner, ran = Queueing(), machine.root / "run/ran"
    program = script(machine, f'echo "$1" >> {ran}')
    queued = SystemdJobs(machine.root, runner, run=RUN, control=CONTROL)
    with pytest.raises(NotStarted):
        await queued.run("kubeadm", "1", [program, "first"], 20)
    (machine.root / FOLDER.lstrip("/") / "kubeadm" / runner.queued[0][-3]).touch()  # as if nobody had given it up
    after = SystemdJobs(machine.root, SubprocessRunner(), run=RUN, control=CONTROL)
    await after.run("kubeadm", "2", [program, "second"], 20)
    await runner.go_on()
    await _until(lambda: not machine.unit_running("kube-upgraded-kubeadm.service"))
    assert ran.read_text() == "second\n"


async def test_a_plain_job_that_runs_is_found_by_a_daemon_with_systemd(machine: Machine) -> None:
    """A daemon in a container gives way to a host service while its kubeadm runs."""
    plain, begun, go = PlainJobs(machine.root), machine.root / "run/begun", machine.root / "run/go"
    program = script(machine, f"touch {begun}; while [ ! -e {go} ]; do sleep 0.05; done; exit 5")
    task = asyncio.create_task(plain.run("kubeadm", "1", [program], 60))
    await _until(begun.exists)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    units = SystemdJobs(machine.root, SubprocessRunner(), run=RUN, control=CONTROL)
    with pytest.raises(StillRunning):
        await units.run("kubeadm", "2", [program], 60)
    waiting = asyncio.create_task(units.join("kubeadm", 60))
    go.touch()
    assert (await waiting).code == 5


async def test_a_plain_job_beyond_its_time_is_ended_by_a_daemon_with_systemd(machine: Machine) -> None:
    program = script(machine, "sleep 60")
    task = asyncio.create_task(PlainJobs(machine.root).run("kubeadm", "1", [program], 60))
    record = machine.root / FOLDER.lstrip("/") / "kubeadm/job.json"
    await _until(record.exists)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    units = SystemdJobs(machine.root, SubprocessRunner(), run=RUN, control=CONTROL)
    with pytest.raises(TimedOut):
        await units.join("kubeadm", 0.5)
    job = await units.find("kubeadm")
    assert job is not None
    assert not job.running


async def test_the_end_of_a_unit_is_taken_down_without_systemd(machine: Machine) -> None:
    units = SystemdJobs(machine.root, SubprocessRunner(), run=RUN, control=CONTROL)
    await units.run("kubeadm", "1", [script(machine, "exit 5")], 60)
    assert (await PlainJobs(machine.root).join("kubeadm", 60)).code == 5


async def test_a_unit_that_systemd_does_not_know_was_not_started(machine: Machine) -> None:
    (machine.root / RUN.lstrip("/")).write_text("#!/bin/sh\necho no bus >&2\nexit 1\n")
    jobs = SystemdJobs(machine.root, SubprocessRunner(), run=RUN, control=CONTROL)
    with pytest.raises(NotStarted, match="no bus"):
        await jobs.run("kubeadm", "1", [script(machine, "exit 0")], 20)


async def test_nothing_of_ours_reaches_it_but_its_known_variables(jobs: Jobs, machine: Machine) -> None:
    done = await jobs.run("kubeadm", "1", [script(machine, "env")], 20)
    names = {line.partition("=")[0] for line in done.out.splitlines()}
    assert {"PATH", "LC_ALL", "HOME"} <= names
    assert not {name for name in names if name.startswith(("PYTHON", "PYTEST", "LD_"))}


async def test_where_it_cannot_be_written_down_it_never_runs(machine: Machine) -> None:
    """The shell waits at its gate until job.json names it."""
    ran, folder = machine.root / "run/ran", machine.root / FOLDER.lstrip("/") / "kubeadm"
    unwritable: Any = b"no text"
    with pytest.raises(TypeError):
        await PlainJobs(machine.root).run("kubeadm", unwritable, [script(machine, f"touch {ran}")], 20)
    await _until(lambda: not _shells_of(folder))
    assert not ran.exists()


def _shells_of(folder: Path) -> str:
    return subprocess.run(["pgrep", "-f", str(folder)], capture_output=True, text=True, check=False).stdout
