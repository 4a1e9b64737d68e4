"""Controller and lock server as local processes, under exactly the service accounts that deploy/base gives them."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import yaml

from kube_upgrade.kube import paths
from kube_upgrade.kube.api import Api
from kube_upgrade.lab.access import service_account_token, write_kubeconfig
from kube_upgrade.lab.control_plane import ControlPlane
from kube_upgrade.lab.processes import Service, answers, free_port
from kube_upgrade.lab.runs import Run

NAMESPACE = "kube-upgrade"
CONTROLLER, LOCKS = "upgrade-controller", "fleetlock"
READY_SECONDS = 30.0


class ConfigMap(msgspec.Struct, frozen=True):
    """A ConfigMap, reduced to what it holds."""

    data: dict[str, str]


@dataclass(slots=True)
class Programs:
    """The two, as far as they run here; `--without` leaves one out."""

    run: Run
    plane: ControlPlane
    lock_port: int = field(default_factory=free_port)
    services: dict[str, Service] = field(default_factory=dict)
    _ports: dict[str, int] = field(default_factory=dict)
    _base: dict[str, Any] = field(default_factory=dict)  # config.yaml of the lock server in deploy/base

    @property
    def lock_url(self) -> str:
        """Where nodes find the lock server, ours or an outside replacement."""
        return f"http://127.0.0.1:{self.lock_port}"

    def kubeconfig(self, name: str) -> Path:
        """Of this program's service account."""
        return self.run.folder / "programs" / f"{name}.conf"

    async def prepare(self, api: Api) -> None:
        """Kubeconfigs with tokens of the service accounts, for ours and for replacements; the lock server's config."""
        for name in (CONTROLLER, LOCKS):
            token = await service_account_token(api, NAMESPACE, name)
            write_kubeconfig(self.kubeconfig(name), self.plane.admin_kubeconfig, NAMESPACE, name, token)
        found = await api.get(paths.configmap(NAMESPACE, LOCKS), ConfigMap)
        self._base = yaml.safe_load(found.data["config.yaml"])

    @property
    def lock_config(self) -> Path:
        """The lock server's."""
        return self.run.folder / "programs" / f"{LOCKS}.yaml"

    def configure_locks(self, slots: Mapping[str, int]) -> None:
        """The config of deploy/base, but listening here, with the scenario's slots."""
        groups = self._base.get("groups", {}) | {name: {"slots": number} for name, number in slots.items()}
        config = self._base | {
            "server": {"listen": f"127.0.0.1:{self.lock_port}"},
            "kubernetes": {"kubeconfig": str(self.kubeconfig(LOCKS))},
            "groups": groups,
        }
        self.lock_config.write_text(yaml.safe_dump(config))

    def start_locks(self) -> None:
        """One lock server, as configured."""
        self._start(LOCKS, ["-m", "kube_upgrade.fleetlock", "--config", self.lock_config], self.lock_port)

    def start_controller(self) -> None:
        """One replica; it waits for the Lease and for all its watches."""
        port = free_port()
        argv: list[str | Path] = ["-m", "kube_upgrade.controller", "--kubeconfig", self.kubeconfig(CONTROLLER)]
        argv += ["--namespace", NAMESPACE, "--listen", f"127.0.0.1:{port}"]
        self._start(CONTROLLER, argv, port)

    def wait_ready(self) -> None:
        """Return when all that run here say so. Raises StartFailed."""
        for name, service in self.services.items():
            port = self._ports[name]
            service.wait(lambda port=port: answers(port, "/readyz"), seconds=READY_SECONDS)  # type: ignore[misc]

    def restart(self, name: str) -> None:
        """kill -9 and start again, as Kubernetes does with a container that died."""
        self.services[name].stop(kill=True)
        self.services[name].start()

    def stop(self) -> None:
        """End both: the API server waits for those who watch it."""
        for service in self.services.values():
            service.stop(kill=True)

    def dead(self) -> list[str]:
        """Programs that have ended by themselves."""
        return [name for name, service in self.services.items() if not service.alive]

    def _start(self, name: str, argv: list[str | Path], port: int) -> None:
        service = Service(self.run, name, [sys.executable, *argv], self.run.folder / "programs" / f"{name}.log")
        service.start()
        self.services[name] = service
        self._ports[name] = port
