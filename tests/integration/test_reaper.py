"""Whatever way a run's owner ends, its processes and its folder are gone soon after, and nobody else's are touched."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from kube_upgrade.host.runner import host_environment
from kube_upgrade.lab import proc
from kube_upgrade.lab.machine import Machine
from kube_upgrade.lab.machine_state import Fault
from kube_upgrade.lab.runs import RECORD, Run, RunError
from support import run_owner

# What a login does with its session, and a reader in it.
READER = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); print(flush=True); input()"
WITHIN = 5.0  # seconds, the lab's promise


@dataclass(frozen=True, kw_only=True)
class Owner:
    """A running run_owner.py and what it said."""

    process: "subprocess.Popen[str]"
    folder: Path
    reaper: int
    pids: list[int]

    def left(self) -> list[proc.Seen]:
        """What still belongs to its run."""
        return [seen for pid in self.pids if (seen := proc.see(pid)) is not None and not seen.zombie] + proc.belonging(
            {}, str(self.folder)
        )


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def owner(base: Path) -> Iterator[Owner]:
    """An owner with three processes; what a failing test leaves is ended."""
    process = subprocess.Popen(
        [sys.executable, run_owner.__file__, str(base)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        started = Owner(process=process, folder=Path(said["folder"]), reaper=said["reaper"], pids=said["pids"])
        assert len(started.left()) > 3
        yield started
        process.kill()
    proc.end({}, str(started.folder))


@pytest.fixture
def foreigner() -> Iterator[int]:
    """A process that belongs to no run."""
    with subprocess.Popen(["/bin/sleep", "600"], start_new_session=True) as process:
        yield process.pid
        process.kill()


def until(true: Callable[[], bool], seconds: float = WITHIN) -> bool:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_kill_9_of_the_owner_leaves_nothing_after_5_seconds(owner: Owner) -> None:
    owner.process.kill()
    assert until(lambda: not owner.left() and not owner.folder.exists()), (owner.left(), owner.folder.exists())
    assert until(lambda: proc.see(owner.reaper) is None)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_reaper_outlives_what_is_sent_to_it_and_works(owner: Owner, number: signal.Signals) -> None:
    os.kill(owner.reaper, number)
    owner.process.kill()
    assert until(lambda: not owner.left() and not owner.folder.exists())


def test_an_owner_that_ends_by_itself_leaves_nothing(owner: Owner) -> None:
    assert owner.process.stdin is not None
    owner.process.stdin.close()
    assert until(lambda: not owner.left() and not owner.folder.exists())


def test_what_a_killed_reaper_left_the_next_run_sweeps(owner: Owner, base: Path) -> None:
    os.kill(owner.reaper, signal.SIGKILL)
    owner.process.kill()
    owner.process.wait()
    assert until(lambda: proc.see(owner.reaper) is None)
    assert owner.left(), "nobody has ended them yet"
    with Run.open("next", base=base) as run:
        assert run.swept == [owner.folder]
        assert not owner.left()
        assert not owner.folder.exists()


def test_a_run_whose_owner_lives_is_not_swept_even_without_its_reaper(owner: Owner, base: Path) -> None:
    os.kill(owner.reaper, signal.SIGKILL)
    with Run.open("next", base=base) as run:
        assert run.swept == []
    assert owner.folder.exists()
    assert all(proc.see(pid) for pid in owner.pids)


def test_a_pid_that_is_used_again_is_never_hit(base: Path, foreigner: int) -> None:
    """A record that names the foreigner's pid with an earlier start time, as after a reuse."""
    seen = proc.see(foreigner)
    assert seen is not None
    base.mkdir(mode=0o700)
    left = base / "left-123456"
    left.mkdir()
    entries = [{who: [foreigner, seen.started - 1]} for who in ("owner", "reaper", "group")]
    (left / RECORD).write_text("\n".join(json.dumps(entry) for entry in entries))
    with Run.open("next", base=base) as run:
        assert run.swept == [left]
    assert proc.see(foreigner) == seen


