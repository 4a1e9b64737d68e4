"""What a look makes of the plan's settings: followed at once, field by field, and none that is bad."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from kube_upgrade.host.drivers import OsDriver
from kube_upgrade.host.etcd import Etcd
from kube_upgrade.host.plain_jobs import PlainJobs
from kube_upgrade.model.host import Facts, HostSnapshot
from kube_upgrade.model.node import Node
from kube_upgrade.model.os import OsStatus
from kube_upgrade.telemetry import logs
from kube_upgrade.upgraded.cluster import Cluster
from kube_upgrade.upgraded.live_settings import LiveSettings
from kube_upgrade.upgraded.observe import Observer
from kube_upgrade.upgraded.settings import Settings
from support.builders import NOW
from support.host_views import ID, RUNNING_OLD, a_node

CHECKED = Facts(os_checked=NOW)


class Around:
    """The cluster and the host, as far as a node without an order asks them."""

    def __init__(self) -> None:
        self.notes: Mapping[str, str] = {}

    async def node(self) -> Node:
        return replace(a_node(order=None), config=self.notes)

    async def status(self) -> OsStatus:
        return OsStatus(deployments=(RUNNING_OLD,))


@pytest.fixture
def around() -> Around:
    return Around()


@pytest.fixture
def observer(tmp_path: Path, around: Around) -> Observer:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/machine-id").write_text(ID)
    boot = tmp_path / "proc/sys/kernel/random/boot_id"
    boot.parent.mkdir(parents=True)
    boot.write_text("0b3d9fb0-5c83-4f80-9f1e-1d2c3b4a5f60\n")
    live = LiveSettings(tmp_path / "config.yaml", Settings(root=tmp_path))
    return Observer(
        live=live, cluster=cast("Cluster", around), os=cast("OsDriver", around), kubeadm=cast("Any", None),
        etcd=Etcd("", tmp_path), jobs=PlainJobs(tmp_path), clock=lambda: NOW,
    )  # fmt: skip


def look(observer: Observer) -> HostSnapshot:
    return asyncio.run(observer.look(CHECKED))


def said_at(level: str, capsys: pytest.CaptureFixture[str]) -> bool:
    """True where a line of this level comes out, from a logger made long before."""
    capsys.readouterr()
    log = logs.logger("test")
    getattr(log, level)("a line")
    return "a line" in capsys.readouterr().err


def test_the_plans_log_level_is_followed_at_once_and_back_again(
    observer: Observer, around: Around, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure("info")
    look(observer)
    assert not said_at("debug", capsys)
    for level, shown in (("debug", True), ("error", False), ("info", True)):
        around.notes = {"log-level": level}
        look(observer)
        assert said_at("info", capsys) is shown
    around.notes = {"log-level": "debug"}
    look(observer)
    assert said_at("debug", capsys)
    around.notes = {}
    look(observer)
    assert not said_at("debug", capsys)


def test_bad_annotations_leave_the_last_good_ones_and_are_said_once(observer: Observer, around: Around) -> None:
    around.notes = {"stream": "quay.io/mine", "retry-interval": "7s"}
    look(observer)
    around.notes = {"stream": "quay.io/other", "retry-interval": "soon"}
    with capture_logs() as said:
        configs = [look(observer).config for _ in range(3)]
    assert {(config.stream, config.retry_interval) for config in configs} == {("quay.io/mine", timedelta(seconds=7))}
    assert [line["reason"] for line in said] == ["retryInterval: 'soon' is not a duration like 90s, 5m or 1h30m"]
    around.notes = {"stream": "quay.io/other", "retry-interval": "9s"}
    assert look(observer).config.stream == "quay.io/other"


def test_where_there_are_no_last_good_ones_the_good_fields_count(observer: Observer, around: Around) -> None:
    """One typo must not send a node to another stream: the default one is somebody's whole other OS."""
    around.notes = {"stream": "quay.io/mine", "fleetlock-group": "w", "check-interval": "never"}
    with capture_logs() as said:
        configs = [look(observer).config for _ in range(2)]
    assert {(config.stream, config.fleetlock_group) for config in configs} == {("quay.io/mine", "w")}
    assert configs[0].check_interval == timedelta(hours=3)
    assert len(said) == 1


def test_a_path_that_no_file_can_have_is_refused(observer: Observer, around: Around) -> None:
    """A null byte would end every look with an error, and with it the way back of a lock."""
    around.notes = {"kubeadm-path": "/usr/bin/kubeadm\0"}
    with capture_logs() as said:
        assert look(observer).config.kubeadm_path == ""
    assert "kubeadmPath: '/usr/bin/kubeadm\\x00' holds what cannot be printed" in said[0]["reason"]
