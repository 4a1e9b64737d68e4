"""What a person does on a control plane after a failed kubeadm, and what there is to see. The commands are those of
docs/reference/etcd.md, line by line."""

import asyncio
import json
import time
from datetime import datetime

from kube_upgrade.lab.cluster import LabFailed
from kube_upgrade.lab.real.course import Course
from kube_upgrade.lab.real.kubeadm import API_PORT
from kube_upgrade.lab.real.node import RealNode
from kube_upgrade.lab.real.probe import OK, Target, ask
from kube_upgrade.model.host import Facts
from kube_upgrade.upgraded.hosts import STATE
from kube_upgrade.upgraded.state import read_facts

LOOK = 0.5  # seconds
API_BACK = 180.0  # seconds from the way back to an API that serves
COMPONENTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
ETCD_GONE = """\
mv /etc/kubernetes/manifests/etcd.yaml /root/etcd.yaml
while pgrep -x etcd; do sleep 0.2; done
rm -rf /var/lib/etcd/member
"""
FROM_COPY = f"""{ETCD_GONE}\
copy=$(ls -d /etc/kubernetes/tmp/kubeadm-backup-etcd-*/etcd/member | tail -1)
cp -a "$copy" /var/lib/etcd/member
mv /root/etcd.yaml /etc/kubernetes/manifests/etcd.yaml
"""
FROM_SNAPSHOT = f"""{ETCD_GONE}\
snapshot=$(ls /var/lib/kube-upgraded/etcd/snapshot-*.db | tail -1)
value() {{ sed -n "s/^ *- --$1=//p" /root/etcd.yaml; }}
etcdutl snapshot restore "$snapshot" --data-dir /var/lib/etcd/restored --name "$(value name)" \\
  --initial-cluster "$(value initial-cluster)" --initial-advertise-peer-urls "$(value initial-advertise-peer-urls)" \\
  --bump-revision 1000000000 --mark-compacted
mv /var/lib/etcd/restored/member /var/lib/etcd/member
rm -rf /var/lib/etcd/restored
mv /root/etcd.yaml /etc/kubernetes/manifests/etcd.yaml
"""

IMAGE_AGAIN = "ctr --namespace k8s.io images rm registry.k8s.io/kube-apiserver:v1.37.2"


def facts(node: RealNode) -> Facts:
    """What the node's daemon has written down."""
    return read_facts(json.loads((node.var / STATE.removeprefix("/var/") / "state.json").read_text()))


def last_failure(node: RealNode) -> datetime | None:
    """When the last kubeadm that did not end with 0 was started; None where the last one did, or none was."""
    run = facts(node).kubeadm
    return run.started if run is not None and run.code not in (None, 0) else None


def said(node: RealNode) -> str:
    """What became of the last try, in the daemon's words."""
    tried = facts(node).tries.get("kubeadm")
    return f"{tried.reason}: {tried.message}" if tried else ""


async def until_failed(course: Course, node: RealNode, before: datetime | None, seconds: float) -> None:
    """Wait for a failed kubeadm after `before`. Raises LabFailed."""
    deadline = time.monotonic() + seconds
    while last_failure(node) in (None, before):
        if time.monotonic() > deadline:
            raise LabFailed(f"{node.name}: kubeadm did not fail within {seconds:.0f} s")
        await asyncio.sleep(LOOK)
    course.note(f"{node.name}: {said(node)}")


def manifest_images(node: RealNode) -> dict[str, str]:
    """The image in each static pod's manifest."""
    found = {}
    for component in COMPONENTS:
        lines = (node.root / f"etc/kubernetes/manifests/{component}.yaml").read_text().splitlines()
        found[component] = next(line.split("image:")[1].strip() for line in lines if "image:" in line)
    return found


async def from_kubeadms_copy(course: Course, node: RealNode) -> None:
    """kubeadm's own copy of the member, taken before it touched etcd."""
    await course.run(node, "sh", "-e", "-c", FROM_COPY)
    await until_ready(course, node)


async def from_our_snapshot(course: Course, node: RealNode) -> None:
    """The snapshot that the daemon took, by etcdutl of the old etcd's version. Revisions go on far above the old ones,
    so that no watch takes the past for the present."""
    await course.run(node, "sh", "-e", "-c", FROM_SNAPSHOT)
    await until_ready(course, node)


async def api_ready(node: RealNode) -> bool:
    """True where the node's own API server says so now."""
    return await asyncio.to_thread(ask, Target("", node.address, API_PORT, "/readyz", True)) == OK


async def until_ready(course: Course, node: RealNode) -> None:
    """Wait for the API; says how long it took. Raises LabFailed."""
    began = time.monotonic()
    while not await api_ready(node):
        if time.monotonic() - began > API_BACK:
            raise LabFailed(f"{node.name}: no API {API_BACK:.0f} s after the way back")
        await asyncio.sleep(LOOK)
    course.note(f"API ready {time.monotonic() - began:.0f} s after the way back")
