"""How our own programs fared on real nodes."""

import json

from kube_upgrade.lab.programs import NAMESPACE
from kube_upgrade.lab.real.cluster import NODES_NAMESPACE
from kube_upgrade.lab.real.course import Course
from kube_upgrade.lab.real.node import RealNode

STAY = ("fleetlock", "upgraded")  # pods that stay on their node over its reboot


async def restarts(course: Course) -> dict[str, int]:
    """How often the container of each pod of ours was started again, by the pod's name."""
    spaces = (NAMESPACE, NODES_NAMESPACE)
    said = [json.loads(await course.kubectl(f"--namespace={name}", "get", "pods", "--output=json")) for name in spaces]
    return {
        pod["metadata"]["name"]: sum(each["restartCount"] for each in pod["status"].get("containerStatuses", ()))
        for pods in said
        for pod in pods["items"]
    }


def ends_of_daemon(node: RealNode) -> list[str]:
    """Lines in which the node's PID 1 tells that `upgraded` ended by itself."""
    return [f"{node.name}: {line}" for line in node.log("upgraded", 100_000).splitlines() if "init: upgraded" in line]
