"""What a lab run shall be: nodes, plan, workloads, pace, faults and events, read from a YAML file (scenarios/)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import yaml

from kube_upgrade.core.node_steps.report import PHASES
from kube_upgrade.lab.standins.kubeadm_faults import RecordedFault
from kube_upgrade.model.version import BadVersion, KubeVersion

Seconds = Annotated[float, msgspec.Meta(ge=0)]
AtLeastOne = Annotated[int, msgspec.Meta(ge=1)]

# What a fault's mode may be, by its key (lab/machine.py); any other key is a command: program and verb.
MODES = {"boot": ("previous",), "finalize": ("no-reboot",), "kubeadm": tuple(RecordedFault)}
COMMANDS = ("rpm-ostree", "ostree", "kubeadm", "systemctl")


class BadScenario(ValueError):
    """The file is no scenario. The text names the file, the field and what would be right."""


class Part(msgspec.Struct, rename="camel", frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A piece of a scenario: camelCase keys, and a key that nobody reads is an error."""


class Workload(Part, frozen=True, kw_only=True):
    """A Deployment on the nodes that take ordinary pods, with a PodDisruptionBudget where `maxUnavailable` is given."""

    name: str
    replicas: AtLeastOne
    max_unavailable: Annotated[int, msgspec.Meta(ge=0)] | None = None


class Pace(Part, frozen=True, kw_only=True):
    """How fast the simulated hardware is, in seconds. Nothing here is a rule; real nodes take minutes."""

    boot: Seconds = 2.0  # from the reboot until the kubelet starts
    kubelet_ready: Seconds = 0.5
    pod_start: Seconds = 0.2
    pod_stop: Seconds = 0.3
    static_pod_start: Seconds = 0.4
    download: Seconds = 1.0  # of an OS image
    image_pull: Seconds = 0.3  # of the static pods' images
    kubeadm: Seconds = 1.0  # what one run takes besides its waiting
    poll: Seconds = 0.25  # how often the daemon looks at what tells nobody; its setting
    settle: Seconds = 2.0  # how long a node must be well after its boot; the daemon's setting
    patience: Seconds = 240.0  # the whole rollout; longer is a failure


class MachineFault(Part, frozen=True, kw_only=True):
    """What goes wrong on one node: the keys and their meaning are those of lab/machine.py."""

    node: str
    key: str  # such as "rpm-ostree rebase", "boot", "kubeadm"
    fail: str = ""
    code: AtLeastOne = 1
    hang: Seconds = 0.0
    mode: str = ""
    times: AtLeastOne | None = 1


class Moment(Part, frozen=True, kw_only=True):
    """The first time that a node's daemon reports this phase."""

    node: str
    phase: str


class Event(Part, frozen=True, kw_only=True):
    """Something that happens `after` seconds from the plan on, or from the moment `when`: exactly one of the rest."""

    after: Seconds = 0.0
    when: Moment | None = None
    kubectl: str | None = None  # as admin
    restart: Literal["upgrade-controller", "fleetlock"] | None = None  # kill -9, and started again
    reboot: str | None = None  # a node that loses power
    api_away: Seconds | None = None  # kube-apiserver is killed, and comes back so many seconds later

    def __str__(self) -> str:
        what = {"kubectl": self.kubectl, "restart": self.restart, "reboot": self.reboot}
        what["apiAway for"] = f"{self.api_away:g} s" if self.api_away else None
        done = next((f"{name} {value}" for name, value in what.items() if value), "nothing")
        return f"{done}, {self.after:g} s after {f'{self.when.node} is {self.when.phase}' if self.when else 'the plan'}"


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
    slots: dict[str, AtLeastOne] = msgspec.field(default_factory=dict)

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
    """The same scenario, where it makes sense. Raises BadScenario with every complaint on a line of its own."""
    found = [f"{where}: {complaint}" for complaint in complaints(scenario)]
    if found:
        raise BadScenario("\n".join(found))
    return scenario


def complaints(scenario: Scenario) -> Iterator[str]:
    """What is wrong beyond a field's type: the field, what was given and what would be right."""
    for field, text in (("from", scenario.from_), ("to", scenario.to)):
        try:
            KubeVersion.parse(text)
        except BadVersion as bad:
            yield f"{field}: {bad}"
    if scenario.control_planes < 1:
        yield f"controlPlanes: {scenario.control_planes} is not 1 or more"
    if scenario.workers < 0:
        yield f"workers: {scenario.workers} is not 0 or more"
    names = [workload.name for workload in scenario.workloads]
    yield from (f"workloads: {name!r} is there twice" for name in sorted({n for n in names if names.count(n) > 1}))
    yield from (f"{field}: {name!r} is none of {', '.join(scenario.names)}" for field, name in _strangers(scenario))
    for index, fault in enumerate(scenario.faults):
        yield from (f"faults[{index}]: {wrong}" for wrong in _wrong_with_fault(fault))
    for index, event in enumerate(scenario.timeline):
        yield from (f"timeline[{index}]: {wrong}" for wrong in _wrong_with_event(event))


def _strangers(scenario: Scenario) -> Iterator[tuple[str, str]]:
    """Nodes that are named and are not there, each with the field that names it."""
    named = [(f"faults[{index}].node", fault.node) for index, fault in enumerate(scenario.faults)]
    for index, event in enumerate(scenario.timeline):
        named += [(f"timeline[{index}].reboot", event.reboot)] if event.reboot else []
        named += [(f"timeline[{index}].when.node", event.when.node)] if event.when else []
    return ((field, name) for field, name in named if name not in scenario.names)


def _wrong_with_fault(fault: MachineFault) -> Iterator[str]:
    if modes := MODES.get(fault.key):
        if fault.mode not in modes:
            yield f"mode {fault.mode!r} of {fault.key!r} is none of {', '.join(modes)}"
        return
    program, _, verb = fault.key.partition(" ")
    if program not in COMMANDS or not verb:
        yield f"key {fault.key!r} is none of {', '.join(MODES)}, and no program ({', '.join(COMMANDS)}) with its verb"
    if fault.mode not in ("", "no-effect"):
        yield f"mode {fault.mode!r} of a command is not 'no-effect'"
    if not (fault.fail or fault.hang or fault.mode):
        yield "does nothing: give fail, hang or mode"


def _wrong_with_event(event: Event) -> Iterator[str]:
    if sum(bool(each) for each in (event.kubectl, event.restart, event.reboot, event.api_away)) != 1:
        yield "an event has exactly one of kubectl, restart, reboot and apiAway"
    if event.when and event.when.phase not in PHASES:
        yield f"when.phase: {event.when.phase!r} is none of {', '.join(sorted(PHASES))}"
