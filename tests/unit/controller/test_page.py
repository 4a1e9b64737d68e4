"""docs/reference/controller.md says what the code does: its events, conditions, log lines, flags and rights."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import kube_upgrade.controller
import kube_upgrade.kube
from kube_upgrade.controller.announce import WARNINGS, OnNode
from kube_upgrade.controller.settings import read_settings
from kube_upgrade.core.rollout.report import BROKEN, State
from support.pages import REFERENCE, rows, words
from support.rights import BASE, rights

PAGE = "controller.md"
SOURCES = [
    file for package in (kube_upgrade.controller, kube_upgrade.kube) for file in Path(package.__path__[0]).glob("*.py")
]


def test_every_event_is_in_the_table_on_its_object_with_its_type() -> None:
    table = [(word, on, kind) for reason, on, kind, _ in rows(PAGE, "Events") for word in words(reason)]
    nodes = [(str(reason), "node", "Warning" if reason in WARNINGS else "Normal") for reason in OnNode]
    plans = [(str(state), "plan", "Warning" if state is State.ERROR else "Normal") for state in State]

    assert sorted(table) == sorted(nodes + plans)


def test_every_reason_that_makes_a_plan_degraded_is_named() -> None:
    text = (REFERENCE / PAGE).read_text()
    said = text.partition("`Degraded` says the first")[2].partition("`EmptyGroup`")[0]
    assert words(said)[-len(BROKEN) :] == [str(reason) for reason in BROKEN]


def log_calls() -> Iterator[tuple[str, frozenset[str]]]:
    """Each line that the controller may log, with its fields."""
    for node in (node for file in SOURCES for node in ast.walk(ast.parse(file.read_text()))):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="log" | "_log")), args=[ast.Constant(value=str(said))]):
                yield said, frozenset(word.arg for word in node.keywords if word.arg)


def test_every_log_line_of_the_table_is_written_with_these_fields() -> None:
    written = dict(log_calls())
    table = [(word, frozenset(words(row[1]))) for row in rows(PAGE, "Logs") for word in words(row[0])]

    assert len(table) > 10
    assert [(said, fields) for said, fields in table if not fields <= written.get(said, frozenset())] == []


def test_every_flag_is_in_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read_settings(["--help"], {})
    flags = set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help"}

    table = {word.partition(" ")[0] for row in rows(PAGE, "Flags") for word in words(row[0])}

    assert flags == {word for word in table if word.startswith("--")}


def test_every_right_is_in_the_table_and_no_other() -> None:
    table = {api: set(verbs.split(", ")) for api, verbs, _ in rows(PAGE, "Rights")}
    assert table == rights(BASE / "upgrade-controller-rbac.yaml")
