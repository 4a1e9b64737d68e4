"""What lies below containerd and the kubelet and comes from the distribution: runc, CNI plugins, iptables and friends.

What the machine lacks is fetched by its own apt and unpacked into the cache: nothing is installed.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from kube_upgrade.lab.binaries import cache_directory
from kube_upgrade.lab.progress import Progress

CNI_FOLDERS = ("/usr/lib/cni", "/usr/libexec/cni", "/opt/cni/bin")
PROGRAMS = ("runc", "xtables-nft-multi", "nft", "conntrack")
PLUGINS = ("bridge", "host-local", "portmap", "loopback")
PACKAGES = ("runc", "containernetworking-plugins", "iptables", "nftables", "conntrack")  # Debian's names
FEDORA = "runc containernetworking-plugins iptables-nft nftables conntrack-tools"
IPTABLES = ("iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore")
_SEARCH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


class NoTools(Exception):
    """Something is missing and cannot be fetched here; the message names it and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """Where they are: below `tree` (laid over the node's /usr) where it is given, else in this machine's /usr."""

    tree: Path | None

    def find(self, program: str) -> Path:
        """A program's real file. Raises NoTools."""
        found = _in_tree(self.tree, program) or _on_machine(program)
        if found is None:
            raise NoTools(f"{program} is missing")
        return found.resolve()

    @property
    def libraries(self) -> list[Path]:
        """Folders with shared libraries that the loader would not look into by itself."""
        return sorted({path.parent for path in (self.tree or Path("/nowhere")).rglob("*.so.*")})


def find_or_fetch(progress: Progress) -> Tools:
    """All of them. Raises NoTools."""
    missing = missing_here()
    if not missing:
        return Tools(tree=None)
    tree = cache_directory() / "real" / "tools" / "usr"
    if not tree.is_dir():
        if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
            raise NoTools(
                f"this machine lacks {', '.join(missing)}. Install them"
                f" (Debian: {' '.join(PACKAGES)}; Fedora: {FEDORA})"
            )
        _fetch(tree, missing, progress)
    tools = Tools(tree=tree)
    for program in PROGRAMS:
        tools.find(program)
    return tools


def missing_here() -> list[str]:
    """Programs and CNI plugins that this machine does not have."""
    programs = [name for name in PROGRAMS if _on_machine(name) is None]
    plugins = [name for name in PLUGINS if not any((Path(folder) / name).exists() for folder in CNI_FOLDERS)]
    return programs + plugins


def _fetch(tree: Path, missing: list[str], progress: Progress) -> None:
    """Download the packages and what they need that is not installed, and unpack them side by side."""
    progress.say(f"not on this machine: {', '.join(missing)}; fetching {' '.join(PACKAGES)} by apt into {tree.parent}")
    fresh = tree.parent.with_name(f".tools-{os.getpid()}")
    shutil.rmtree(fresh, ignore_errors=True)
    archives = fresh / "archives"
    (archives / "partial").mkdir(parents=True)
    options = ["--download-only", "--yes", "-qq", "--no-install-recommends"]
    options += [f"-oDir::Cache::archives={archives}", "-oDebug::NoLocking=true", "-oAPT::Sandbox::User=root"]
    try:
        _call(["apt-get", "install", *options, *PACKAGES])
        for package in sorted(archives.glob("*.deb")):
            _call(["dpkg-deb", "--extract", str(package), str(fresh / "unpacked")])
        _merge(fresh / "unpacked")
        _name_iptables(fresh / "unpacked" / "usr" / "sbin")
        shutil.rmtree(tree.parent, ignore_errors=True)
        (fresh / "unpacked").rename(tree.parent)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _merge(unpacked: Path) -> None:
    """Packages from before the merge of /usr have files in /bin, /sbin and /lib."""
    for name in ("bin", "sbin", "lib"):
        old = unpacked / name
        if old.is_dir() and not old.is_symlink():
            shutil.copytree(old, unpacked / "usr" / name, symlinks=True, dirs_exist_ok=True)


def _name_iptables(sbin: Path) -> None:
    """The names that the package's own script would link by update-alternatives."""
    for name in IPTABLES:
        if not (sbin / name).exists():
            (sbin / name).unlink(missing_ok=True)
            (sbin / name).symlink_to("xtables-nft-multi")


def _call(argv: list[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        why = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise NoTools(
            f"`{' '.join(argv[:2])}` failed: {why}. Run `apt-get update` and try again, or install"
            f" {' '.join(PACKAGES)} yourself"
        )


def _on_machine(program: str) -> Path | None:
    return next((path for folder in _SEARCH if (path := Path(folder) / program).exists()), None)


def _in_tree(tree: Path | None, program: str) -> Path | None:
    if tree is None:
        return None
    return next((path for folder in ("sbin", "bin") if (path := tree / folder / program).exists()), None)
