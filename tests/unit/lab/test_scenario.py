"""Every scenario of the project loads; a bad one is refused with file, field and what would be right."""

from pathlib import Path

import pytest

from kube_upgrade.lab.scenario import BadScenario, adapt, load

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
        ("faults: [{node: worker-9, key: boot}]", "faults: 'worker-9' is none of control-plane-1, worker-1"),
        ("timeline: [{after: 1}]", "exactly one of kubectl, restart and reboot"),
        ("name: [", "expected the node content"),
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


def test_the_command_line_goes_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "good.yaml"
    file.write_text(GOOD)

    adapted = adapt(load(file), control_planes=3, workers=0, start=None, target="v1.36.4")

    assert adapted.names == ("control-plane-1", "control-plane-2", "control-plane-3")
    assert (str(adapted.start), str(adapted.target)) == ("v1.36.3", "v1.36.4")
    with pytest.raises(BadScenario, match="x: to: 'one' is not a version"):
        adapt(load(file), control_planes=None, workers=None, start=None, target="one")
