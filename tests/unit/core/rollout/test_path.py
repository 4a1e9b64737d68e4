"""The way to the target: hops minor by minor, and what refuses a way (domain: 4.8, 4.9)."""

from typing import Any

import pytest

from kube_upgrade.core.rollout.path import find_path, too_far
from kube_upgrade.model.status import Reason
from support.builders import a_claim, a_cluster, a_node, a_plan, replaced, seen, static_pods, v


def way(at: str, to: str, *via: str, **changed: Any) -> tuple[str, ...] | str:
    """The hops as text, or the reason why there are none."""
    path = find_path(seen(*a_cluster(kubelet=v(at)), plan=a_plan(version=v(to), via=tuple(map(v, via)), **changed)))
    return str(path.problem.reason) if path.problem else tuple(map(str, path.hops))


@pytest.mark.parametrize(
    ("at", "to", "via", "hops"),
    [
        ("v1.36.3", "v1.37.2", (), ("v1.37.2",)),  # one minor
        ("v1.37.1", "v1.37.2", (), ("v1.37.2",)),  # a patch
        ("v1.37.2", "v1.37.2", (), ("v1.37.2",)),  # there already
        ("v1.37.0-rc.1", "v1.37.0", (), ("v1.37.0",)),  # out of a pre-release
        ("v1.35.1", "v1.37.2", ("v1.36.4",), ("v1.36.4", "v1.37.2")),
        ("v1.34.5", "v1.37.2", ("v1.36.4", "v1.35.9"), ("v1.35.9", "v1.36.4", "v1.37.2")),  # in any order
        ("v1.34.5", "v1.37.2", ("v1.35.9", "v1.36.4", "v1.35.9"), ("v1.35.9", "v1.36.4", "v1.37.2")),
        ("v1.36.3", "v1.37.2", ("v1.38.1",), ("v1.37.2",)),  # beyond the target: no hop
    ],
)
def test_hops_lead_minor_by_minor_to_the_target(at: str, to: str, via: tuple[str, ...], hops: tuple[str, ...]) -> None:
    assert way(at, to, *via) == hops


@pytest.mark.parametrize(
    ("at", "to", "via"),
    [
        ("v1.35.1", "v1.37.2", ()),
        ("v1.34.5", "v1.37.2", ("v1.36.4",)),
        ("v1.33.5", "v1.37.2", ("v1.34.4", "v1.36.4")),
        ("v1.37.2", "v2.0.0", ()),
    ],
)
def test_a_skipped_minor_is_refused(at: str, to: str, via: tuple[str, ...]) -> None:
    assert way(at, to, *via) == Reason.MINOR_SKIPPED


def test_the_refusal_names_every_missing_minor() -> None:
    plan = a_plan(version=v("v1.37.2"))
    problem = find_path(seen(*a_cluster(kubelet=v("v1.34.5")), plan=plan)).problem
    assert problem is not None
    assert problem.message == "v1.34.5 to v1.37.2 skips minor 1.35, 1.36: add a version of each to spec.via"


def test_a_downgrade_is_refused_unless_it_is_allowed() -> None:
    assert way("v1.37.2", "v1.37.1") == Reason.DOWNGRADE_REFUSED
    assert way("v1.37.2", "v1.37.1", allow_downgrade=True) == ("v1.37.1",)
    assert way("v1.37.2", "v1.36.3", allow_downgrade=True) == ("v1.36.3",)


def test_one_minor_down_is_the_most_even_where_downgrades_are_allowed() -> None:
    assert way("v1.37.2", "v1.35.3", allow_downgrade=True) == Reason.DOWNGRADE_REFUSED


def test_the_slowest_api_server_decides_where_the_way_begins() -> None:
    nodes = replaced(a_cluster(), a_node("cp-2", kubelet=v("v1.35.1")))
    assert find_path(seen(*nodes)).problem is not None


def test_one_api_server_beyond_the_target_is_a_downgrade() -> None:
    nodes = replaced(a_cluster(), a_node("cp-2", kubelet=v("v1.37.3")))
    problem = find_path(seen(*nodes)).problem
    assert problem is not None
    assert problem.reason is Reason.DOWNGRADE_REFUSED


