"""What the nodes boot and run: deployment trees, and the images that a registry has for them."""

import importlib.metadata
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import kube_upgrade
from kube_upgrade.lab import data
from kube_upgrade.lab.binaries import cache_directory
from kube_upgrade.lab.images import all_images
from kube_upgrade.lab.pins import go_arch
from kube_upgrade.lab.real.binaries import RealBinaries
from kube_upgrade.lab.real.images import Image, Store, libraries
from kube_upgrade.lab.real.services import packed_daemon
from kube_upgrade.lab.real.tools import IPTABLES, Tools
from kube_upgrade.lab.registry_content import index, manifest
from kube_upgrade.model.version import KubeVersion

APP = "registry.lab/app:1.0.0"
STREAM = "kube-upgrade-lab/os"  # repository of the OS images, on each node's registry
OURS = ("localhost/kube-upgrade", "0.1.0")  # as deploy/base names it
DAEMON = ("localhost/kube-upgraded", "0.1.0")  # as deploy/node names it
SHELL = ("sh", "cp", "mkdir", "mv", "rm", "chroot")  # what deploy/node/enter-host.sh calls
PYTHON = "/opt/python"
SITE = "/opt/site"
_XTABLES = ("/usr/lib/x86_64-linux-gnu/xtables", "/usr/lib/aarch64-linux-gnu/xtables", "/usr/lib64/xtables")
_SKIPPED = ("test", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3", "pydoc_data", "site-packages")
_NAME = re.compile(r"[A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """Makes them. Images are kept in the cache; trees are made of hard links where that is possible."""

    binaries: RealBinaries
    tools: Tools
    store: Store

    @classmethod
    def of(cls, binaries: RealBinaries, tools: Tools) -> "Content":
        """With the store in this user's cache."""
        return cls(binaries=binaries, tools=tools, store=Store(cache_directory() / "real" / "images"))

    def publish(self, tags: Path, *, broken: Iterable[str] = ()) -> dict[str, str]:
        """Make every image and let `tags` name them. Those in `broken` hold a program that never serves.

        Returns the digests of the OS images by version.
        """
        named = {_tag(reference): digest for reference, digest in self._images(set(broken))}
        streams = {version: self._os_image(version, named) for version in self.binaries.kubernetes}
        fresh = tags.with_suffix(".new")
        fresh.write_text(json.dumps(named, indent=1))
        fresh.replace(tags)
        self.store.prune()
        return streams

    def trees(self, folder: Path) -> Path:
        """base/usr, which does not change, and VERSION/usr with kubelet, kubeadm and kubectl."""
        base = folder / "base" / "usr"
        for name in ("local/bin", "libexec/kubernetes/kubelet-plugins/volume/exec", "lib/modules"):
            (base / name).mkdir(parents=True)
        for path in self.binaries.containerd.paths.values():
            _link(path, base / "local/bin")
        _link(self.binaries.etcd["3.6"]["etcdutl"], base / "local/bin")
        for program in ("rpm-ostree", "ostree", "systemctl"):
            _script(base / "local/bin" / program, program.replace("-", "_"))
        (base / "bin").mkdir()
        for program in ("rpm-ostree", "ostree", "systemctl"):  # upgraded asks for them where Fedora has them
            (base / "bin" / program).symlink_to(f"../local/bin/{program}")
        for version, programs in self.binaries.kubernetes.items():
            bin_ = folder / version / "usr" / "bin"
            bin_.mkdir(parents=True)
            for name in ("kubelet", "kubeadm", "kubectl"):
                _link(programs[name], bin_)
        return folder

    def _images(self, broken: set[str]) -> Iterator[tuple[str, str]]:
        yield APP, self.store.image(_program("app", self.binaries.workloads["app"], "/usr/local/bin/app"))
        yield ":".join(OURS), self.store.image(self._ours())
        if packed := packed_daemon():
            yield ":".join(DAEMON), self.store.image(_node_daemon(packed.with_name("upgraded")))
        for version in self.binaries.kubernetes:
            for reference in all_images(KubeVersion.parse(version)):
                image = (
                    self._never_serves(reference) if reference in broken else self._of_kubernetes(reference, version)
                )
                yield reference, self.store.image(image)

    def _of_kubernetes(self, reference: str, version: str) -> Image:
        """The tags are those that kubeadm wants; etcd and CoreDNS below them are the pinned ones."""
        name, tag = reference.rpartition("/")[2].split(":")
        makers: Mapping[str, Callable[[], Image]] = {
            "etcd": lambda: _etcd(self.binaries.etcd[tag[:3]].paths),
            "pause": lambda: _program("pause", self.binaries.workloads["pause"], "/pause"),
            "coredns": lambda: _program("coredns", self.binaries.coredns["coredns"], "/coredns"),
            "kube-proxy": lambda: self._kube_proxy(self.binaries.kubernetes[version]["kube-proxy"]),
        }
        if name in makers:
            return makers[name]()
        return _program(name, self.binaries.kubernetes[version][name], f"/usr/local/bin/{name}")

    def _never_serves(self, reference: str) -> Image:
        name = reference.rpartition("/")[2].split(":")[0]
        return _program(name, self.binaries.workloads["pause"], f"/usr/local/bin/{name}")

    def _kube_proxy(self, program: Path) -> Image:
        search = self.tools.libraries
        files = {"/usr/local/bin/kube-proxy": program}
        for name in ("xtables-nft-multi", "nft", "conntrack"):
            found = self.tools.find(name)
            files |= {f"/usr/sbin/{name}": found, **libraries(found, search)}
        folder, modules = self._xtables()
        files[folder] = modules
        for module in _shared_objects(modules):
            files |= libraries(module, search)
        return Image(
            entrypoint=("/usr/local/bin/kube-proxy",),
            files=files,
            links={f"/usr/sbin/{name}": "xtables-nft-multi" for name in IPTABLES},
        )

    def _xtables(self) -> tuple[str, Path]:
        for name in _XTABLES:
            below = self.tools.tree / name.removeprefix("/usr/") if self.tools.tree else Path(name)
            if below.is_dir():
                return name, below
        raise FileNotFoundError(f"no folder of iptables' modules among {', '.join(_XTABLES)}")

    def _ours(self) -> Image:
        """Python, what requirements.lock names, and this very source: what deploy/Containerfile would build."""
        lib = f"lib/python{sys.version_info.major}.{sys.version_info.minor}"
        base = Path(sys.base_prefix)
        program = Path(os.path.realpath(sys.executable))
        files = {f"{PYTHON}/bin/python3": program, **libraries(program, [])}
        for entry in sorted((base / lib).iterdir()):
            if entry.name not in _SKIPPED and not entry.name.startswith(("config-", "__pycache__")):
                files[f"{PYTHON}/{lib}/{entry.name}"] = entry
        files |= _distributions()
        files[f"{SITE}/kube_upgrade"] = Path(kube_upgrade.__file__).parent
        for path in [found for source in files.values() for found in _shared_objects(source)]:
            files |= libraries(path, [])
        return Image(
            entrypoint=(f"{PYTHON}/bin/python3",),
            files=files,
            texts={
                f"/usr/local/bin/{name}": _entry(module)
                for name, module in {
                    "upgrade-controller": "kube_upgrade.controller.main",
                    "fleetlock": "kube_upgrade.fleetlock.main",
                }.items()
            },
            environment=(
                "PATH=/usr/local/bin:/usr/bin",
                f"PYTHONPATH={SITE}",
                f"PYTHONHOME={PYTHON}",
                "PYTHONDONTWRITEBYTECODE=1",
            ),
        )

    def _os_image(self, version: str, named: dict[str, str]) -> str:
        """The manifest that `upgraded` resolves and rpm-ostree stages; behind it is the tree of the version."""
        body = manifest(STREAM, version, 1, go_arch())
        digest = self.store.put(body)
        named[f"{STREAM}:{version}"] = self.store.put(index({go_arch(): body}))
        return digest


def _program(name: str, path: Path, target: str) -> Image:
    return Image(entrypoint=(target,), files={target: path})


def _etcd(paths: Mapping[str, Path]) -> Image:
    return Image(
        entrypoint=("/usr/local/bin/etcd",), files={f"/usr/local/bin/{name}": path for name, path in paths.items()}
    )


def _node_daemon(folder: Path) -> Image:
    """What deploy/Containerfile's `node` is: the self-contained daemon, and a shell that takes it to the host."""
    files = {"/opt/upgraded": folder, "/enter-host.sh": data.folder("deploy") / "node" / "enter-host.sh"}
    for name in SHELL:
        program = Path(os.path.realpath(shutil.which(name) or f"/bin/{name}"))
        files |= {f"/bin/{name}": program, **libraries(program, [])}
    return Image(entrypoint=("/enter-host.sh", "/host"), files=files)


def _distributions() -> dict[str, Path]:
    """What we need to run, file by file, and the words that tell our own version."""
    files: dict[str, Path] = {}
    for name in _closure("kube-upgrade"):
        for file in importlib.metadata.distribution(name).files or ():
            path = Path(str(file.locate()))
            wanted = name != "kube-upgrade" or ".dist-info" in str(file)
            if wanted and not str(file).startswith("..") and path.is_file() and "__pycache__" not in path.parts:
                files[f"{SITE}/{file}"] = path
    return files


def _closure(name: str) -> set[str]:
    """A distribution and all that it needs without extras, as far as it is installed."""
    found: set[str] = set()
    left = [name]
    while left:
        name = left.pop()
        try:
            requires = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:  # of another platform or Python
            continue
        if name not in found:
            found.add(name)
            left += [match[0] for line in requires if "extra" not in line and (match := _NAME.match(line))]
    return found


def _shared_objects(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from path.rglob("*.so")
    elif path.suffix == ".so":
        yield path


def _entry(module: str) -> str:
    return f"#!{PYTHON}/bin/python3\nfrom {module} import main\n\nmain()\n"


def _tag(reference: str) -> str:
    """REPOSITORY:TAG as a mirror is asked for it, without the registry's host."""
    return reference.partition("/")[2]


def _link(path: Path, folder: Path) -> None:
    try:
        os.link(path, folder / path.name)
    except OSError:  # another file system
        shutil.copy2(path, folder / path.name)


def _script(path: Path, module: str) -> None:
    """A stand-in under the program's name; the node has this Python at the same place."""
    machine = "" if module == "systemctl" else " --machine /var/lib/lab-machine"
    path.write_text(f'#!/bin/sh\nexec {sys.executable} -I -m kube_upgrade.lab.real.{module}{machine} "$@"\n')
    path.chmod(0o755)
