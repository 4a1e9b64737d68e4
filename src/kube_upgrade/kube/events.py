"""Kubernetes Events, best effort: announcing never waits and never fails; what cannot be written is logged."""

import asyncio
from collections import OrderedDict
from dataclasses import replace
from typing import NoReturn

from kube_upgrade.core.series import Series, repeated
from kube_upgrade.kube.api import Api
from kube_upgrade.kube.clock import Clock, SystemClock
from kube_upgrade.kube.errors import KubeError, NotFound
from kube_upgrade.kube.paths import event, events
from kube_upgrade.kube.wire.event import Announcement, namespace_of, repetition, to_event
from kube_upgrade.kube.wire.list import Identified
from kube_upgrade.telemetry import logs

WAITING = 4000  # announcements not yet written, as many as a full turn of a plan can bring; more are dropped
REMEMBERED = 4096  # series known by name, the least recently used forgotten first

_log = logs.logger("events")


class Recorder:
    """Writes announcements as events.k8s.io/v1 Events while `run` runs; repetitions count up in one Event."""

    def __init__(self, api: Api, *, controller: str, instance: str, clock: Clock | None = None) -> None:
        """`controller` is a qualified name (kube-upgrade.heathcliff.eu/NAME), `instance` this process."""
        self._api = api
        self._controller = controller
        self._instance = instance
        self._clock = clock or SystemClock()
        self._queue: asyncio.Queue[Announcement] = asyncio.Queue(WAITING)
        self._dropped = 0  # since the queue was full
        self._series: OrderedDict[Announcement, Series] = OrderedDict()

    def announce(self, said: Announcement) -> None:
        """Take note; returns at once."""
        try:
            self._queue.put_nowait(said)
        except asyncio.QueueFull:
            if not self._dropped:
                _log.warning("events are dropped: too many wait", reason=said.reason, note=said.note)
            self._dropped += 1

    async def run(self) -> NoReturn:
        """Write what was announced until cancelled."""
        while True:
            await self._write(await self._queue.get())
            self._queue.task_done()
            if self._dropped and self._queue.empty():
                _log.warning("events were dropped", number=self._dropped)
                self._dropped = 0

    async def flush(self) -> None:
        """Wait until everything announced so far was written or given up; only while `run` runs."""
        await self._queue.join()

    async def _write(self, said: Announcement) -> None:
        now = self._clock.monotonic()
        name = f"{said.regarding.name}.{int(self._clock.now().timestamp() * 1e6):x}"
        series = repeated(self._series.get(said), name, now)
        self._remember(said, series)
        if series.written != now:
            return
        try:
            await self._send(said, series)
        except KubeError as error:
            _log.warning("event not written", about=said.reason, note=said.note, reason=str(error))

    async def _send(self, said: Announcement, series: Series) -> None:
        at, namespace = self._clock.now(), namespace_of(said)
        if series.count > 1:
            try:
                await self._api.patch(event(namespace, series.name), repetition(series.count, at), Identified)
            except NotFound:  # events live for an hour
                self._series[said] = replace(series, count=1)
            else:
                return
        made = to_event(said, name=series.name, at=at, controller=self._controller, instance=self._instance)
        await self._api.create(events(namespace), made, Identified)

    def _remember(self, said: Announcement, series: Series) -> None:
        self._series[said] = series
        self._series.move_to_end(said)
        if len(self._series) > REMEMBERED:
            self._series.popitem(last=False)
