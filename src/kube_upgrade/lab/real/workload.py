"""What runs on the cluster besides ours: a Deployment that answers HTTP, its PodDisruptionBudget and its Service."""

from typing import Any

from kube_upgrade.lab.real.content import APP

NAME = "web"
NODE_PORT = 30081
REPLICAS = 2
_LABELS = {"app": NAME}
_REQUESTS = {"cpu": "100m", "memory": "16Mi"}  # without any, whatever runs beside it on a busy machine goes first


def objects(max_unavailable: int = 1) -> list[dict[str, Any]]:
    """All three, in namespace default."""
    return [_deployment(), disruption_budget(max_unavailable), _service()]


def disruption_budget(max_unavailable: int) -> dict[str, Any]:
    """0 lets nobody evict a pod."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": NAME, "namespace": "default"},
        "spec": {"maxUnavailable": max_unavailable, "selector": {"matchLabels": _LABELS}},
    }


def _deployment() -> dict[str, Any]:
    probe = {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1}
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": _LABELS},
    }
    pod = {
        "containers": [{"name": "app", "image": APP, "readinessProbe": probe, "resources": {"requests": _REQUESTS}}],
        "topologySpreadConstraints": [spread],
        "terminationGracePeriodSeconds": 15,
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": NAME, "namespace": "default"},
        "spec": {
            "replicas": REPLICAS,
            "selector": {"matchLabels": _LABELS},
            "template": {"metadata": {"labels": _LABELS}, "spec": pod},
        },
    }


def _service() -> dict[str, Any]:
    port = {"port": 80, "targetPort": 8080, "nodePort": NODE_PORT}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": NAME, "namespace": "default"},
        "spec": {"type": "NodePort", "selector": _LABELS, "ports": [port]},
    }
