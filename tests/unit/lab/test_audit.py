"""A refused call is seen in the API server's own log, whatever the program made of it."""

import json

from kube_upgrade.lab.audit import Refusal, policy, refusals

USER = "system:serviceaccount:kube-upgrade:fleetlock"


def line(code: int, **target: str) -> bytes:
    event = {"user": {"username": USER}, "verb": "patch", "objectRef": target, "responseStatus": {"code": code}}
    return json.dumps(event, separators=(",", ":")).encode()


def test_each_kind_of_refusal_is_told_once() -> None:
    log = [line(200, resource="nodes"), line(403, resource="nodes", name="w1"), line(403, resource="nodes", name="w1")]

    assert [str(found) for found in refusals(log)] == [f"{USER} may not patch nodes w1"]


def test_a_subresource_is_named_and_a_line_cut_short_is_left_out() -> None:
    log = [line(403, resource="pods", subresource="eviction", name="p"), line(403, resource="nodes")[:-9]]

    assert list(refusals(log)) == [Refusal(USER, "patch", "pods/eviction", "p")]


def test_only_our_programs_and_the_nodes_are_recorded() -> None:
    rules = policy("kube-upgrade")["rules"]

    assert rules[0]["userGroups"] == ["system:serviceaccounts:kube-upgrade", "system:nodes"]
    assert rules[-1] == {"level": "None"}
