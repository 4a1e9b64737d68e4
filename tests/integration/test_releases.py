"""Release binaries are taken from their site only whole and only as published; a bad site costs seconds."""

import hashlib
import io
import socket
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kube_upgrade.lab.binaries import NoBinaries, Sources, find_or_make
from kube_upgrade.lab.pins import ETCD, KUBERNETES, go_arch
from kube_upgrade.lab.progress import Progress
from kube_upgrade.lab.releases import Site, Unavailable, fetch
from support.fake_go import calls, fake_go
from support.release_site import Files, checksum, serving

KUBECTL = f"/{KUBERNETES.version}/bin/linux/{go_arch()}/kubectl"
ETCD_TAR = f"/{ETCD.version}/etcd-{ETCD.version}-linux-{go_arch()}.tar.gz"
ETCD_SUMS = f"/{ETCD.version}/SHA256SUMS"
PROGRAM = f"#!/bin/sh\necho 'Client Version: {KUBERNETES.version}'\n".encode()


def etcd_archive() -> bytes:
    program = f"#!/bin/sh\necho 'etcd Version: {ETCD.version.removeprefix('v')}'\n".encode()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        entry = tarfile.TarInfo(f"etcd-{ETCD.version}-linux-{go_arch()}/etcd")
        entry.size = len(program)
        tar.addfile(entry, io.BytesIO(program))
    return buffer.getvalue()


@pytest.fixture
def site() -> Iterator[Files]:
    """A site with a good kubectl and a good etcd."""
    archive = etcd_archive()
    sums = f"{'0' * 64}  other.tar.gz\n{hashlib.sha256(archive).hexdigest()}  {ETCD_TAR.rsplit('/', 1)[1]}\n"
    files = {
        KUBECTL: PROGRAM,
        f"{KUBECTL}.sha256": checksum(PROGRAM),
        ETCD_TAR: archive,
        ETCD_SUMS: sums.encode(),
    }
    with serving(files) as served:
        yield served


def impatient(url: str) -> Site:
    return Site(kubernetes=url, etcd=url, patience=0.3, stall=0.3)


@pytest.fixture
def quiet() -> Progress:
    return Progress(io.StringIO(), live=False)


def test_good_files_are_fetched_once_and_cached(site: Files, tmp_path: Path, quiet: Progress) -> None:
    sources = Sources(cache=tmp_path, site=Site(kubernetes=site.url, etcd=site.url), build=False)
    found = find_or_make(["kubectl", "etcd"], sources, quiet)
    assert found["kubectl"].read_bytes() == PROGRAM
    asked = len(site.asked)
    assert find_or_make(["kubectl", "etcd"], sources, quiet) == found
    assert len(site.asked) == asked, "a second run asks nobody"


def test_a_wrong_checksum_is_refused_and_the_file_thrown_away(site: Files, tmp_path: Path, quiet: Progress) -> None:
    site.files = {**site.files, KUBECTL: PROGRAM + b"evil"}
    with pytest.raises(Unavailable, match=r"SHA-256 is .* published is"):
        fetch(KUBERNETES, ["kubectl"], tmp_path, impatient(site.url), quiet)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_checksum_of_etcd_is_refused(site: Files, tmp_path: Path, quiet: Progress) -> None:
    site.files = {**site.files, ETCD_TAR: etcd_archive() + b"evil"}
    with pytest.raises(Unavailable, match="SHA-256"):
        fetch(ETCD, ["etcd"], tmp_path, impatient(site.url), quiet)


def test_a_file_cut_short_is_refused(site: Files, tmp_path: Path, quiet: Progress) -> None:
    site.cut = {KUBECTL}
    with pytest.raises(Unavailable, match=r"ended after|IncompleteRead"):
        fetch(KUBERNETES, ["kubectl"], tmp_path, impatient(site.url), quiet)
    assert list(tmp_path.iterdir()) == []


