"""Paths of the API's resources. Names are quoted, so none can lead elsewhere."""

from urllib.parse import quote

PLAN_GROUP = "kubeupgrade.heathcliff.eu"
PLAN_VERSION = "v1alpha3"

NODES = "/api/v1/nodes"
PODS = "/api/v1/pods"
NAMESPACES = "/api/v1/namespaces"
PLANS = f"/apis/{PLAN_GROUP}/{PLAN_VERSION}/kubeupgradeplans"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
SELF_SUBJECT_REVIEWS = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


def node(name: str) -> str:
    """One Node."""
    return f"{NODES}/{_(name)}"


def node_status(name: str) -> str:
    """The status subresource of a Node: its kubelet writes it."""
    return f"{node(name)}/status"


def plan(name: str) -> str:
    """One KubeUpgradePlan."""
    return f"{PLANS}/{_(name)}"


def plan_status(name: str) -> str:
    """The status subresource of a KubeUpgradePlan."""
    return f"{plan(name)}/status"


def namespace(name: str) -> str:
    """One Namespace."""
    return f"{NAMESPACES}/{_(name)}"


def pods(namespace: str) -> str:
    """All Pods of a namespace."""
    return _core(namespace, "pods")


def pod(namespace: str, name: str) -> str:
    """One Pod."""
    return f"{pods(namespace)}/{_(name)}"


def pod_status(namespace: str, name: str) -> str:
    """The status subresource of a Pod."""
    return f"{pod(namespace, name)}/status"


def eviction(namespace: str, name: str) -> str:
    """Where a policy/v1 Eviction of this Pod is posted."""
    return f"{pod(namespace, name)}/eviction"


def configmaps(namespace: str) -> str:
    """All ConfigMaps of a namespace."""
    return _core(namespace, "configmaps")


def configmap(namespace: str, name: str) -> str:
    """One ConfigMap."""
    return f"{configmaps(namespace)}/{_(name)}"


def leases(namespace: str) -> str:
    """All Leases of a namespace."""
    return _grouped("coordination.k8s.io/v1", namespace, "leases")


def lease(namespace: str, name: str) -> str:
    """One Lease."""
    return f"{leases(namespace)}/{_(name)}"


def events(namespace: str) -> str:
    """All Events (events.k8s.io) of a namespace."""
    return _grouped("events.k8s.io/v1", namespace, "events")


def event(namespace: str, name: str) -> str:
    """One Event (events.k8s.io)."""
    return f"{events(namespace)}/{_(name)}"


def pdbs(namespace: str) -> str:
    """All PodDisruptionBudgets of a namespace."""
    return _grouped("policy/v1", namespace, "poddisruptionbudgets")


def resource_of(path: str) -> tuple[str, bool]:
    """The resource that a path means (`nodes`, `pods/eviction`, `livez`), and whether one object is named."""
    parts = path.strip("/").split("/")
    rest = parts[{"api": 2, "apis": 3}.get(parts[0], 0) :]
    if len(rest) > 2 and rest[0] == "namespaces" and rest[2] != "status":
        rest = rest[2:]
    resource = "/".join(rest[:1] + rest[2:3])
    return resource, len(rest) > 1


def _core(namespace: str, resource: str) -> str:
    return f"{NAMESPACES}/{_(namespace)}/{resource}"


def _grouped(group: str, namespace: str, resource: str) -> str:
    return f"/apis/{group}/namespaces/{_(namespace)}/{resource}"


def _(name: str) -> str:
    return quote(name, safe="")
