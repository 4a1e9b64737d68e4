"""Which programs the lab runs, in which version, and how each says its version. A change here makes a new cache key."""

import hashlib
import json
import platform
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

TOOLCHAIN = (
    "go1.26.8"  # whatever Go starts the build: built by 1.27, kube-apiserver's OpenAPI makes `kubectl apply` fail
)
GO_ARCH = {"x86_64": "amd64", "aarch64": "arm64"}
VERSION = re.compile(r"\bv?(\d+\.\d+\.\d+[^\s,]*)")
FLAGS = ("-trimpath",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """A release and the programs in it. `packages` maps each program to its Go package."""

    name: str
    version: str
    packages: Mapping[str, str]
    stamped: tuple[str, ...] = ()  # Go packages whose version variables the linker sets
    variables: tuple[str, ...] = ()  # Go variables that the linker sets to the version

    @property
    def modules(self) -> Path:
        """The folder with the go.mod and go.sum that it is built from."""
        return Path(str(resources.files("kube_upgrade.lab"))) / "modules" / f"{self.name}-{self.version}"

    @property
    def ldflags(self) -> str:
        """Linker flags: no symbol table, and the version stamps, the same on every machine."""
        major, minor, _ = self.version.removeprefix("v").split(".")
        values = {
            "gitVersion": self.version,
            "gitMajor": major,
            "gitMinor": minor,
            "gitTreeState": "clean",
            "gitCommit": "0" * 40,
            "buildDate": "2026-01-01T00:00:00Z",
        }
        stamps = (f"-X {package}.{name}={value}" for package in self.stamped for name, value in values.items())
        plain = (f"-X {variable}={self.version}" for variable in self.variables)
        return " ".join(("-s -w", *stamps, *plain))

    @property
    def key(self) -> str:
        """Name of its cache folder: whatever decides what the programs are."""
        parts = [
            self.version,
            TOOLCHAIN,
            go_arch(),
            *FLAGS,
            self.ldflags,
            *((self.modules / name).read_text() for name in ("go.mod", "go.sum")),
            *(source.read_text() for source in sorted(self.modules.rglob("*.go"))),
        ]
        return f"{self.name}-{self.version}-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]}"


KUBERNETES_PROGRAMS = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubectl",
    "kubeadm",
    "kubelet",
    "kube-proxy",
)


def _kubernetes(version: str) -> Component:
    return Component(
        name="kubernetes",
        version=version,
        packages={name: f"k8s.io/kubernetes/cmd/{name}" for name in KUBERNETES_PROGRAMS},
        stamped=("k8s.io/component-base/version", "k8s.io/client-go/pkg/version"),
    )


KUBERNETES = _kubernetes("v1.37.2")
ETCD = Component(name="etcd", version="v3.7.3", packages={"etcd": "go.etcd.io/etcd/server/v3"})
COMPONENTS = (ETCD, KUBERNETES)
CONTROL_PLANE = ("etcd", *KUBERNETES_PROGRAMS[:4])

# What real nodes (lab/real) need beside: older minors with their etcd, and what lies below the kubelet.
KUBERNETES_OF = {found.version: found for found in (_kubernetes("v1.35.4"), _kubernetes("v1.36.3"), KUBERNETES)}
ETCD_36 = Component(
    name="etcd",
    version="v3.6.16",
    packages={"etcd": "go.etcd.io/etcd/server/v3", "etcdutl": "go.etcd.io/etcd/etcdutl/v3"},
)
CONTAINERD = Component(
    name="containerd",
    version="v2.3.7",
    packages={
        name: f"github.com/containerd/containerd/v2/cmd/{name}"
        for name in ("containerd", "containerd-shim-runc-v2", "ctr")
    },
    variables=("github.com/containerd/containerd/v2/version.Version",),
)
WORKLOADS = Component(  # our own: sources beside the go.mod
    name="workloads", version="v1.0.0", packages={"pause": "workloads/pause", "app": "workloads/app"}
)
COREDNS = Component(name="coredns", version="v1.14.6", packages={"coredns": "github.com/coredns/coredns"})


def component_of(program: str) -> Component:
    """The release that a program comes with. Raises KeyError for a program that the lab does not know."""
    for component in COMPONENTS:
        if program in component.packages:
            return component
    known = ", ".join(name for component in COMPONENTS for name in component.packages)
    raise KeyError(f"program {program!r} is unknown; known are: {known}")


def go_arch() -> str:
    """This machine's architecture in Go's words."""
    machine = platform.machine()
    return GO_ARCH.get(machine, machine)


def version_of(program: str, path: Path) -> str | None:
    """The version (`v1.2.3`) that the program at `path` says it has, or None where it does not say."""
    asks = {
        "kubectl": ("version", "--client"),
        "kubeadm": ("version", "-o", "short"),
        "etcdutl": ("version",),
        "containerd-shim-runc-v2": ("-v",),
        "coredns": ("-version",),
    }
    argv = [str(path), *asks.get(program, ("--version",))]
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return None
    said = VERSION.search(done.stdout)
    return f"v{said[1]}" if done.returncode == 0 and said else None
