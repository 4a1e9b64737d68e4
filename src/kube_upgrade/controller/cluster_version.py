"""The version in ConfigMap kubeadm-config: read when it may have changed, and done without while it cannot be read."""

import asyncio
from collections.abc import Callable

from kube_upgrade.core.backoff import pause
from kube_upgrade.kube.api import Api
from kube_upgrade.kube.errors import ApiError, BadAnswer, Forbidden, KubeError, ServerError
from kube_upgrade.kube.wire.kubeadm_config import read_cluster_version
from kube_upgrade.model.version import KubeVersion
from kube_upgrade.telemetry import logs

FIRST_PAUSE, MOST_PAUSE = 1.0, 60.0  # seconds between two tries

log = logs.logger("observe")


class ClusterVersion:
    """What the ConfigMap says; `trouble` says why it cannot be read, in words that stay while the kind of trouble does.

    `changed` is called when it is time to ask again.
    """

    def __init__(self, api: Api, changed: Callable[[], None]) -> None:
        self._api = api
        self._changed = changed
        self._known: KubeVersion | None = None
        self._read_for: object = None
        self._failures = 0
        self._kind: object = None
        self._resting = False
        self.trouble = ""

    async def read(self, evidence: object) -> KubeVersion | None:
        """None where it is not known. Asked anew where the evidence is not what it was, or nothing is known.

        Raises KubeError where the API server cannot be asked at all, and at the first 5xx: that one is mostly over.
        """
        if evidence == self._read_for and self._known is not None:
            return self._known
        if self._resting:
            return None
        self._known = None
        try:
            known = await read_cluster_version(self._api)
        except (Forbidden, ServerError, BadAnswer) as error:
            self._failures += 1
            if self._failures == 1 and isinstance(error, ServerError):
                raise
            self._rest(error)
            return None
        if self.trouble:
            log.info("kubeadm-config is read again")
        self._failures, self._kind, self.trouble = 0, None, ""
        self._known, self._read_for = known, evidence
        return known

    def _rest(self, error: KubeError) -> None:
        kind = (type(error), error.status if isinstance(error, ApiError) else 0)
        if kind != self._kind:
            self._kind, self.trouble = kind, str(error)
            log.warning("kubeadm-config can't be read: control planes wait", reason=self.trouble)
        self._resting = True
        wait = pause(self._failures, first=FIRST_PAUSE, most=MOST_PAUSE, dice=0.5)
        if isinstance(error, ApiError) and error.retry_after:
            wait = max(wait, min(error.retry_after, MOST_PAUSE))
        asyncio.get_running_loop().call_later(wait, self._rested)

    def _rested(self) -> None:
        self._resting = False
        self._changed()
