"""config.yaml of every era reads the same, and a bad value is named."""

import re
from datetime import timedelta
from pathlib import Path

import pytest

from kube_upgrade.model.host import Verification
from kube_upgrade.model.node_config import BadValue
from kube_upgrade.upgraded.settings import BadSettings, Settings, load, read_settings


def test_no_file_means_all_defaults(tmp_path: Path) -> None:
    assert load(tmp_path / "none.yaml") == Settings()


def test_an_empty_file_means_all_defaults(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("")
    assert load(tmp_path / "config.yaml") == Settings()


@pytest.mark.parametrize(
    "raw",
    [
        {"stream": "q.io/os", "fleetlockUrl": "http://l", "fleetlockGroup": "g", "checkInterval": "1h"},
        {"stream": "q.io/os", "fleetlock-url": "http://l", "fleetlock-group": "g", "check-interval": "1h"},
        {"image": "q.io/os", "fleetlock": {"url": "http://l", "group": "g"}, "check-interval": "1h"},
    ],
    ids=["camelCase of 0.6 on", "kebab-case of 0.2 to 0.5", "0.1"],
)
def test_every_era_reads_the_same(raw: dict[str, object]) -> None:
    node = read_settings(raw).node

    assert (node.stream, node.fleetlock_url, node.fleetlock_group) == ("q.io/os", "http://l", "g")
    assert node.check_interval == timedelta(hours=1)


def test_paths_of_programs_have_both_names() -> None:
    assert read_settings({"rpm-ostree-path": "/opt/r"}).rpm_ostree == "/opt/r"
    assert read_settings({"rpmOstreePath": "/opt/r"}).rpm_ostree == "/opt/r"
    assert read_settings({"kubeadm-path": "/opt/k"}).node.kubeadm_path == "/opt/k"


def test_the_kubelets_kubeconfig_has_two_names() -> None:
    assert read_settings({"kubeletConfig": "/k.conf"}).kubeconfig == "/k.conf"
    assert read_settings({"kubeletConfig": "/k.conf", "kubeconfig": "/own.conf"}).kubeconfig == "/own.conf"


def test_guards_and_settle_times_are_read() -> None:
    rules = read_settings(
        {"allowedStreams": ["a"], "drain": "none", "settle": "1s", "attempts": 3, "poll": "0.5s"}
    ).rules

    assert rules.allowed_streams == ("a",)
    assert rules.verification is None
    assert not rules.wait_for_pods
    assert (rules.settle, rules.attempts, rules.poll) == (timedelta(seconds=1), 3, timedelta(seconds=0.5))


def test_kubeadms_config_or_patches_are_passed_on() -> None:
    assert read_settings({"kubeadmPatches": "/etc/patches"}).kubeadm_options == ("--patches", "/etc/patches")
    assert read_settings({"kubeadmConfig": "/etc/up.yaml"}).kubeadm_options == ("--config", "/etc/up.yaml")
    with pytest.raises(BadValue, match="beside kubeadmConfig"):
        read_settings({"kubeadmPatches": "/etc/patches", "kubeadmConfig": "/etc/up.yaml"})


def test_the_keys_that_images_must_be_signed_with_are_read() -> None:
    said = {"verification": {"keys": ["/etc/a.pub", "/etc/b.pub"], "identity": "ghcr.io/o/os"}}
    wanted = Verification(keys=("/etc/a.pub", "/etc/b.pub"), identity="ghcr.io/o/os")
    assert read_settings(said).rules.verification == wanted


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"drain": "maybe"}, "drain: 'maybe' is none of wait, none"),
        ({"root": "lab"}, "root: 'lab' is not an absolute path"),
        ({"etcd": "127.0.0.1:2379"}, "etcd: '127.0.0.1:2379' is neither empty nor a URL"),
        ({"etcd": "https://[::1"}, "etcd: 'https://[::1' is neither empty nor a URL"),
        ({"apiServer": "https://:6443"}, "apiServer: 'https://:6443' is neither empty nor a URL"),
        ({"kubeletHealth": "http://h:kubelet"}, "kubeletHealth: 'http://h:kubelet' is neither empty nor a URL"),
        ({"kubeconfig": "/etc/k\0"}, "kubeconfig: '/etc/k\\x00' holds what cannot be printed"),
        ({"verification": {"keys": ["/k\0"]}}, "verification.keys: ['/k\\x00'] is not a list of absolute paths"),
        ({"probes": "9090"}, "probes: '9090' is not HOST:PORT"),
        ({"attempts": 0}, "attempts: 0 is not a whole number from 1 up"),
        ({"attempts": True}, "attempts: True is not a whole number"),
        ({"settle": "soon"}, "settle: 'soon' is not a duration like 90s"),
        ({"settle": 5}, "settle: 5 is not text"),
        ({"allowedStreams": "a"}, "allowedStreams: 'a' is not a list of texts"),
        ({"verification": {}}, "verification.keys: [] is not a list of absolute paths"),
        ({"verification": {"keys": ["cosign.pub"]}}, "verification.keys: ['cosign.pub'] is not a list of absolute"),
        ({"verification": {"key": "/k"}}, "verification: {'key': '/k'} is not a mapping of keys and identity"),
        ({"verification": "/k"}, "verification: '/k' is not a mapping"),
        ({"fleetlock": "http://l"}, "fleetlock: 'http://l' is not a mapping"),
        ({"fleetlockUr": "http://l"}, "fleetlockUr: no such setting; known are"),
        ({"logLevel": "loud"}, "logLevel: 'loud' is none of debug, info, warn, error"),
        ("text", "'text' is not a mapping"),
    ],
)
def test_a_bad_value_is_named_with_what_would_be_right(raw: object, words: str) -> None:
    with pytest.raises(BadValue, match=re.escape(words)):
        read_settings(raw)


def test_an_error_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("drain: [")
    with pytest.raises(BadSettings, match=str(path)):
        load(path)