def test_an_api_server_whose_version_no_mirror_pod_shows_stops_everything_and_is_named() -> None:
    pods = (*static_pods("cp-1"), *static_pods("cp-2", None))
    problem = find_path(seen(pods=pods)).problem
    assert problem is not None
    assert (problem.reason, problem.message) == (
        Reason.VERSION_UNKNOWN,
        "no mirror pod shows the API server's version on cp-2, cp-3",
    )


def test_without_any_known_control_plane_node_no_version_can_be_told() -> None:
    problem = find_path(seen(*a_cluster(0, 2))).problem
    assert problem is not None
    assert problem.reason is Reason.VERSION_UNKNOWN


def refused(kubelet: str, hop: str, *, name: str = "w-1", **changed: Any) -> str | None:
    plan = a_plan(version=v(changed.pop("target", hop)), **changed)
    hold = too_far(plan, a_node(name, kubelet=v(kubelet)), v(hop), control_plane=name.startswith("cp"))
    return str(hold.reason) if hold else None


@pytest.mark.parametrize("name", ["w-1", "cp-1"])
def test_no_kubelet_skips_a_minor(name: str) -> None:
    assert refused("v1.36.3", "v1.37.2", name=name) is None
    assert refused("v1.35.3", "v1.37.2", name=name) == Reason.MINOR_SKIPPED


def test_workers_may_skip_up_to_three_minors_where_the_plan_says_so() -> None:
    assert refused("v1.34.3", "v1.37.2", workers_skip_hops=True) is None
    assert refused("v1.33.3", "v1.37.2", workers_skip_hops=True) == Reason.MINOR_SKIPPED


def test_control_planes_never_skip_even_where_workers_may() -> None:
    assert refused("v1.35.3", "v1.37.2", name="cp-1", workers_skip_hops=True) == Reason.MINOR_SKIPPED


def test_the_refusal_says_what_to_add_to_the_plan() -> None:
    worker = too_far(a_plan(), a_node(kubelet=v("v1.34.3")), v("v1.37.2"), control_plane=False)
    control = too_far(a_plan(), a_node("cp-1", kubelet=v("v1.34.3")), v("v1.37.2"), control_plane=True)
    assert worker is not None
    assert control is not None
    assert worker.message.endswith("add the versions in between to spec.via, or set spec.workersSkipHops")
    assert control.message.endswith("add the versions in between to spec.via")


@pytest.mark.parametrize("kubelet", ["v1.38.0", "v1.37.3", "v1.37.2"])
def test_a_single_node_is_not_downgraded_not_even_by_a_patch_or_out_of_a_release(kubelet: str) -> None:
    hop = "v1.37.2" if kubelet != "v1.37.2" else "v1.37.2-rc.1"
    assert refused(kubelet, hop) == Reason.DOWNGRADE_REFUSED
    assert refused(kubelet, hop, allow_downgrade=True) is None


def test_a_node_is_never_downgraded_to_a_hop_on_the_way() -> None:
    assert refused("v1.36.9", "v1.36.4", target="v1.37.2", allow_downgrade=True) is not None


def test_a_kubelet_without_a_version_is_not_touched() -> None:
    hold = too_far(a_plan(), a_node(kubelet=None), v("v1.37.2"), control_plane=False)
    assert hold is not None
    assert hold.reason is Reason.VERSION_UNKNOWN


def test_another_major_is_out_of_every_bound() -> None:
    assert refused("v1.37.2", "v2.0.0", workers_skip_hops=True) == Reason.MINOR_SKIPPED


def test_the_pod_of_a_node_under_upgrade_may_be_missing_for_a_moment() -> None:
    """kubeadm replaces static pods one by one: that is no reason to say that the way is unknown."""
    nodes = a_cluster()
    others = [pod for node in nodes[1:3] for pod in static_pods(node.name)]
    claimed = a_plan(claims=[a_claim(nodes[0])])

    assert find_path(seen(*nodes, pods=others, plan=claimed)).problem is None
    unclaimed = find_path(seen(*nodes, pods=others)).problem
    assert unclaimed is not None
    assert unclaimed.reason is Reason.VERSION_UNKNOWN