def test_a_file_slower_than_a_build_is_given_up(site: Files, tmp_path: Path, quiet: Progress) -> None:
    site.trickle = {KUBECTL}
    with pytest.raises(Unavailable, match="too slow"):
        fetch(KUBERNETES, ["kubectl"], tmp_path, impatient(site.url), quiet)


def test_a_site_that_never_answers_is_noticed_in_time(site: Files, tmp_path: Path, quiet: Progress) -> None:
    site.hang = {f"{KUBECTL}.sha256"}
    began = time.monotonic()
    with pytest.raises(Unavailable, match=r"no answer within|timed out"):
        fetch(KUBERNETES, ["kubectl"], tmp_path, impatient(site.url), quiet)
    assert time.monotonic() - began < Site().patience


def test_a_site_that_is_not_there_is_noticed_in_time(tmp_path: Path, quiet: Progress) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound, never listening: connections are refused
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(Unavailable, match="refused"):
            fetch(KUBERNETES, ["kubectl"], tmp_path, Site(kubernetes=url), quiet)
    assert time.monotonic() - began < Site().patience


def test_offline_costs_one_patience_for_all_components_together(site: Files, tmp_path: Path, quiet: Progress) -> None:
    """Both sites hang until somebody gives up. One after the other would take twice as long."""
    site.hang = {f"{KUBECTL}.sha256", ETCD_SUMS}
    patience = 2.0
    silent = Site(kubernetes=site.url, etcd=site.url, patience=patience)
    versions = f"$(case $0 in */etcd) echo {ETCD.version};; *) echo {KUBERNETES.version};; esac)"
    go = fake_go(tmp_path / "bin", says=versions)
    sources = Sources(cache=tmp_path / "cache", path=f"{go.parent}:/usr/bin:/bin", site=silent)
    began = time.monotonic()
    find_or_make(["etcd", "kubectl"], sources, quiet)
    assert calls(go, "build") == 2
    assert time.monotonic() - began < 2 * patience


def test_an_unreachable_site_is_noticed_within_three_seconds_by_default() -> None:
    """The bound of the promise; that one patience is all that is waited is the test above."""
    assert Site().patience <= 3.0


def test_a_release_that_is_not_published_is_said(site: Files, tmp_path: Path, quiet: Progress) -> None:
    with pytest.raises(Unavailable, match=r"kubelet\.sha256: HTTP Error 404"):
        fetch(KUBERNETES, ["kubelet"], tmp_path, impatient(site.url), quiet)


def test_a_page_without_a_checksum_is_refused(site: Files, tmp_path: Path, quiet: Progress) -> None:
    site.files = {**site.files, f"{KUBECTL}.sha256": b"<html>please log in</html>"}
    with pytest.raises(Unavailable, match="holds no SHA-256"):
        fetch(KUBERNETES, ["kubectl"], tmp_path, impatient(site.url), quiet)


def test_what_the_site_refuses_is_built(site: Files, tmp_path: Path, quiet: Progress) -> None:
    site.files = {**site.files, KUBECTL: PROGRAM + b"evil"}
    go = fake_go(tmp_path / "bin", says=KUBERNETES.version)
    path = f"{go.parent}:/usr/bin:/bin"
    found = find_or_make(["kubectl"], Sources(cache=tmp_path / "cache", path=path, site=impatient(site.url)), quiet)
    assert b"evil" not in found["kubectl"].read_bytes()
    assert calls(go, "build") == 1


def test_a_program_of_another_version_is_not_taken_in(site: Files, tmp_path: Path, quiet: Progress) -> None:
    other = PROGRAM.replace(KUBERNETES.version.encode(), b"v1.0.0")
    site.files = {**site.files, KUBECTL: other, f"{KUBECTL}.sha256": checksum(other)}
    sources = Sources(cache=tmp_path, site=impatient(site.url), build=False)
    with pytest.raises(NoBinaries, match=r"says version v1\.0\.0, wanted v1\.37\.2"):
        find_or_make(["kubectl"], sources, quiet)
    assert not list(tmp_path.rglob("kubectl"))
