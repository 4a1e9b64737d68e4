"""API objects that a kubeadm cluster has before any upgrade, and the workloads on it. Pure: every function is a body.

What kubeadm creates follows its phases uploadconfig, kubelet and markcontrolplane (Kubernetes 1.36).
"""

from collections.abc import Iterator
from typing import Any

import yaml

from kube_upgrade.lab.scenario import Scenario, Workload
from kube_upgrade.model.labels import CONTROL_PLANE_LABEL

SYSTEM = "kube-system"
READERS = ("system:bootstrappers:kubeadm:default-node-token", "system:nodes")
PAUSE = "registry.k8s.io/pause:3.10.2"


def kubeadm_objects(version: str, endpoint: str) -> Iterator[dict[str, Any]]:
    """kubeadm-config and kubelet-config, the Roles by which nodes read them, and the group of admin.conf."""
    cluster = {
        "apiVersion": "kubeadm.k8s.io/v1beta4",
        "kind": "ClusterConfiguration",
        "clusterName": "kubernetes",
        "controlPlaneEndpoint": endpoint,
        "imageRepository": "registry.k8s.io",
        "kubernetesVersion": version,
        "etcd": {"local": {"dataDir": "/var/lib/etcd"}},
        "networking": {"dnsDomain": "cluster.local", "serviceSubnet": "10.96.0.0/12"},
    }
    kubelet = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "cgroupDriver": "systemd",
        "staticPodPath": "/etc/kubernetes/manifests",
    }
    yield config_map("kubeadm-config", {"ClusterConfiguration": yaml.safe_dump(cluster)})
    yield config_map("kubelet-config", {"kubelet": yaml.safe_dump(kubelet)})
    yield from readable("kubeadm:nodes-kubeadm-config", "kubeadm-config")
    yield from readable("kubeadm:kubelet-config", "kubelet-config")
    yield {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "kubeadm:cluster-admins"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [group("kubeadm:cluster-admins")],
    }


def collection(body: dict[str, Any]) -> str:
    """The path where objects of this kind are posted."""
    version, kind = body["apiVersion"], body["kind"]
    base = f"/api/{version}" if "/" not in version else f"/apis/{version}"
    namespace = body["metadata"].get("namespace")
    plural = kind.lower() + "s"
    return f"{base}/namespaces/{namespace}/{plural}" if namespace else f"{base}/{plural}"


def config_map(name: str, data: dict[str, str]) -> dict[str, Any]:
    """A ConfigMap in kube-system."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": SYSTEM}, "data": data}


def readable(role: str, configmap: str) -> Iterator[dict[str, Any]]:
    """A Role to get one ConfigMap of kube-system, bound to the nodes."""
    rule = {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [configmap], "verbs": ["get"]}
    meta = {"name": role, "namespace": SYSTEM}
    yield {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": meta, "rules": [rule]}
    yield {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": meta,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role},
        "subjects": [group(name) for name in READERS],
    }


def group(name: str) -> dict[str, str]:
    """A group as the subject of a binding."""
    return {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": name}


def control_plane_mark(*, taint: bool) -> dict[str, Any]:
    """What kubeadm's admin puts on a control plane: no kubelet may set it itself."""
    labels = {CONTROL_PLANE_LABEL: "", "node.kubernetes.io/exclude-from-external-load-balancers": ""}
    taints = [{"key": CONTROL_PLANE_LABEL, "effect": "NoSchedule"}] if taint else []
    return {"metadata": {"labels": labels}, "spec": {"taints": taints}}


def workload_objects(workloads: list[Workload]) -> Iterator[dict[str, Any]]:
    """Deployments and their PodDisruptionBudgets, in namespace default."""
    for each in workloads:
        labels = {"app": each.name}
        yield {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": each.name, "namespace": "default"},
            "spec": {
                "replicas": each.replicas,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod_spec(labels)},
            },
        }
        if each.max_unavailable is not None:
            yield {
                "apiVersion": "policy/v1",
                "kind": "PodDisruptionBudget",
                "metadata": {"name": each.name, "namespace": "default"},
                "spec": {"maxUnavailable": each.max_unavailable, "selector": {"matchLabels": labels}},
            }


def pod_spec(labels: dict[str, str]) -> dict[str, Any]:
    """One small container, spread over the nodes where that is possible."""
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": labels},
    }
    return {
        "containers": [{"name": "main", "image": PAUSE}],
        "topologySpreadConstraints": [spread],
        "terminationGracePeriodSeconds": 5,
    }


def plan_object(scenario: Scenario, fleetlock_url: str, stream: str) -> dict[str, Any]:
    """The KubeUpgradePlan that the lab applies: the scenario's, with what only this run knows."""
    given = scenario.plan.get("upgraded", {})
    upgraded = {"fleetlockUrl": fleetlock_url, "stream": stream, "allowUnsignedOstreeImages": True, **given}
    return {
        "apiVersion": "kubeupgrade.heathcliff.eu/v1alpha3",
        "kind": "KubeUpgradePlan",
        "metadata": {"name": scenario.name},
        "spec": {**scenario.plan, "kubernetesVersion": str(scenario.target), "upgraded": upgraded},
    }
