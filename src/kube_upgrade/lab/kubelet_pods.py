"""The pods bound to one simulated node: started, kept Ready, and ended when the API says so."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from kube_upgrade.kube import paths
from kube_upgrade.kube.client import KubeApi, PatchKind
from kube_upgrade.kube.errors import Conflict, KubeError, NotFound
from kube_upgrade.kube.informer import Informer
from kube_upgrade.kube.wire.meta import Condition, ObjectMeta
from kube_upgrade.kube.wire.pod import MIRROR
from kube_upgrade.lab.moments import now_text
from kube_upgrade.telemetry import logs

_RETRY_SECONDS = 0.5
_log = logs.logger("kubelet")


class Container(msgspec.Struct, frozen=True):
    """What a container's status repeats of its spec."""

    name: str = ""
    image: str = ""


class BoundSpec(msgspec.Struct, rename="camel", frozen=True):
    """spec, reduced."""

    containers: list[Container] = []


class BoundStatus(msgspec.Struct, rename="camel", frozen=True):
    """status, reduced."""

    phase: str = "Pending"
    conditions: list[Condition] = []


class BoundPod(msgspec.Struct, rename="camel", frozen=True):
    """A core/v1 Pod as its kubelet reads it."""

    metadata: ObjectMeta
    spec: BoundSpec = BoundSpec()
    status: BoundStatus = BoundStatus()

    @property
    def mirror(self) -> bool:
        """True for the API's copy of a static pod."""
        return MIRROR in self.metadata.annotations

    @property
    def ready(self) -> bool:
        """True where the API shows it Running and Ready."""
        good = any(each.type == "Ready" and each.status == "True" for each in self.status.conditions)
        return good and self.status.phase == "Running"

    @property
    def finished(self) -> bool:
        """True where nothing of it runs any more."""
        return self.status.phase in ("Succeeded", "Failed")


class PodWorker:
    """Brings each pod of the node to where the API wants it; one task a pod, so a slow one holds up nobody."""

    def __init__(self, api: KubeApi, node: str, start: float, stop: float, mirror_gone: Callable[[str], None]) -> None:
        self._api = api
        self._mirror_gone = mirror_gone
        self._start = start
        self._stop = stop
        self._busy: set[str] = set()
        self._changed: asyncio.Queue[str] = asyncio.Queue()
        self._pods = Informer(
            api,
            paths.PODS,
            type=BoundPod,
            value=_same,
            params={"fieldSelector": f"spec.nodeName={node}"},
            on_change=self._note,
        )

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pods.run())
            while True:
                key = await self._changed.get()
                if key not in self._busy:
                    self._busy.add(key)
                    group.create_task(self._settle(key))

    def _note(self, key: str, before: BoundPod | None, after: BoundPod | None) -> None:
        if before is not None and before.mirror and after is None:
            self._mirror_gone(key)
        self._changed.put_nowait(key)

    async def _settle(self, key: str) -> None:
        """Work on one pod until it is as wanted, whatever happens to it meanwhile."""
        try:
            while (pod := self._pods.items.get(key)) and (step := self._step(pod)):
                try:
                    await step
                except (NotFound, Conflict):
                    return  # gone, or another pod of the same name: its own event brings it here
                except KubeError as error:
                    _log.warning("repeating", pod=key, reason=str(error))
                await asyncio.sleep(_RETRY_SECONDS)
        finally:
            self._busy.discard(key)

    def _step(self, pod: BoundPod) -> Any:
        if pod.metadata.deletion_timestamp:
            return self._end(pod)
        if pod.mirror or pod.ready or pod.finished:
            return None
        return self._begin(pod)

    async def _begin(self, pod: BoundPod) -> None:
        await asyncio.sleep(self._start)
        await report_running(self._api, pod)

    async def _end(self, pod: BoundPod) -> None:
        await asyncio.sleep(0 if pod.mirror else self._stop)
        await end_pod(self._api, pod)


async def report_running(api: KubeApi, pod: BoundPod) -> None:
    """Write status Running and Ready."""
    meta = pod.metadata
    body = {"metadata": {"uid": meta.uid}, "status": running_status(pod.spec.containers)}
    await api.patch(paths.pod_status(meta.namespace, meta.name), body, BoundPod, kind=PatchKind.STRATEGIC)


async def end_pod(api: KubeApi, pod: BoundPod) -> None:
    """Take the pod out of the API: its containers have ended. Never another one of the same name."""
    options = {"gracePeriodSeconds": 0, "preconditions": {"uid": pod.metadata.uid}}
    await api.delete(paths.pod(pod.metadata.namespace, pod.metadata.name), options)


def running_status(containers: list[Container]) -> Mapping[str, Any]:
    """A pod's status where every container runs."""
    now = now_text()
    names = ("Initialized", "PodReadyToStartContainers", "ContainersReady", "Ready")
    return {
        "phase": "Running",
        "startTime": now,
        "hostIP": "127.0.0.1",
        "podIP": "127.0.0.1",
        "podIPs": [{"ip": "127.0.0.1"}],
        "conditions": [{"type": name, "status": "True", "lastTransitionTime": now} for name in names],
        "containerStatuses": [
            {
                "name": each.name,
                "image": each.image,
                "imageID": "",
                "ready": True,
                "started": True,
                "restartCount": 0,
                "state": {"running": {"startedAt": now}},
            }
            for each in containers
        ],
    }


def _same(pod: BoundPod) -> BoundPod:
    return pod
