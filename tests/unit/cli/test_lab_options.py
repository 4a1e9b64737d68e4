"""Wrong options end with 2 and a sentence, for a machine too; nothing is started for them."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from kube_upgrade.cli.main import app


def run(*args: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(args))
    return result.exit_code, result.output


def test_no_command_shows_what_there_is() -> None:
    code, text = run()

    assert "lab" in text
    assert "version" in text
    assert code in (0, 2)


def test_a_scenario_that_is_not_there_is_named(tmp_path: Path) -> None:
    code, text = run("lab", "--scenario", str(tmp_path / "none.yaml"))

    assert code == 2
    assert "none.yaml: No such file or directory" in text


def test_a_version_that_is_none_is_refused_with_the_right_form() -> None:
    code, text = run("lab", "--to", "1.37")

    assert code == 2
    assert "default: to: '1.37' is not a version like v1.37.2" in text


def test_an_unknown_program_is_refused_with_those_that_exist() -> None:
    code, text = run("lab", "--without", "etcd")

    assert code == 2
    assert "upgraded" in text
    assert "fleetlock" in text


@pytest.mark.parametrize("form", [("-o", "json"), ("-ojson",), ("--output", "json"), ("--output=json",)])
@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (("--to", "1.37"), "default: to: '1.37' is not a version like v1.37.2"),
        (("--scenario", "/none.yaml"), "/none.yaml: No such file or directory"),
        (("--without", "etcd"), "'etcd' is not one of"),
        (("--workers", "many"), "--workers"),
        (("--colour",), "--colour"),
        (("--real", "--scenario", "none"), "scenario 'none' is none of"),
        (("--real", "--without", "fleetlock"), "--without fleetlock: with --real the scenario decides that"),
    ],
)
def test_a_machine_is_told_on_stdout_what_is_wrong(form: tuple[str, ...], wrong: tuple[str, ...], words: str) -> None:
    for args in ((*wrong, *form), (*form, *wrong)):
        result = CliRunner().invoke(app, ["lab", *args])
        found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])

        assert result.exit_code == 2
        assert found["result"] == "unproven"
        assert words in found["error"]
        assert found["reasons"] == found["error"].splitlines()


def test_without_json_nothing_is_on_stdout_but_for_people() -> None:
    assert CliRunner().invoke(app, ["lab", "--to", "1.37"]).stdout == ""
