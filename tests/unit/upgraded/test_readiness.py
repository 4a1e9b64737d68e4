"""/readyz says the truth: ready is who sees its Node and its host."""

from dataclasses import replace

from kube_upgrade.upgraded.readiness import Readiness
from support.host_views import a_node, held, seen
from support.node_world import World


def test_nobody_is_ready_before_the_first_look() -> None:
    assert Readiness().read() == "this node was not looked at yet"


def test_what_a_look_lacks_is_named() -> None:
    readiness = Readiness()
    for view, words in (
        (replace(seen(), node=None), "ApiAway"),
        (held(node=a_node(machine_id="0" * 32)), "WrongNode"),
        (replace(seen(), os=None, os_problem="NotFound: no rpm-ostree"), "HostUnreadable: NotFound: no rpm-ostree"),
        (seen(api_reachable=False), "ApiAway: the API server does not answer"),
    ):
        readiness.looked(view)
        assert words in (readiness.read() or "ready")
    readiness.looked(seen())
    assert readiness.read() is None


def test_the_loop_tells_at_each_turn() -> None:
    world = World()
    world.turn()
    assert world.loop.readiness.read() is None
    world.faults.api_away = [(0.0, 1e6)]
    world.turn()
    assert "ApiAway" in (world.loop.readiness.read() or "")