def test_a_folder_without_a_whole_record_is_swept_and_hits_nobody(base: Path, foreigner: int) -> None:
    base.mkdir(mode=0o700)
    left = base / "left-123456"
    left.mkdir()
    (left / RECORD).write_text(f'{{"group": [{foreigner}')
    with Run.open("next", base=base) as run:
        assert run.swept == [left]
    assert proc.see(foreigner) is not None


@pytest.mark.parametrize("name", ["notes", "left-123456", "left-123456.old"])
def test_a_folder_that_no_run_left_is_not_swept(base: Path, name: str) -> None:
    """Without a record only an empty folder under a run's name, with a run's mode, is one: its owner died early."""
    base.mkdir(mode=0o700)
    (base / name).mkdir(mode=0o700)
    (base / name / "thesis.tex").touch()
    with Run.open("next", base=base) as run:
        assert run.swept == []
    assert (base / name / "thesis.tex").exists()


@pytest.mark.parametrize(("mode", "stays"), [(0o700, False), (0o755, True)])
def test_an_empty_folder_of_a_run_that_died_early_is_swept(base: Path, mode: int, stays: bool) -> None:
    base.mkdir(mode=0o700)
    (base / "left-123456").mkdir()
    (base / "left-123456").chmod(mode)
    with Run.open("next", base=base):
        pass
    assert (base / "left-123456").exists() == stays


def test_a_link_among_the_runs_is_neither_followed_nor_removed(base: Path, tmp_path: Path) -> None:
    base.mkdir(mode=0o700)
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / RECORD).write_text('{"owner": [1, 1]}')
    (base / "left-123456").symlink_to(precious)
    with Run.open("next", base=base) as run:
        assert run.swept == []
    assert (base / "left-123456").is_symlink()
    assert (precious / RECORD).exists()


@pytest.mark.parametrize("dangling", [True, False])
def test_a_runs_directory_that_is_a_link_is_refused(base: Path, tmp_path: Path, dangling: bool) -> None:
    elsewhere = tmp_path / "elsewhere"
    if not dangling:
        elsewhere.mkdir()
    base.symlink_to(elsewhere)
    with pytest.raises(RunError, match=f"{base} is no directory.*TMPDIR"):
        Run.open("next", base=base)
    assert dangling or list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o1777])
def test_a_runs_directory_that_others_may_write_is_refused(base: Path, mode: int) -> None:
    base.mkdir()
    base.chmod(mode)
    with pytest.raises(RunError, match=f"others may write in {base}.*chmod"):
        Run.open("next", base=base)


def test_a_removal_that_was_cut_off_is_finished_by_the_next_run(base: Path) -> None:
    """The record goes last: what is left of a folder is still known as a run's."""
    base.mkdir(mode=0o700)
    left = base / "left-123456"
    (left / "nodes").mkdir(parents=True)
    (left / RECORD).touch()
    for number in range(4000):
        (left / "nodes" / str(number)).touch()
    script = "import sys; from pathlib import Path; from kube_upgrade.lab.runs import remove; remove(Path(sys.argv[1]))"
    with subprocess.Popen([sys.executable, "-c", script, str(left)]) as remover:
        assert until(lambda: len(os.listdir(left / "nodes")) < 4000, 20)
        remover.kill()
    assert left.exists(), "4000 files take longer than one look"
    with Run.open("next", base=base) as run:
        assert run.swept == [left]
    assert not left.exists()


def test_a_kept_folder_stays_and_its_processes_do_not(base: Path) -> None:
    with Run.open("kept", base=base, keep=True) as run:
        child = subprocess.Popen(["/bin/sleep", "600"], env=run.environment(), start_new_session=True)
        run.adopt(child.pid)
    assert child.wait() == -signal.SIGTERM
    assert run.folder.is_dir()
    with Run.open("next", base=base) as later:
        assert later.swept == []
    assert run.folder.is_dir()


def test_closing_after_the_reaper_was_killed_cleans_up_too(base: Path) -> None:
    with Run.open("orphan", base=base) as run:
        os.kill(run.reaper_pid, signal.SIGKILL)
        child = subprocess.Popen(["/bin/sleep", "600"], env=run.environment(), start_new_session=True)
        run.adopt(child.pid)
    assert child.wait() == -signal.SIGTERM
    assert not run.folder.exists()


