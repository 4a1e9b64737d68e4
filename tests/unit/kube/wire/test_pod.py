"""Pods as the API server sends them, with what a real cluster has in them."""

from typing import Any

import msgspec
import pytest

from kube_upgrade.kube.wire.pod import PodObject, to_pod

TOKEN: dict[str, Any] = {
    "name": "t",
    "projected": {"sources": [{"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}}]},
}
VOLUMES: dict[str, list[dict[str, Any]]] = {
    "none": [],
    "token": [TOKEN],
    "host path": [TOKEN, {"name": "h", "hostPath": {"path": "/etc", "type": ""}}],
    "config map": [{"name": "c", "configMap": {"name": "coredns", "defaultMode": 420}}],
    "claim": [{"name": "p", "persistentVolumeClaim": {"claimName": "data"}}],
    "emptyDir": [TOKEN, {"name": "tmp", "emptyDir": {}}],
    "emptyDir in memory": [{"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}}],
}


@pytest.mark.parametrize("volumes", VOLUMES)
def test_a_pod_is_read_whatever_its_volumes_and_an_emptydir_is_seen(volumes: str) -> None:
    """metrics-server has one, as has many a pod: one that can't be read would hide all others of its list."""
    raw = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web-1", "namespace": "shop", "uid": "u", "resourceVersion": "7"},
        "spec": {"nodeName": "w1", "containers": [{"name": "c", "image": "web:1"}], "volumes": VOLUMES[volumes]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    }

    pod = to_pod(msgspec.json.decode(msgspec.json.encode(raw), type=PodObject))

    assert (pod.key, pod.ready) == ("shop/web-1", True)
    assert pod.empty_dir == volumes.startswith("emptyDir")
