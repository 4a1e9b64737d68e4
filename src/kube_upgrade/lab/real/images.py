"""Container images made on this machine: one uncompressed layer each, kept by content (OCI image format).

A store is a folder with blobs by digest, shared by all runs; which tags there are is a run's own business.
"""

import hashlib
import io
import json
import os
import re
import subprocess
import tarfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kube_upgrade.lab.pins import go_arch

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
IDLE = 2 * 24 * 3600.0  # seconds
FOLDERS = {"tmp": 0o1777, "etc": 0o755, "run": 0o755}
_LIBRARY = re.compile(r"(/\S+) \(0x")


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """What an image holds. `files` maps a path in it to a file or folder here, `links` a path to what it points at."""

    entrypoint: tuple[str, ...]
    files: Mapping[str, Path]
    links: Mapping[str, str] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)  # executable files by their content
    environment: tuple[str, ...] = (f"PATH={PATH}",)

    @property
    def key(self) -> str:
        """Changes with whatever the image holds: names, sizes and times of its files."""
        said: list[object] = [self.entrypoint, self.environment, dict(self.links), dict(self.texts)]
        for target, source in sorted(self.files.items()):
            for path in sorted(files_in(source)):
                stat = path.stat()
                said.append((target, str(path), stat.st_size, stat.st_mtime_ns))
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()


class Store:
    """Blobs below `folder`/sha256, and what was made of which files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "sha256").mkdir(parents=True, exist_ok=True)
        (folder / "made").mkdir(exist_ok=True)

    def image(self, image: Image) -> str:
        """Digest of the image's manifest, made where it is not there yet."""
        made = self.folder / "made" / image.key
        if made.exists() and self.blob(made.read_text()).exists():
            made.touch()
            return made.read_text()
        layer, size = self._layer(image)
        config = self.put(_json(_config(image, layer)))
        digest = self.put(
            _json(
                {
                    "schemaVersion": 2,
                    "mediaType": MANIFEST_TYPE,
                    "config": {"mediaType": CONFIG_TYPE, "digest": config, "size": self.blob(config).stat().st_size},
                    "layers": [{"mediaType": LAYER_TYPE, "digest": layer, "size": size}],
                }
            )
        )
        _replace(made, digest.encode())
        return digest

    def prune(self) -> None:
        """Forget images that nobody has asked for in a while: each change of our source makes a new one."""
        for made in (self.folder / "made").iterdir():
            if _idle(made):
                made.unlink(missing_ok=True)
        kept = {digest for made in (self.folder / "made").iterdir() for digest in self._parts(made.read_text())}
        for blob in (self.folder / "sha256").iterdir():
            if f"sha256:{blob.name}" not in kept and _idle(blob):
                blob.unlink(missing_ok=True)

    def _parts(self, digest: str) -> list[str]:
        manifest = json.loads(self.blob(digest).read_bytes())
        return [digest, manifest["config"]["digest"], *(layer["digest"] for layer in manifest["layers"])]

    def put(self, content: bytes) -> str:
        """Keep a small blob; its digest."""
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        if not self.blob(digest).exists():
            _replace(self.blob(digest), content)
        return digest

    def blob(self, digest: str) -> Path:
        """Where a blob lies."""
        return self.folder / digest.replace(":", "/")

    def _layer(self, image: Image) -> tuple[str, int]:
        fresh = self.folder / f".layer-{os.getpid()}"
        with fresh.open("wb") as out, tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
            _Packer(tar).pack(image)
        with fresh.open("rb") as data:
            digest = f"sha256:{hashlib.file_digest(data, 'sha256').hexdigest()}"
        size = fresh.stat().st_size
        fresh.replace(self.blob(digest))
        return digest, size


class _Packer:
    """Writes a layer: every folder before what is in it, nothing twice, all owned by root and without times."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._done: set[str] = set()

    def pack(self, image: Image) -> None:
        for name, mode in FOLDERS.items():
            self._folder(name, mode)
        for target, source in image.files.items():
            self._copy(target, source)
        for target, text in image.texts.items():
            self._add(target, io.BytesIO(text.encode()), len(text.encode()), 0o755)
        for target, pointed in image.links.items():
            self._link(target, pointed)

    def _copy(self, target: str, source: Path) -> None:
        for path in sorted(files_in(source)):
            name = target if path == source else f"{target}/{path.relative_to(source)}"
            with path.open("rb") as data:
                self._add(name, data, path.stat().st_size, 0o755 if os.access(path, os.X_OK) else 0o644)

    def _folder(self, name: str, mode: int = 0o755) -> None:
        if name and name not in self._done:
            self._folder(os.path.dirname(name))
            self._write(name, tarfile.DIRTYPE, mode)

    def _link(self, target: str, pointed: str) -> None:
        name = target.strip("/")
        self._folder(os.path.dirname(name))
        self._write(name, tarfile.SYMTYPE, 0o777, pointed=pointed)

    def _add(self, target: str, data: io.BufferedIOBase, size: int, mode: int) -> None:
        name = target.strip("/")
        self._folder(os.path.dirname(name))
        self._write(name, tarfile.REGTYPE, mode, data=data, size=size)

    def _write(
        self,
        name: str,
        kind: bytes,
        mode: int,
        *,
        pointed: str = "",
        data: io.BufferedIOBase | None = None,
        size: int = 0,
    ) -> None:
        if name in self._done:
            return
        self._done.add(name)
        entry = tarfile.TarInfo(name)
        entry.type, entry.mode, entry.linkname, entry.size = kind, mode, pointed, size
        self._tar.addfile(entry, data)


def _idle(path: Path) -> bool:
    return time.time() - path.stat().st_mtime > IDLE


def files_in(source: Path) -> Iterator[Path]:
    """The file itself, or every file below the folder but compiled Python (another key at each run)."""
    if not source.is_dir():
        yield source
        return
    for folder, names, files in os.walk(source, followlinks=True):
        names[:] = [name for name in names if name != "__pycache__"]
        yield from (path for name in files if (path := Path(folder) / name).is_file())


def libraries(program: Path, search: list[Path]) -> dict[str, Path]:
    """The shared libraries that a program needs, each under the path where the loader looks for it."""
    environment = {**os.environ, "LD_LIBRARY_PATH": ":".join(map(str, search))}
    done = subprocess.run(["ldd", program], capture_output=True, text=True, env=environment, check=False)
    found = {Path(match[1]) for match in _LIBRARY.finditer(done.stdout)} if done.returncode == 0 else set()
    return {_usual(path, search): path.resolve() for path in found}


def _usual(path: Path, search: list[Path]) -> str:
    """A library from a folder of ours goes where its distribution has it."""
    for folder in search:
        if path.is_relative_to(folder):
            return "/usr" + str(path).rpartition("/usr")[2]
    return str(path)


def _config(image: Image, layer: str) -> dict[str, object]:
    return {
        "architecture": go_arch(),
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [layer]},
        "config": {"Env": list(image.environment), "Entrypoint": list(image.entrypoint), "WorkingDir": "/"},
    }


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _replace(path: Path, content: bytes) -> None:
    fresh = path.with_name(f".{path.name}-{os.getpid()}")
    fresh.write_bytes(content)
    fresh.replace(path)
