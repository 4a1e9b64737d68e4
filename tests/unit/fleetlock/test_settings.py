"""The config file: upstream's keys are read, what we can't do is refused by name."""

from pathlib import Path

import pytest

from kube_upgrade.core.eviction import DrainPolicy, Overdue
from kube_upgrade.fleetlock.config import Surroundings, expanded, load, parse, read_listen
from kube_upgrade.fleetlock.settings import BadSettings, GroupSettings, Postgres, Settings, StoreKind, Tls

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
    around = Surroundings(in_pod=True, namespace="here")

    assert parse("", around) == Settings(namespace="here", groups={"default": GroupSettings(slots=1)})
    assert parse("groups: {}", around).groups == {"default": GroupSettings(slots=1)}


def test_outside_a_cluster_the_slots_are_in_sqlite_and_nothing_is_drained(tmp_path: Path) -> None:
    found = parse("", Surroundings(state=tmp_path))

    assert (found.store, found.sqlite, found.cluster) == (StoreKind.SQLITE, tmp_path / "locks.db", False)


@pytest.mark.parametrize("around", [Surroundings(in_pod=True), Surroundings(kubeconfig=True)])
def test_a_database_beside_a_cluster_still_drains_its_nodes(around: Surroundings) -> None:
    keys = "{address: 'db:26257', username: u, password: p, database: d, options: a=b}"

    found = parse(f"storage: {{type: postgres, postgres: {keys}}}", around)

    assert found.store is StoreKind.POSTGRES
    assert found.cluster
    assert found.postgres == Postgres(address="db:26257", username="u", password="p", database="d", options="a=b")
    assert "password" not in repr(found)


def test_the_kubernetes_store_is_a_cluster_wherever_its_kubeconfig_lies() -> None:
    assert parse("storage: {type: kubernetes}").cluster


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a $A b", "a 1 b"),
        ("${A}${B}", "12 3"),
        ("$A_B", ""),
        ("$Z|${Z}", "|"),
        ("50% $ 5$", "50% $ 5$"),
        ("$1A $$A $@ ${#}", "A A  "),  # the shell's own variables, which nobody sets
        ("${}|${A", "|A"),
    ],
)
def test_variables_are_filled_in_as_upstream_does_it(text: str, expected: str) -> None:
    assert expanded(text, {"A": "1", "B": "2 3"}) == expected


def test_a_file_that_upstream_reads_is_not_refused_for_its_spelling() -> None:
    """Go reads a section without content as absent, any scalar as text where text is wanted, and levels in any case."""
    found = parse("""
    logLevel: INFO
    server:
    groups:
    storage:
      type: postgres
      sqlite:
      postgres: {address: "db:5432", username: 42, password: 0123, database: 2026-11-24, options: ~}
    """)

    assert found.log_level == "info"
    assert found.groups == {"default": GroupSettings()}
    assert found.postgres == Postgres(address="db:5432", username="42", password="0123", database="2026-11-24")


def test_secrets_come_from_files(tmp_path: Path) -> None:
    for name, text in (("prefix", "/0123456789abcdef/\n"), ("token", "t0ken\n"), ("password", "pass\n")):
        (tmp_path / name).write_text(text)

    found = parse(f"""
    server: {{pathPrefixFile: {tmp_path}/prefix, readTokenFile: {tmp_path}/token}}
    storage: {{type: postgres, postgres: {{passwordFile: {tmp_path}/password}}}}
    """)

    assert (found.path_prefix, found.read_token, found.postgres.password) == ("0123456789abcdef", "t0ken", "pass")


def test_a_prefix_that_could_be_guessed_is_refused_and_not_shown(tmp_path: Path) -> None:
    (tmp_path / "prefix").write_text("locks")

    with pytest.raises(BadSettings, match=r"server\.pathPrefixFile") as refused:
        parse(f"server: {{pathPrefixFile: {tmp_path}/prefix}}")
    assert "locks" not in str(refused.value)


def test_tls_listens_on_8443_unless_told_otherwise() -> None:
    found = parse("server: {ssl: {enabled: true, cert: /c.pem, key: /k.pem}}")

    assert found.tls == Tls(cert=Path("/c.pem"), key=Path("/k.pem"))
    assert found.port == 8443


@pytest.mark.parametrize(("word", "overdue"), [("giveUp", Overdue.GIVE_UP), ("delete", Overdue.DELETE)])
def test_a_drain_may_have_a_deadline(word: str, overdue: Overdue) -> None:
    found = parse(f"groups: {{a: {{drain: {{deadlineMinutes: 1.5, onDeadline: {word}}}}}}}")

    assert found.groups["a"].policy == DrainPolicy(deadline=90.0, overdue=overdue)


@pytest.mark.parametrize("type", ["memory", "mysql", "valkey", "redis", "etcd", "mongodb", "tape"])
def test_a_store_that_is_not_supported_is_refused_by_name(type: str) -> None:
    with pytest.raises(BadSettings, match=f"storage.type: '{type}' is not supported: .*sqlite"):
        parse(f"storage: {{type: {type}}}")


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
        ("storage: {type: sqlite, sqlite: {file: ':memory:'}}", "storage.sqlite.file"),
        ("storage: {postgres: {password: a, passwordFile: b}}", "storage.postgres"),
        ("server: {ssl: {enabled: true}}", "server.ssl"),
        ("server: {maxWaiting: 0}", "server.maxWaiting: 0"),
        ("server: {readTokenFile: /nowhere/token}", "server.readTokenFile"),
        ("nodeGoneSeconds: -1", "nodeGoneSeconds: -1"),
        ("groups: {a: {drain: {deadlineMinutes: 5}}}", "groups.a.drain: deadlineMinutes needs"),
        ("groups: {a: {drain: {onDeadline: giveUp}}}", "groups.a.drain"),
        ("groups: {a: {drain: {deadlineMinutes: 0, onDeadline: delete}}}", "groups.a.drain.deadlineMinutes: 0"),
        ("groups: {a: {drain: {onDeadline: hurry}}}", "hurry"),
        ("server: {listen: '8080'}", "server.listen: '8080'"),
        ("server: {listen: ':99999'}", "server.listen"),
        ("logLevel: loud", "logLevel: 'loud'"),
        ("holdSeconds: -1", "holdSeconds: -1"),
        ("holdSeconds: .nan", "holdSeconds"),
        ("holdSeconds: nan", "holdSeconds"),
        ("groups: {a: }", "groups"),
        ("holdSeconds: soon", "holdSeconds"),
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
        load(tmp_path / "nowhere.yaml", {})


@pytest.mark.parametrize(
    ("text", "expected"),
    [(":8080", ("", 8080)), ("0.0.0.0:1", ("0.0.0.0", 1)), ("[::1]:80", ("::1", 80)), ("locks:80", ("locks", 80))],
)
def test_listen_is_read_as_go_reads_it(text: str, expected: tuple[str, int]) -> None:
    assert read_listen(text) == expected
