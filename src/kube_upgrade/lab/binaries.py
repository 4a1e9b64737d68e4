"""Find or make the programs of a real control plane, in this order:

1. the folder KUBEBUILDER_ASSETS, then PATH, where the program says exactly the pinned version;
2. this user's cache (one for all checkouts, keyed by the pins);
3. the official release, checked against its published checksum;
4. a build from the Go modules.

`python -m kube_upgrade.lab.binaries` does it and prints the paths.
"""

import argparse
import fcntl
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from kube_upgrade.lab import go_build, releases
from kube_upgrade.lab.pins import COMPONENTS, CONTROL_PLANE, Component, component_of, version_of
from kube_upgrade.lab.progress import Progress


class NoBinaries(Exception):
    """A program could neither be found, fetched nor built; the message says what was tried and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Binaries:
    """Where each program lies: `binaries["kubectl"]`."""

    paths: Mapping[str, Path]

    def __getitem__(self, program: str) -> Path:
        return self.paths[program]


def cache_directory() -> Path:
    """`$XDG_CACHE_HOME/kube-upgrade`, by default below ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kube-upgrade"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where to look. `assets` and `path` None: none of that kind; `site` None: no downloads."""

    assets: Path | None = None
    path: str | None = None
    site: releases.Site | None = field(default_factory=releases.Site)
    cache: Path = field(default_factory=cache_directory)
    build: bool = True
    unreachable: Mapping[str, str] = field(default_factory=dict)  # component → why its release is out of reach

    @classmethod
    def of_this_machine(cls) -> "Sources":
        """What the environment says."""
        assets = os.environ.get("KUBEBUILDER_ASSETS")
        return cls(assets=Path(assets) if assets else None, path=os.environ.get("PATH"))


def find_or_make(
    programs: Iterable[str] = CONTROL_PLANE, sources: Sources | None = None, progress: Progress | None = None
) -> Binaries:
    """All these programs, made where they are missing. Raises NoBinaries, or KeyError for an unknown program."""
    programs = tuple(programs)
    components = {name: component_of(name) for name in programs}
    wanted = [(each, [name for name in programs if components[name] is each]) for each in COMPONENTS]
    return Binaries(paths=_find_or_make(wanted, sources, progress))


def find_or_make_of(
    component: Component,
    programs: Iterable[str] | None = None,
    sources: Sources | None = None,
    progress: Progress | None = None,
) -> Binaries:
    """These programs of a component (all by default), made where they are missing. Raises NoBinaries."""
    names = list(component.packages if programs is None else programs)
    return Binaries(paths=_find_or_make([(component, names)], sources, progress))


def _find_or_make(
    wanted: Sequence[tuple[Component, Sequence[str]]], sources: Sources | None, progress: Progress | None
) -> dict[str, Path]:
    sources, progress = sources or Sources.of_this_machine(), progress or Progress()
    found = {
        name: path
        for component, names in wanted
        for name in names
        if (path := _outside(component, name, sources)) is not None
    }
    left = ((component, [name for name in names if name not in found]) for component, names in wanted)
    missing = [(component, names) for component, names in left if names]
    sources = _reachable(missing, sources, progress)
    for component, names in missing:
        found |= _cached(component, names, sources, progress)
    return {name: found[name] for _, names in wanted for name in names}


def _outside(component: Component, program: str, sources: Sources) -> Path | None:
    """The program in KUBEBUILDER_ASSETS or on PATH, where it fits the pin exactly."""
    candidates = [sources.assets / program] if sources.assets else []
    if sources.path and (on_path := shutil.which(program, path=sources.path)):
        candidates.append(Path(on_path))
    fits = (path for path in candidates if path.is_file() and version_of(program, path) == component.version)
    return next(fits, None)


def _reachable(wanted: Sequence[tuple[Component, Sequence[str]]], sources: Sources, progress: Progress) -> Sources:
    """The same sources, knowing which releases are out of reach: asked only for what has to be made."""
    fresh = [(component, names) for component, names in wanted if _unmade(component, names, sources)]
    if sources.site is None or not fresh:
        return sources
    unreachable = releases.unreachable(fresh, sources.site)
    for name, why in unreachable.items():
        progress.say(f"no release binaries of {name}: {why}")
    return replace(sources, unreachable=unreachable)


def _cached(component: Component, programs: Sequence[str], sources: Sources, progress: Progress) -> dict[str, Path]:
    """These programs from the cache; missing ones are made first, by one run at a time."""
    folder = _folder(component, sources)
    if _unmade(component, programs, sources):
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder, progress):
            missing = _unmade(component, programs, sources)  # another run may have made them
            if missing:
                _make(component, missing, folder, sources, progress)
    return {name: folder / name for name in programs}


