"""Paths say what they mean, both ways."""

import pytest

from kube_upgrade.kube import paths


@pytest.mark.parametrize(
    ("path", "resource", "named"),
    [
        (paths.NODES, "nodes", False),
        (paths.node("n1"), "nodes", True),
        (paths.node_status("n1"), "nodes/status", True),
        (paths.plan_status("p"), "kubeupgradeplans/status", True),
        (paths.pods("kube-system"), "pods", False),
        (paths.eviction("default", "web-1"), "pods/eviction", True),
        (paths.lease("kube-system", "status"), "leases", True),
        (paths.namespace("default"), "namespaces", True),
        (paths.NAMESPACES, "namespaces", False),
        ("/readyz", "readyz", False),
        ("/version", "version", False),
    ],
)
def test_a_path_tells_its_resource_for_metrics(path: str, resource: str, named: bool) -> None:
    assert paths.resource_of(path) == (resource, named)


def test_a_name_cannot_lead_to_another_resource() -> None:
    assert paths.node("../secrets") == "/api/v1/nodes/..%2Fsecrets"
