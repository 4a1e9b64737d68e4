"""A real control plane on loopback: etcd, kube-apiserver, kube-controller-manager, kube-scheduler.

Node and RBAC authorizers, NodeRestriction, its own throw-away CA, free ports. There are no kubelets: nodes are what the
lab and the tests create. Everything it writes lies below `run.folder/control-plane`.
"""

import base64
import json
import ssl
import subprocess
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from kube_upgrade.lab.binaries import Binaries
from kube_upgrade.lab.pki import Authority, Files, signing_keys
from kube_upgrade.lab.processes import PortTaken, Service, answers, free_port, on_free_ports, trust
from kube_upgrade.lab.runs import Run

SERVICE_RANGE = "10.96.0.0/16"
READY = 30.0  # seconds a process may take to be ready on a busy machine; usually 1 to 3
LOOPBACK = ("127.0.0.1", "localhost")


class KubectlFailed(Exception):
    """kubectl ended with another code than 0; `code` and `stderr` say how."""

    def __init__(self, args: Sequence[str], code: int, stderr: str) -> None:
        super().__init__(f"kubectl {' '.join(args)} ended with {code}: {stderr.strip()}")
        self.code = code
        self.stderr = stderr


class ControlPlane:
    """A running control plane; made by `ControlPlane.start`."""

    def __init__(
        self,
        run: Run,
        binaries: Binaries,
        *,
        apiserver_args: Sequence[str] = (),
        controller_manager_args: Sequence[str] = (),
        scheduler_args: Sequence[str] = (),
    ) -> None:
        self.folder = run.folder / "control-plane"
        self.binaries = binaries
        self.services: dict[str, Service] = {}
        self._run = run
        self._extra = {
            "kube-apiserver": apiserver_args,
            "kube-controller-manager": controller_manager_args,
            "kube-scheduler": scheduler_args,
        }
        self._authority = Authority.create("kube-upgrade lab")
        self._etcd_authority = Authority.create("kube-upgrade lab etcd")
        self._write_certificates()

    @classmethod
    def start(
        cls,
        run: Run,
        binaries: Binaries,
        *,
        apiserver_args: Sequence[str] = (),
        controller_manager_args: Sequence[str] = (),
        scheduler_args: Sequence[str] = (),
    ) -> Self:
        """Start all four and return when they are ready. The `*_args` are appended to the built-in flags.

        Raises StartFailed, with the end of the log of whoever failed; nothing is left running then.
        """
        plane = cls(
            run,
            binaries,
            apiserver_args=apiserver_args,
            controller_manager_args=controller_manager_args,
            scheduler_args=scheduler_args,
        )
        try:
            plane._start_all()
        except BaseException:
            plane.stop()
            raise
        return plane

    def stop(self, *, kill: bool = False) -> None:
        """Stop all four, etcd last; with `kill` nobody is asked. The folder stays until the run is closed."""
        for name in ("kube-scheduler", "kube-controller-manager", "kube-apiserver", "etcd"):
            if name in self.services:
                self.services[name].stop(kill=kill)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop_apiserver(self, *, kill: bool = False) -> None:
        """Take the API away: orderly, or as a crash with `kill`.

        An API server told to end stops listening at once, but waits up to a minute for its watchers: it gets a second.
        """
        self.services["kube-apiserver"].stop(kill=kill, grace=1.0)

    def start_apiserver(self) -> None:
        """Bring the API back on the same port and return when it is ready."""
        deadline = time.monotonic() + READY
        service = self.services["kube-apiserver"]
        while True:
            service.start()
            try:
                service.wait(self.ready, seconds=READY)
            except PortTaken:  # an old socket still closing; the port itself cannot change
                if time.monotonic() > deadline:
                    raise
            else:
                return

    def ready(self) -> bool:
        """True where the API server's /readyz says so."""
        return answers(self.port, "/readyz", self._admin_tls)

    def kubeconfig(self, name: str, user: str, groups: Iterable[str] = ()) -> Path:
        """Write kubeconfigs/NAME.conf for this user with a fresh client certificate inside; mode 0600."""
        pair = self._authority.client(user, groups)
        cluster = {"server": self.url, "certificate-authority-data": _base64(self.ca.read_bytes())}
        credentials = {
            "client-certificate-data": _base64(pair.certificate),
            "client-key-data": _base64(pair.key),
        }
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "lab", "cluster": cluster}],
            "users": [{"name": user, "user": credentials}],
            "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": user}}],
            "current-context": "lab",
        }
        path = self.folder / "kubeconfigs" / f"{name}.conf"
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        fresh.touch(mode=0o600)
        fresh.write_text(json.dumps(config, indent=2))  # JSON is YAML
        fresh.rename(path)
        return path

    def kubectl(
        self, *args: str, input: str | None = None, kubeconfig: Path | None = None, timeout: float = 30.0
    ) -> str:
        """Run kubectl, as admin unless a kubeconfig is given. Returns stdout; raises KubectlFailed."""
        done = subprocess.run(
            [
                self.binaries["kubectl"],
                f"--kubeconfig={kubeconfig or self.admin_kubeconfig}",
                f"--cache-dir={self.folder / 'kubectl-cache'}",
                *args,
            ],
            input=input,
            stdin=None if input is not None else subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=self._run.environment(),
            check=False,
        )
        if done.returncode != 0:
            raise KubectlFailed(args, done.returncode, done.stderr)
        return done.stdout

    def _write_certificates(self) -> None:
        pki = self.folder / "pki"
        hosts = (*LOOPBACK, "10.96.0.1", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
        self._ca_files = self._authority.pair.write(pki, "ca")
        self._serving = self._authority.server("kube-apiserver", hosts).write(pki, "serving")
        self._admin = self._authority.client("kubernetes-admin", ["system:masters"]).write(pki, "admin")
        self._tokens = signing_keys().write(pki, "service-accounts")
        self.ca = self._ca_files.certificate
        self.etcd_ca = self._etcd_authority.pair.write(pki, "etcd-ca").certificate
        self._etcd_serving = self._etcd_authority.server("etcd", LOOPBACK, client_too=True).write(pki, "etcd")
        self.etcd_client: Files = self._etcd_authority.client("kube-apiserver").write(pki, "etcd-client")
        self._admin_tls = trust(self.ca, self._admin.certificate, self._admin.key)
        self._anyone_tls = trust(self.ca)

    def _start_all(self) -> None:
        on_free_ports(self._start_etcd)
        on_free_ports(self._start_apiserver)
        self.admin_kubeconfig = self.kubeconfig("admin", "kubernetes-admin", ["system:masters"])
        # Only now: started together with the API server the controller manager ends, "forbidden", before RBAC is there.
        with ThreadPoolExecutor() as together:
            tuple(together.map(on_free_ports, (self._start_controller_manager, self._start_scheduler)))

    def _start_etcd(self) -> None:
        port, peer = free_port(), free_port()
        tls = trust(self.etcd_ca, self.etcd_client.certificate, self.etcd_client.key)
        self.etcd_url = f"https://127.0.0.1:{port}"
        self._begin("etcd", self._etcd_flags(self.etcd_url, f"https://127.0.0.1:{peer}"), port, "/health", tls)

    def _start_apiserver(self) -> None:
        self.port = free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self._begin("kube-apiserver", self._apiserver_flags(self.port), self.port, "/readyz", self._admin_tls)

    def _start_controller_manager(self) -> None:
        user = "system:kube-controller-manager"
        self._begin_client("kube-controller-manager", user, self._controller_manager_flags())

    def _start_scheduler(self) -> None:
        self._begin_client("kube-scheduler", "system:kube-scheduler", [])

    def _begin_client(self, name: str, user: str, flags: Sequence[str]) -> None:
        port, config = free_port(), self.kubeconfig(name, user)
        common = [
            f"--kubeconfig={config}",
            f"--authentication-kubeconfig={config}",
            f"--authorization-kubeconfig={config}",
            "--bind-address=127.0.0.1",
            f"--secure-port={port}",
            f"--tls-cert-file={self._serving.certificate}",
            f"--tls-private-key-file={self._serving.key}",
            "--leader-elect=false",
        ]
        self._begin(name, [*common, *flags], port, "/healthz", self._anyone_tls)

    def _begin(self, name: str, flags: Sequence[str], port: int, path: str, tls: ssl.SSLContext) -> None:
        argv: list[str | Path] = [self.binaries[name], *flags, *self._extra.get(name, ())]
        service = Service(self._run, name, argv, self.folder / "logs" / f"{name}.log")
        self.services[name] = service
        service.start()
        service.wait(lambda: answers(port, path, tls), seconds=READY)

    def _etcd_flags(self, url: str, peer: str) -> list[str]:
        return [
            "--name=lab",
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={url}",
            f"--advertise-client-urls={url}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=lab={peer}",
            "--client-cert-auth",
            f"--trusted-ca-file={self.etcd_ca}",
            f"--cert-file={self._etcd_serving.certificate}",
            f"--key-file={self._etcd_serving.key}",
            "--peer-client-cert-auth",
            f"--peer-trusted-ca-file={self.etcd_ca}",
            f"--peer-cert-file={self._etcd_serving.certificate}",
            f"--peer-key-file={self._etcd_serving.key}",
            "--unsafe-no-fsync",  # a throw-away cluster need not survive a power cut
        ]

    def _apiserver_flags(self, port: int) -> list[str]:
        return [
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={port}",
            f"--cert-dir={self.folder / 'run'}",
            f"--etcd-servers={self.etcd_url}",
            f"--etcd-cafile={self.etcd_ca}",
            f"--etcd-certfile={self.etcd_client.certificate}",
            f"--etcd-keyfile={self.etcd_client.key}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            f"--client-ca-file={self.ca}",
            f"--tls-cert-file={self._serving.certificate}",
            f"--tls-private-key-file={self._serving.key}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={self._tokens.certificate}",
            f"--service-account-signing-key-file={self._tokens.key}",
            f"--service-cluster-ip-range={SERVICE_RANGE}",
            "--endpoint-reconciler-type=none",  # no address of this API server is reachable from a pod
            "--allow-privileged=true",
        ]

    def _controller_manager_flags(self) -> list[str]:
        return [
            "--use-service-account-credentials=true",
            f"--service-account-private-key-file={self._tokens.key}",
            f"--root-ca-file={self.ca}",
            f"--cluster-signing-cert-file={self._ca_files.certificate}",
            f"--cluster-signing-key-file={self._ca_files.key}",
            "--kube-api-qps=500",  # by the default, 20 a second, service accounts come 5 s later
            "--kube-api-burst=1000",
        ]


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
