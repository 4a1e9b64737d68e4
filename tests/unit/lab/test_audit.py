"""A refused call is seen in the API server's own log, whatever the program made of it."""

import json
from datetime import timedelta

import pytest

from kube_upgrade.lab.audit import Refusal, policy, refusals
from support.histories import START

USER = "system:serviceaccount:kube-upgrade:fleetlock"


NODE = "system:node:worker-1"
UNRELATED = "node: no relationship found between node 'worker-1' and this object"


def line(code: int, user: str = USER, verb: str = "patch", reason: str = "", **target: str) -> bytes:
    event = {"user": {"username": user}, "verb": verb, "objectRef": target, "responseStatus": {"code": code}}
    event |= {"annotations": {"authorization.k8s.io/reason": reason}} if reason else {}
    return json.dumps(event, separators=(",", ":")).encode()


def test_each_kind_of_refusal_is_told_once() -> None:
    log = [line(200, resource="nodes"), line(403, resource="nodes", name="w1"), line(403, resource="nodes", name="w1")]

    assert [str(found) for found in refusals(log)] == [f"{USER} may not patch nodes w1"]


def test_a_subresource_is_named_and_a_line_cut_short_is_left_out() -> None:
    log = [line(403, resource="pods", subresource="eviction", name="p"), line(403, resource="nodes")[:-9]]

    assert list(refusals(log)) == [Refusal(USER, "patch", "pods/eviction", "p")]


def test_a_right_that_a_nodes_daemon_lacks_is_told_too() -> None:
    log = [
        line(403, NODE, "get", resource="configmaps", name="kubeadm-config"),
        line(403, NODE, "patch", resource="nodes", name="worker-2"),
        line(403, NODE, "list", UNRELATED, resource="pods"),
        line(403, NODE, "get", UNRELATED, resource="secrets", name="s"),
    ]

    assert [str(found) for found in refusals(log)] == [
        f"{NODE} may not get configmaps kubeadm-config",
        f"{NODE} may not patch nodes worker-2",
        f"{NODE} may not list pods",
        f"{NODE} may not get secrets s",
    ]


def test_a_kubelet_that_asks_for_a_pod_which_is_not_there_is_weather() -> None:
    """As recorded: before it creates a mirror pod, the kubelet looks whether there is one."""
    assert list(refusals([line(403, NODE, "get", UNRELATED, resource="pods", name="etcd-worker-1")])) == []
    assert list(refusals([line(403, USER, "get", UNRELATED, resource="pods", name="etcd-worker-1")])) != []


@pytest.mark.parametrize(("seconds", "told"), [(-0.1, True), (0.0, False), (5.0, False), (6.9, False), (7.1, True)])
def test_an_api_server_that_is_just_started_refuses_everybody_and_that_is_weather(seconds: float, told: bool) -> None:
    """It serves before its authorizers know the roles, and two seconds behind its readiness they do."""
    event = json.loads(line(403, USER, "watch", resource="nodes"))
    event["requestReceivedTimestamp"] = (START + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    log = [json.dumps(event, separators=(",", ":")).encode()]

    assert bool(list(refusals(log, [(START, START + timedelta(seconds=5))]))) is told


def test_only_our_programs_and_the_nodes_are_recorded() -> None:
    rules = policy("kube-upgrade")["rules"]

    assert rules[0]["userGroups"] == ["system:serviceaccounts:kube-upgrade", "system:nodes"]
    assert rules[-1] == {"level": "None"}