@pytest.mark.parametrize("words", [(), ("/bin/sh", "-c", '"$@"; exit $?', "job")], ids=["a command", "a job's shell"])
def test_what_a_daemon_starts_in_its_own_way_ends_with_the_run(base: Path, words: tuple[str, ...]) -> None:
    """As `upgraded` starts programs of its host: own session, small environment. This one hangs."""
    with Run.open("lab", base=base) as run:
        machine = a_machine(run)
        machine.set_fault("rpm-ostree status", Fault(hang=600.0, times=None))
        argv = [*words, str(machine.root / "usr/bin/rpm-ostree"), "status"]
        child = subprocess.Popen(argv, env=host_environment(os.environ), start_new_session=True)
        known = until(lambda: child.pid in {seen.pid for seen in proc.belonging({}, str(run.folder))})
    try:
        assert known
        assert child.wait(WITHIN) != 0
        assert not proc.belonging({}, str(run.folder))
        assert not run.folder.exists()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)


def test_the_stand_ins_carry_the_mark_of_their_run(base: Path) -> None:
    """Known by their environment, whatever their command line says."""
    with Run.open("lab", base=base) as run:
        machine = a_machine(run)
        machine.set_fault("systemctl show", Fault(hang=600.0))
        argv = [str(machine.root / "usr/bin/systemctl"), "show"]
        with subprocess.Popen(argv, env={"PATH": "/usr/bin:/bin"}, start_new_session=True) as child:
            marked = until(lambda: proc.marked(child.pid, str(run.folder)))
            child.kill()
    assert marked


@contextmanager
def a_reader(file: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A person at a terminal, with a pager on this file."""
    leader, follower = os.openpty()
    argv = [sys.executable, "-c", READER, str(file)]
    with subprocess.Popen(argv, stdin=follower, stdout=follower, stderr=follower, start_new_session=True) as reader:
        os.read(leader, 1)
        yield reader
        reader.kill()
    os.close(leader)
    os.close(follower)


def test_a_person_who_looks_into_the_folder_from_a_terminal_is_left_alone(base: Path) -> None:
    with Run.open("lab", base=base, keep=True) as run, a_reader(run.folder / "some.log") as reader:
        run.close()
        assert reader.poll() is None


def test_a_person_who_reads_a_machines_log_outlives_its_reboot(base: Path) -> None:
    with Run.open("lab", base=base) as run:
        machine = a_machine(run)
        with a_reader(machine.folder / "some.log") as reader:
            machine.end_processes()
            assert reader.poll() is None


def test_who_works_in_a_kept_folder_afterwards_is_no_business_of_the_next_run(base: Path) -> None:
    """An indexer, a `tail -f` in the background: only what the run itself started and marked is its own."""
    base.mkdir(mode=0o700)
    kept = base / "kept-123456"
    kept.mkdir()
    (kept / RECORD).write_text('{"owner": [1, 1]}\n{"keep": true}\n')
    argv = ["/usr/bin/tail", "-f", "/dev/null", str(kept / RECORD)]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, start_new_session=True) as later:
        with Run.open("next", base=base) as following:
            assert following.swept == []
        assert later.poll() is None
        later.kill()


@pytest.mark.parametrize("place", ["another-boot pid:[1]", ""])
def test_a_run_whose_processes_cannot_be_seen_from_here_is_left_alone(base: Path, place: str) -> None:
    """TMPDIR is shared by containers and may be by machines: there the same pid is somebody else."""
    place = place or f"{proc.place().split()[0]} pid:[1]"
    base.mkdir(mode=0o700)
    left = base / "left-123456"
    left.mkdir()
    (left / RECORD).write_text(json.dumps({"place": place}) + "\n" + json.dumps({"owner": [1, 1]}))
    with Run.open("next", base=base) as run:
        assert run.swept == []
        assert json.loads((run.folder / RECORD).read_text().splitlines()[0]) == {"place": proc.place()}
    assert left.exists()


def a_machine(run: Run) -> Machine:
    folder = run.folder / "nodes/w-1"
    return Machine.create(folder, "w-1", image="r:v1", version="v1.36.3", digest="sha256:1", run=run.folder)
