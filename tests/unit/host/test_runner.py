"""A program is run to its end, within its time, and nothing of it stays behind."""

import asyncio
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kube_upgrade.host.runner import NotStarted, SubprocessRunner, TimedOut, host_environment


async def test_exit_code_and_both_streams_are_answers() -> None:
    done = await SubprocessRunner().run(["sh", "-c", "echo out; echo err >&2; exit 77"], timeout=10)
    assert (done.code, done.out, done.err) == (77, "out\n", "err\n")


async def test_a_missing_program_is_named() -> None:
    with pytest.raises(NotStarted, match="/no/such/program cannot be started"):
        await SubprocessRunner().run(["/no/such/program"], timeout=10)


async def test_an_argument_that_no_program_can_be_given_is_no_start() -> None:
    with pytest.raises(NotStarted, match="null byte"):
        await SubprocessRunner().run(["/bin/true", "a\0b"], timeout=10)


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


async def test_a_timeout_ends_the_whole_group(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    with pytest.raises(TimedOut, match=r"within 0\.5 s"):
        await SubprocessRunner().run(["sh", "-c", f"sleep 60 & echo $! $$ > {pids}; wait"], timeout=0.5)
    left = [int(pid) for pid in pids.read_text().split()]
    assert len(left) == 2
    await _gone(left)


async def test_cancelling_ends_the_program(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    task = asyncio.create_task(SubprocessRunner().run(["sh", "-c", f"echo $$ > {pids}; sleep 60"], timeout=60))
    await _until(lambda: pids.exists() and bool(pids.read_text()))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await _gone([int(pids.read_text())])


async def test_cancelling_while_it_starts_ends_all_of_it_too() -> None:
    """At whatever turn of the event loop the cancel comes, nothing is left and nobody waits for a grandchild."""
    for turns in range(12):
        task = asyncio.create_task(SubprocessRunner().run(["sh", "-c", "sleep 50 & wait"], timeout=60))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        async with asyncio.timeout(20):
            with pytest.raises(asyncio.CancelledError):
                await task


async def _gone(pids: list[int]) -> None:
    await _until(lambda: not any(_alive(pid) for pid in pids))


async def _until(holds: Callable[[], bool]) -> None:
    """Other processes tell us nothing: look until it holds, for at most 10 s."""
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_output_is_bounded_and_the_end_is_kept() -> None:
    done = await SubprocessRunner(output_limit=10).run(
        [sys.executable, "-c", "print('x' * 200_000 + 'the end')"], timeout=20
    )
    assert done.out == "xxthe end\n"


async def test_only_known_variables_reach_the_program() -> None:
    runner = SubprocessRunner(env={"PATH": os.environ["PATH"], "ONLY": "this"})
    done = await runner.run(["env"], timeout=10)
    assert "ONLY=this" in done.out
    assert "PYTHONPATH" not in done.out


def test_a_host_program_sees_proxies_and_nothing_else_of_ours() -> None:
    env = host_environment({"HTTPS_PROXY": "http://proxy", "SECRET": "x", "TMPDIR": "/run/kube-upgraded"})
    assert env["HTTPS_PROXY"] == "http://proxy"
    assert not {"SECRET", "TMPDIR"} & set(env)


@pytest.mark.parametrize(
    ("bundled", "kept", "given"), [(True, None, None), (True, "/host/lib", "/host/lib"), (False, None, "/bundle")]
)
async def test_a_child_reads_the_hosts_own_library_path(bundled: bool, kept: str | None, given: str | None) -> None:
    ours = {"LD_LIBRARY_PATH": "/bundle"} | ({"LD_LIBRARY_PATH_ORIG": kept} if kept else {})
    done = await SubprocessRunner(env=host_environment(ours, bundled=bundled)).run(["env"], timeout=10)
    read = dict(line.split("=", 1) for line in done.out.splitlines())
    assert read.get("LD_LIBRARY_PATH") == given
    assert "LD_LIBRARY_PATH_ORIG" not in read


async def test_stdin_is_closed_so_that_no_question_can_hang() -> None:
    begun = time.monotonic()
    done = await SubprocessRunner().run(["sh", "-c", "read answer; echo got:$answer"], timeout=10)
    assert done.out == "got:\n"
    assert time.monotonic() - begun < 5
