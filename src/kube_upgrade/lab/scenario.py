"""What a lab run shall be: nodes, plan, workloads, pace, faults and events, read from a YAML file (scenarios/)."""

from pathlib import Path
from typing import Any

import msgspec
import yaml

from kube_upgrade.lab.judge import Result
from kube_upgrade.model.version import BadVersion, KubeVersion


class BadScenario(ValueError):
    """The file is no scenario. The text names the file, the field and what would be right."""


class Part(msgspec.Struct, rename="camel", frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A piece of a scenario: camelCase keys, and a key that nobody reads is an error."""


class Workload(Part, frozen=True, kw_only=True):
    """A Deployment on the nodes that take ordinary pods, with a PodDisruptionBudget where `maxUnavailable` is given."""

    name: str
    replicas: int
    max_unavailable: int | None = None


class Pace(Part, frozen=True, kw_only=True):
    """How fast the simulated hardware is, in seconds. Nothing here is a rule; real nodes take minutes."""

    boot: float = 2.0  # from the reboot until the kubelet starts
    kubelet_ready: float = 0.5
    pod_start: float = 0.2
    pod_stop: float = 0.3
    static_pod_start: float = 0.4
    download: float = 1.0  # of an OS image
    image_pull: float = 0.3  # of the static pods' images
    kubeadm: float = 1.0  # what one run takes besides its waiting
    poll: float = 0.25  # how often the daemon looks at what tells nobody; its setting
    settle: float = 2.0  # how long a node must be well after its boot; the daemon's setting
    patience: float = 240.0  # the whole rollout; longer is a failure


class MachineFault(Part, frozen=True, kw_only=True):
    """What goes wrong on one node: the keys and their meaning are those of lab/machine.py."""

    node: str
    key: str  # such as "rpm-ostree rebase", "boot", "kubeadm"
    fail: str = ""
    code: int = 1
    hang: float = 0.0
    mode: str = ""
    times: int | None = 1


class Event(Part, frozen=True, kw_only=True):
    """Something that happens `after` seconds from the plan on: one of `kubectl` (as admin), `restart` or `reboot`."""

    after: float
    kubectl: str | None = None
    restart: str | None = None  # a program: upgrade-controller or fleetlock
    reboot: str | None = None  # a node, without any warning


class Scenario(Part, frozen=True, kw_only=True):
    """One run of the lab."""

    name: str
    about: str
    control_planes: int
    workers: int
    from_: str = msgspec.field(name="from")
    to: str
    taint_control_planes: bool = True  # as kubeadm does; a cluster without workers takes the taint away
    plan: dict[str, Any]  # spec; the lab adds kubernetesVersion and upgraded.fleetlockUrl
    workloads: list[Workload] = []
    pace: Pace = Pace()
    faults: list[MachineFault] = []
    timeline: list[Event] = []
    # Slots of the lock server's groups, over those of deploy/base. By factory: a msgspec default must not be mutable.
    slots: dict[str, int] = msgspec.field(default_factory=dict)
    expect: Result = Result.COMPLETE  # what a test of this scenario wants to see

    @property
    def start(self) -> KubeVersion:
        """The version that the cluster has."""
        return KubeVersion.parse(self.from_)

    @property
    def target(self) -> KubeVersion:
        """The version that the plan asks for."""
        return KubeVersion.parse(self.to)

    @property
    def names(self) -> tuple[str, ...]:
        """The nodes, control planes first."""
        control = tuple(f"control-plane-{number}" for number in range(1, self.control_planes + 1))
        return control + tuple(f"worker-{number}" for number in range(1, self.workers + 1))


def load(path: Path) -> Scenario:
    """Read and check a file. Raises BadScenario."""
    try:
        found = msgspec.convert(yaml.safe_load(path.read_text()), Scenario)
    except OSError as error:
        raise BadScenario(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise BadScenario(f"{path}: {error}") from error
    return check(found, str(path))


def adapt(
    scenario: Scenario, *, control_planes: int | None, workers: int | None, start: str | None, target: str | None
) -> Scenario:
    """The scenario with what the command line says instead. Raises BadScenario."""
    said = {"control_planes": control_planes, "workers": workers, "from_": start, "to": target}
    changed = {name: value for name, value in said.items() if value is not None}
    return check(msgspec.structs.replace(scenario, **changed), scenario.name)


def check(scenario: Scenario, where: str) -> Scenario:
    """The same scenario, where it makes sense. Raises BadScenario."""
    for field, text in (("from", scenario.from_), ("to", scenario.to)):
        try:
            KubeVersion.parse(text)
        except BadVersion as bad:
            raise BadScenario(f"{where}: {field}: {bad}") from bad
    if scenario.control_planes < 1:
        raise BadScenario(f"{where}: controlPlanes: {scenario.control_planes} is not 1 or more")
    if scenario.workers < 0:
        raise BadScenario(f"{where}: workers: {scenario.workers} is not 0 or more")
    named = [("faults", fault.node) for fault in scenario.faults]
    named += [("timeline", event.reboot) for event in scenario.timeline if event.reboot]
    for field, name in named:
        if name not in scenario.names:
            raise BadScenario(f"{where}: {field}: {name!r} is none of {', '.join(scenario.names)}")
    for event in scenario.timeline:
        if sum(bool(each) for each in (event.kubectl, event.restart, event.reboot)) != 1:
            raise BadScenario(f"{where}: timeline: an event has exactly one of kubectl, restart and reboot")
    return scenario