def _folder(component: Component, sources: Sources) -> Path:
    return sources.cache / "binaries" / component.key


def _unmade(component: Component, programs: Sequence[str], sources: Sources) -> list[str]:
    return [name for name in programs if not _stamped(_folder(component, sources) / name)]


def _make(component: Component, programs: Sequence[str], folder: Path, sources: Sources, progress: Progress) -> None:
    for left in folder.glob(".new-*"):  # of runs that were killed: we hold the lock
        shutil.rmtree(left)
    fresh = folder / f".new-{os.getpid()}"
    fresh.mkdir()
    try:
        source = _fetch_or_build(component, programs, fresh, sources, progress)
        for name in programs:
            _admit(component, name, fresh / name, folder / name, source)
    finally:
        shutil.rmtree(fresh)


def _fetch_or_build(
    component: Component, programs: Sequence[str], fresh: Path, sources: Sources, progress: Progress
) -> str:
    """Bring the programs into `fresh`; returns `release` or `built`."""
    why = sources.unreachable.get(component.name, "downloads are off")
    if sources.site is not None and component.name not in sources.unreachable:
        try:
            releases.fetch(component, programs, fresh, sources.site, progress)
        except releases.Unavailable as unavailable:
            why = str(unavailable)
            progress.say(f"no release binaries of {component.name} {component.version}: {why}")
            for partly in fresh.iterdir():
                partly.unlink()
        else:
            return "release"
    if not sources.build:
        raise NoBinaries(f"{component.name} {component.version}: {why}, and building is off")
    try:
        go = go_build.find_go(sources.cache / "go", progress, path=sources.path or "")
        go_build.build(component, programs, fresh, progress, go)
    except go_build.BuildFailed as failure:
        raise NoBinaries(f"{component.name} {component.version} (no release binaries: {why}): {failure}") from failure
    return "built"


def _admit(component: Component, program: str, fresh: Path, target: Path, source: str) -> None:
    """Take a fresh program into the cache: it must run and say the pinned version. The stamp comes last."""
    version = version_of(program, fresh)
    if version != component.version:
        raise NoBinaries(f"{program} ({source}) says version {version or 'nothing'}, wanted {component.version}")
    with fresh.open("rb") as data:
        digest = hashlib.file_digest(data, "sha256").hexdigest()
    stamp = {"version": version, "source": source, "size": fresh.stat().st_size, "sha256": digest}
    fresh.rename(target)
    draft = fresh.with_suffix(".stamp")
    draft.write_text(json.dumps(stamp) + "\n")
    draft.rename(_stamp_of(target))


def _stamp_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _stamped(path: Path) -> bool:
    """True where the program is whole: it has a stamp and the stamp's size."""
    try:
        stamp = json.loads(_stamp_of(path).read_text())
        return bool(path.stat().st_size == stamp["size"])
    except (OSError, ValueError, KeyError):
        return False


@contextmanager
def _alone(folder: Path, progress: Progress) -> Iterator[None]:
    """Hold the folder's lock; say so while another run has it."""
    began = time.monotonic()
    with (folder / ".lock").open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                progress.show(f"another run makes {folder.name}, waiting: {time.monotonic() - began:.0f} s")
                time.sleep(0.2)
        yield


def main(argv: Sequence[str] | None = None) -> int:
    """Print the paths of the programs, one a line, or with `-o json` one JSON object as the last line."""
    parser = argparse.ArgumentParser(prog="python -m kube_upgrade.lab.binaries", description=main.__doc__)
    parser.add_argument("--only", nargs="+", default=CONTROL_PLANE, metavar="PROGRAM", help="instead of all five")
    parser.add_argument("--no-download", action="store_true", help="do not ask for official releases")
    parser.add_argument("--no-build", action="store_true", help="do not build from source")
    parser.add_argument("-o", "--output", choices=["text", "json"], default="text")
    chosen = parser.parse_args(argv)
    of_machine = Sources.of_this_machine()
    sources = Sources(
        assets=of_machine.assets,
        path=of_machine.path,
        site=None if chosen.no_download else of_machine.site,
        build=not chosen.no_build,
    )
    try:
        binaries = find_or_make(chosen.only, sources)
    except (NoBinaries, KeyError) as failure:
        print(f"error: {failure.args[0]}", file=sys.stderr)
        return 1
    if chosen.output == "json":
        print(json.dumps({name: str(path) for name, path in binaries.paths.items()}))
    else:
        for name, path in binaries.paths.items():
            print(f"{name}\t{path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
