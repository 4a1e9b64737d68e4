"""The config file: upstream's keys are read, what we can't do is refused by name."""

from pathlib import Path

import pytest

from kube_upgrade.core.eviction import DrainPolicy
from kube_upgrade.fleetlock.settings import BadSettings, GroupSettings, Settings, load, parse, read_listen

UPSTREAM = """
logLevel: debug
kubernetes:
  kubeconfig: /etc/kubernetes/admin.conf
  drainTimeoutSeconds: 300
  drainRetries: 0
server:
  listen: "127.0.0.1:9090"
  ssl: {enabled: false, cert: "", key: ""}
storage:
  type: kubernetes
  kubernetes: {namespace: fleetlock}
groups:
  default: {slots: 1}
  compute: {slots: 3}
"""


def test_upstreams_file_is_read_as_it_is() -> None:
    assert parse(UPSTREAM) == Settings(
        log_level="debug",
        host="127.0.0.1",
        port=9090,
        namespace="fleetlock",
        kubeconfig=Path("/etc/kubernetes/admin.conf"),
        groups={"default": GroupSettings(slots=1), "compute": GroupSettings(slots=3)},
        ignored=("kubernetes.drainTimeoutSeconds", "kubernetes.drainRetries"),
    )


def test_an_empty_file_is_one_group_with_one_slot() -> None:
    assert parse("", own_namespace="here") == Settings(namespace="here", groups={"default": GroupSettings(slots=1)})


def test_our_own_keys() -> None:
    text = """
    holdSeconds: 5.5
    namespace: locks
    groups:
      A.b-c: {slots: 2, drain: {barePods: false, emptyDir: false, noOtherNode: false}}
    """
    strict = DrainPolicy(bare_pods=False, empty_dir=False, no_other_node=False)

    found = parse(text)

    assert (found.hold_seconds, found.namespace) == (5.5, "locks")
    assert found.groups == {"A.b-c": GroupSettings(slots=2, policy=strict)}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("storage: {type: valkey}", "storage.type: 'valkey'"),
        ("storage: {type: memory}", "storage.type: 'memory'"),
        ("server: {ssl: {enabled: true}}", "server.ssl.enabled"),
        ("server: {listen: '8080'}", "server.listen: '8080'"),
        ("server: {listen: ':99999'}", "server.listen"),
        ("logLevel: loud", "logLevel: 'loud'"),
        ("holdSeconds: -1", "holdSeconds: -1"),
        ("holdSeconds: .nan", "holdSeconds: nan"),
        ("holdSeconds: soon", "holdSeconds"),
        ("groups: {}", "groups: at least one"),
        ("groups: {a_b: {slots: 1}}", "groups: 'a_b'"),
        ("groups: {a: {slots: 0}}", r"groups.a.slots: 0"),
        ("groups: {a: {slots: many}}", "groups"),
        ("groups: [a]", "groups"),
        ("- a", "config"),
        ("a: b: c", "config"),
    ],
)
def test_a_bad_value_is_named_with_its_field(text: str, named: str) -> None:
    with pytest.raises(BadSettings, match=named):
        parse(text)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match=r"nowhere\.yaml"):
        load(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize(
    ("text", "expected"),
    [(":8080", ("", 8080)), ("0.0.0.0:1", ("0.0.0.0", 1)), ("[::1]:80", ("::1", 80)), ("locks:80", ("locks", 80))],
)
def test_listen_is_read_as_go_reads_it(text: str, expected: tuple[str, int]) -> None:
    assert read_listen(text) == expected
