"""The facts come back as they were written, whatever happens to the file."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube_upgrade.model.host import Facts, GoalKind, KubeadmRun, LockFact, RebootFact, Try
from kube_upgrade.model.moment import END, TICK
from kube_upgrade.model.node import KubeadmRole
from kube_upgrade.model.version import KubeVersion
from kube_upgrade.upgraded.state import StateFile, read_facts, write_facts

NOW = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)
moments = st.datetimes(max_value=datetime(END, 1, 1) - TICK, timezones=st.just(UTC))  # noqa: DTZ001
versions = st.builds(KubeVersion, st.integers(0, 9), st.integers(0, 99), st.integers(0, 99))
texts = st.text(max_size=8)
all_facts = st.builds(
    Facts,
    kind=st.none() | st.sampled_from(GoalKind),
    repository=texts,
    target=texts,
    digest=texts,
    images_for=st.none() | versions,
    etcd_for=st.none() | versions,
    etcd_snapshot=texts,
    trusted=texts,
    lock=st.none()
    | st.builds(
        LockFact, asked=moments, url=texts, group=texts, granted=st.none() | moments, again=st.none() | moments,
        touched=st.booleans(), confirmed=st.none() | moments, boot_id=texts, node_uid=texts,
    ),
    kubeadm=st.none()
    | st.builds(
        KubeadmRun, version=versions, role=st.sampled_from(KubeadmRole), started=moments, ended=st.none() | moments,
        code=st.none() | st.integers(-9, 9),
    ),
    reboot=st.none() | st.builds(RebootFact, digest=texts, boot_id=texts, asked=moments),
    tries=st.dictionaries(texts, st.builds(Try, count=st.integers(1, 9), last=moments, reason=texts), max_size=2),
    bad_digests=st.dictionaries(texts, texts, max_size=2),
    retried=texts,
    retried_at=st.none() | moments,
    os_checked=st.none() | moments,
)  # fmt: skip


@given(all_facts)
def test_facts_survive_the_way_to_disk_and_back(facts: Facts) -> None:
    assert read_facts(json.loads(json.dumps(write_facts(facts)))) == facts


def test_a_new_node_asks_for_a_release_to_be_sure(tmp_path: Path) -> None:
    assert StateFile.load(tmp_path / "s" / "state.json", NOW).facts == Facts(lock=LockFact(asked=NOW, touched=True))


def test_saved_facts_are_found_by_the_next_process(tmp_path: Path) -> None:
    facts = Facts(target="v1.37.2", digest="sha256:1")
    StateFile.load(tmp_path / "state.json", NOW).save(facts)

    assert StateFile.load(tmp_path / "state.json", NOW).facts == facts
    assert json.loads((tmp_path / "state.json").read_text())["schema"] == 1


def test_fields_of_a_newer_daemon_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text(json.dumps({"schema": 2, "target": "v1", "moonPhase": {"full": True}}))

    state = StateFile.load(path, NOW)
    state.save(replace(state.facts, digest="sha256:1"))

    assert json.loads(path.read_text())["moonPhase"] == {"full": True}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"lock": {}}', '{"lock": 3}', '{"kubeadm": {"version": "x"}}'])
def test_an_unreadable_file_is_kept_aside_and_counts_as_lost(tmp_path: Path, text: str) -> None:
    path = tmp_path / "state.json"
    path.write_text(text)

    assert StateFile.load(path, NOW).facts.lock is not None
    assert (tmp_path / "state.json.bad").read_text() == text


def test_a_half_written_file_changes_nothing(tmp_path: Path) -> None:
    """A power cut in the middle of a write leaves state.new behind."""
    path = tmp_path / "state.json"
    facts = Facts(target="v1.37.2")
    StateFile.load(path, NOW).save(facts)
    (tmp_path / "state.new").write_text('{"schema"')

    assert StateFile.load(path, NOW).facts == facts


def test_what_the_disk_refuses_is_not_a_fact(tmp_path: Path) -> None:
    state = StateFile.load(tmp_path / "state.json", NOW)
    before = state.facts
    (tmp_path / "state.new").mkdir()

    with pytest.raises(OSError, match=r"state\.new"):
        state.save(Facts(os_checked=NOW + timedelta(hours=1)))
    assert state.facts == before


def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    """It holds the lock server's URL, whose path may be a secret; a new file left by a crash changes nothing."""
    path = tmp_path / "state.json"
    path.with_suffix(".new").touch(mode=0o644)
    StateFile.load(path, NOW).save(Facts())
    assert path.stat().st_mode & 0o777 == 0o600
