"""Every scenario of the project loads; a bad one is refused with file, field and what would be right."""

from pathlib import Path

import pytest

from kube_upgrade.lab.scenario import BadScenario, Event, Moment, adapt, load

SCENARIOS = sorted((Path(__file__).parents[3] / "scenarios").glob("*.yaml"))
GOOD = """
name: x
about: y
controlPlanes: 1
workers: 1
from: v1.36.3
to: v1.37.2
plan: {groups: {}}
"""


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_every_scenario_of_the_project_is_one(path: Path) -> None:
    assert load(path).name == path.stem


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("from: v1.36", "from: 'v1.36' is not a version like v1.37.2"),
        ("controlPlanes: 0", "controlPlanes: 0 is not 1 or more"),
        ("workers: -1", "workers: -1 is not 0 or more"),
        ("workers: many", "Expected `int`, got `str` - at `$.workers`"),
        ("colour: red", "unknown field `colour`"),
        ("name: [", "expected the node content"),
        ("workloads: [{name: web, replicas: 0}]", "Expected `int` >= 1 - at `$.workloads[0].replicas`"),
        ("workloads: [{name: a, replicas: 1}, {name: a, replicas: 2}]", "workloads: 'a' is there twice"),
        ("pace: {boot: -1}", "Expected `float` >= 0.0 - at `$.pace.boot`"),
        ("slots: {workers: 0}", "Expected `int` >= 1 - at `$.slots[...]`"),
        (
            "faults: [{node: worker-9, key: boot, mode: previous}]",
            "faults[0].node: 'worker-9' is none of control-plane-1, worker-1",
        ),
        ("faults: [{node: worker-1, key: boot}]", "faults[0]: mode '' of 'boot' is none of previous"),
        (
            "faults: [{node: worker-1, key: kubeadm, mode: x}]",
            "mode 'x' of 'kubeadm' is none of 03-apply-image-missing,",
        ),
        (
            "faults: [{node: worker-1, key: bot, fail: x}]",
            "faults[0]: key 'bot' is none of boot, finalize, kubeadm, and",
        ),
        ("faults: [{node: worker-1, key: rpm-ostree rebase}]", "faults[0]: does nothing: give fail, hang or mode"),
        ("faults: [{node: worker-1, key: ostree admin, mode: x}]", "mode 'x' of a command is not 'no-effect'"),
        ("timeline: [{after: 1}]", "timeline[0]: an event has exactly one of kubectl, restart, reboot and apiAway"),
        ("timeline: [{after: -1, restart: fleetlock}]", "Expected `float` >= 0.0 - at `$.timeline[0].after`"),
        ("timeline: [{restart: etcd}]", "Invalid enum value 'etcd' - at `$.timeline[0].restart`"),
        ("timeline: [{apiAway: 25, reboot: worker-1}]", "timeline[0]: an event has exactly one of"),
        ("timeline: [{apiAway: -1}]", "Expected `float` >= 0.0 - at `$.timeline[0].apiAway`"),
        ("timeline: [{reboot: x}]", "timeline[0].reboot: 'x' is none of control-plane-1, worker-1"),
        ("timeline: [{when: {node: x, phase: kubeadm}, restart: fleetlock}]", "timeline[0].when.node: 'x' is none of"),
        (
            "timeline: [{when: {node: worker-1, phase: x}, restart: fleetlock}]",
            "when.phase: 'x' is none of ",
        ),
    ],
)
def test_a_bad_scenario_is_refused_by_file_and_field(tmp_path: Path, change: str, words: str) -> None:
    file = tmp_path / "bad.yaml"
    key = change.partition(":")[0]
    kept = [line for line in GOOD.splitlines() if not line.startswith(f"{key}:")]
    file.write_text("\n".join([*kept, change]))

    with pytest.raises(BadScenario) as refused:
        load(file)

    assert str(refused.value).startswith(str(file))
    assert words in str(refused.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadScenario, match=r"none\.yaml: No such file"):
        load(tmp_path / "none.yaml")


def test_every_complaint_is_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(GOOD.replace("workers: 1", "workers: -1") + "timeline: [{after: 1}]\n")

    with pytest.raises(BadScenario) as refused:
        load(file)

    assert [line.split(": ")[1] for line in str(refused.value).splitlines()] == ["workers", "timeline[0]"]


def test_an_event_tells_what_and_when() -> None:
    assert str(Event(after=2.5, kubectl="delete node worker-1")) == "kubectl delete node worker-1, 2.5 s after the plan"
    moment = Moment(node="worker-1", phase="kubeadm")
    assert str(Event(when=moment, reboot="worker-1")) == "reboot worker-1, 0 s after worker-1 is kubeadm"
    assert str(Event(after=1, api_away=25)) == "apiAway for 25 s, 1 s after the plan"


def test_the_command_line_goes_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "good.yaml"
    file.write_text(GOOD)

    adapted = adapt(load(file), control_planes=3, workers=0, start=None, target="v1.36.4")

    assert adapted.names == ("control-plane-1", "control-plane-2", "control-plane-3")
    assert (str(adapted.start), str(adapted.target)) == ("v1.36.3", "v1.36.4")
    with pytest.raises(BadScenario, match="x: to: 'one' is not a version"):
        adapt(load(file), control_planes=None, workers=None, start=None, target="one")
