"""Runs programs: the one place in which a process is started."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

OUTPUT_LIMIT = 8 * 1024 * 1024  # bytes kept per stream; `rpm-ostree status --json` of two images is some 200 KiB
GRACE = 5.0  # seconds between SIGTERM and SIGKILL
_PASSED_ON = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "LD_LIBRARY_PATH")


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """A program that ended by itself. `code` is negative where a signal ended it; `err` and `out` are tails."""

    argv: tuple[str, ...]
    code: int
    out: str
    err: str
    seconds: float


class RunError(Exception):
    """The program did not run to its end."""


class NotStarted(RunError):
    """There is no such program, or it cannot be executed."""


class TimedOut(RunError):
    """It ran longer than allowed; its process group was ended."""


class CommandRunner(Protocol):
    """Runs a program to its end."""

    async def run(self, argv: Sequence[str], timeout: float) -> Completed:
        """Run and wait, `timeout` in seconds. Raises NotStarted or TimedOut; any exit code is an answer."""


class SubprocessRunner:
    """Starts each program in a process group of its own, with no stdin and a small known environment.

    Cancelling the call ends the group, too.
    """

    def __init__(self, env: Mapping[str, str] | None = None, output_limit: int = OUTPUT_LIMIT) -> None:
        self._env = MappingProxyType(dict(env) if env is not None else host_environment(os.environ))
        self._limit = output_limit

    async def run(self, argv: Sequence[str], timeout: float) -> Completed:
        """Run and wait, `timeout` in seconds. Raises NotStarted or TimedOut; any exit code is an answer."""
        begun = time.monotonic()
        process = await self._started(argv)
        try:
            async with asyncio.timeout(timeout):
                out, err, code = await asyncio.gather(
                    _tail(process.stdout, self._limit), _tail(process.stderr, self._limit), process.wait()
                )
        except TimeoutError:
            raise TimedOut(f"{argv[0]} did not end within {timeout:g} s") from None
        finally:
            await _end_group(process)
        return Completed(argv=tuple(argv), code=code, out=out, err=err, seconds=time.monotonic() - begun)

    async def _started(self, argv: Sequence[str]) -> asyncio.subprocess.Process:
        """A cancel that comes while it starts waits until the whole group can be ended, not only its first process."""
        starting = asyncio.ensure_future(self._start(argv))
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            with contextlib.suppress(NotStarted):
                await _end_group(await starting)
            raise

    async def _start(self, argv: Sequence[str]) -> asyncio.subprocess.Process:
        try:
            return await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=self._env,
                start_new_session=True,
            )
        except OSError as error:
            raise NotStarted(f"{argv[0]} cannot be started: {error.strerror or error}") from error
        except ValueError as error:  # a null byte in an argument
            raise NotStarted(f"{argv[0]} cannot be started: {error}") from error


def host_environment(env: Mapping[str, str], *, bundled: bool | None = None) -> dict[str, str]:
    """What a program of the host gets: its own PATH and library path, plain English output, and our proxies.

    A bundled program's bootloader puts its own libraries into LD_LIBRARY_PATH and keeps the host's value, where there
    is one, in LD_LIBRARY_PATH_ORIG. TMPDIR is ours alone: images that are pulled do not belong there.
    """
    if getattr(sys, "frozen", False) if bundled is None else bundled:
        env = {name: value for name, value in env.items() if name != "LD_LIBRARY_PATH"}
        env |= {"LD_LIBRARY_PATH": env["LD_LIBRARY_PATH_ORIG"]} if "LD_LIBRARY_PATH_ORIG" in env else {}
    fixed = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C.UTF-8",
        "HOME": "/root",
        "RPMOSTREE_CLIENT_ID": "upgraded",
    }
    return fixed | {name: env[name] for name in _PASSED_ON if name in env}


async def _tail(stream: asyncio.StreamReader | None, limit: int) -> str:
    """The last `limit` bytes of the stream, read to its end."""
    kept = bytearray()
    while stream is not None and (chunk := await stream.read(65536)):
        kept += chunk
        del kept[:-limit]
    return kept.decode(errors="replace")


async def _end_group(process: asyncio.subprocess.Process) -> None:
    """End what is left of the program: itself and all it started that stayed in its group."""
    if process.returncode is None and _signal_group(process.pid, signal.SIGTERM):
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), GRACE)
    _signal_group(process.pid, signal.SIGKILL)
    await process.wait()


def _signal_group(pid: int, number: signal.Signals) -> bool:
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return False
    return True
