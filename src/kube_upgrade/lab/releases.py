"""Fetch official release binaries, each checked against its published SHA-256 before anyone may run it.

Kubernetes: BASE/VERSION/bin/linux/ARCH/PROGRAM with PROGRAM.sha256; etcd: a tar file in BASE/VERSION with SHA256SUMS.
The checksum comes first: it is tiny, so a site that cannot be reached is noticed within `patience` seconds; all sites
are asked at once before anything is fetched, so that being offline costs that much in all.
"""

import hashlib
import http.client
import re
import tarfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kube_upgrade.lab.pins import ETCD, KUBERNETES, Component, go_arch
from kube_upgrade.lab.progress import Progress

RELEASED = (ETCD.name, KUBERNETES.name)  # whose releases are fetched
ALWAYS_BUILT = "it is always built"
CHUNK = 256 * 1024
MIB = 1024**2
DIGEST = re.compile(r"\b[0-9a-f]{64}\b")


class Unavailable(Exception):
    """No release binary from there; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where releases lie and how long they may take. Building from source takes minutes: slower than that is no use."""

    kubernetes: str = "https://dl.k8s.io"
    etcd: str = "https://github.com/etcd-io/etcd/releases/download"
    patience: float = 3.0  # seconds until the checksum is here
    stall: float = 10.0  # seconds without a byte
    slowest: float = 500_000.0  # bytes per second, on average after `stall` seconds


def unreachable(wanted: Iterable[tuple[Component, Sequence[str]]], site: Site) -> dict[str, str]:
    """By component, why a release is out of reach; known within `site.patience` seconds for all of them together."""
    deadline = time.monotonic() + site.patience
    wanted = list(wanted)
    asked = {
        component.name: _Answer(_checksum_url(component, programs[0], site), site.patience)
        for component, programs in wanted
        if component.name in RELEASED
    }
    found = {component.name: ALWAYS_BUILT for component, _ in wanted if component.name not in RELEASED}
    for name, answer in asked.items():
        try:
            answer.wait(deadline)
        except Unavailable as unavailable:
            found[name] = str(unavailable)
    return found


def _checksum_url(component: Component, program: str, site: Site) -> str:
    base = _base(component, site)
    return f"{base}/SHA256SUMS" if component.name == ETCD.name else f"{base}/bin/linux/{go_arch()}/{program}.sha256"


def _base(component: Component, site: Site) -> str:
    return f"{site.etcd if component.name == ETCD.name else site.kubernetes}/{component.version}"


def fetch(component: Component, programs: Sequence[str], target: Path, site: Site, progress: Progress) -> None:
    """Fetch these programs of a component into the folder `target`, executable. Raises Unavailable."""
    if component.name not in RELEASED:
        raise Unavailable(ALWAYS_BUILT)
    base = _base(component, site)
    if component.name == ETCD.name:
        _fetch_etcd(component, programs, base, target, site, progress)
        return
    for name in programs:
        url = f"{base}/bin/linux/{go_arch()}/{name}"
        wanted = _digest(_small(f"{url}.sha256", site.patience), f"{url}.sha256")
        _download(url, wanted, target / name, site, progress)
        (target / name).chmod(0o755)


def _fetch_etcd(
    component: Component, programs: Sequence[str], base: str, target: Path, site: Site, progress: Progress
) -> None:
    name = f"etcd-{component.version}-linux-{go_arch()}"
    sums = _small(f"{base}/SHA256SUMS", site.patience)
    line = next((line for line in sums.splitlines() if line.split()[-1:] == [f"{name}.tar.gz"]), "")
    archive = target / f"{name}.tar.gz"
    _download(f"{base}/{name}.tar.gz", _digest(line, f"{base}/SHA256SUMS"), archive, site, progress)
    with tarfile.open(archive) as tar:
        for program in programs:
            member = tar.extractfile(f"{name}/{program}")
            if member is None:
                raise Unavailable(f"{base}/{name}.tar.gz holds no program {name}/{program}")
            (target / program).write_bytes(member.read())
            (target / program).chmod(0o755)
    archive.unlink()


def _digest(text: str, url: str) -> str:
    found = DIGEST.search(text)
    if found is None:
        raise Unavailable(f"{url} holds no SHA-256")
    return found[0]


def _small(url: str, seconds: float) -> str:
    """A small text, within `seconds` in all."""
    return _Answer(url, seconds).wait(time.monotonic() + seconds)


class _Answer:
    """A small text under way. A thread gets it, because no timeout covers the look-up of a host name."""

    def __init__(self, url: str, seconds: float) -> None:
        self._url = url
        self._seconds = seconds
        self._result: list[str | Exception] = []
        self._thread = threading.Thread(target=self._get, name=f"GET {url}", daemon=True)
        self._thread.start()

    def _get(self) -> None:
        try:
            with _open(self._url, self._seconds) as answer:
                self._result.append(answer.read(CHUNK).decode(errors="replace"))
        except (OSError, http.client.HTTPException, ValueError) as failure:
            self._result.append(failure)

    def wait(self, deadline: float) -> str:
        """The text, at `deadline` (monotonic) at the latest. Raises Unavailable."""
        self._thread.join(max(0.0, deadline - time.monotonic()))
        match self._result[:1]:
            case [str() as text]:
                return text
            case [Exception() as failure]:
                raise Unavailable(f"{self._url}: {failure}") from failure
            case _:
                raise Unavailable(f"{self._url}: no answer within {self._seconds:g} s")


def _download(url: str, wanted: str, target: Path, site: Site, progress: Progress) -> None:
    """Download to `target`; remove it again where it is not what the checksum says."""
    digest = hashlib.sha256()
    try:
        with target.open("wb") as out:
            for chunk in _chunks(url, site, progress):
                digest.update(chunk)
                out.write(chunk)
    except (OSError, http.client.HTTPException, ValueError) as failure:
        target.unlink(missing_ok=True)
        raise Unavailable(f"{url}: {failure}") from failure
    if digest.hexdigest() != wanted:
        target.unlink()
        raise Unavailable(f"{url}: its SHA-256 is {digest.hexdigest()}, published is {wanted}; thrown away")


def _chunks(url: str, site: Site, progress: Progress) -> Iterator[bytes]:
    """The body; OSError where it is slower than the site may be, or ends early."""
    began, got = time.monotonic(), 0
    with _open(url, site.stall) as answer:
        size = int(answer.headers.get("Content-Length") or 0)
        while chunk := answer.read1(CHUNK):
            yield chunk
            got += len(chunk)
            seconds = time.monotonic() - began
            if seconds > site.stall and got / seconds < site.slowest:
                raise TimeoutError(f"too slow, {got / seconds / 1000:.0f} kB/s")
            progress.show(f"  fetching {url}: {got / MIB:.0f} of {size / MIB:.0f} MiB, {seconds:.0f} s")
    if got < size:
        raise ConnectionError(f"ended after {got} of {size} bytes")


def _open(url: str, timeout: float) -> http.client.HTTPResponse:
    if not url.startswith(("https://", "http://")):
        raise ValueError(f"{url}: want an http or https URL")
    request = urllib.request.Request(url, headers={"User-Agent": "kube-upgrade-lab"})
    try:
        answer: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as refused:
        refused.close()
        raise OSError(str(refused)) from None
    return answer
