"""Emptying a node: cordon, evict, wait until the pods are gone.

Level-triggered: every round reads the node and judges its pods anew (which pods: core.eviction), so a drain may be
cancelled anywhere and begun again by another replica.
Facts about evictions: domain 5.2 (429 budget, 404 gone, 403 namespace terminating, 500 two budgets).
"""

import asyncio
import random
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import msgspec

from kube_upgrade.core.backoff import pause
from kube_upgrade.core.eviction import (
    Await,
    DrainPolicy,
    Evict,
    Judgement,
    Overdue,
    Postpone,
    Refuse,
    Skip,
    Stay,
    judge,
)
from kube_upgrade.kube import paths
from kube_upgrade.kube.api import Api
from kube_upgrade.kube.clock import stop
from kube_upgrade.kube.cordon import MarkedByAnother, cordon, keep_cordoned
from kube_upgrade.kube.errors import ApiError, Conflict, KubeError, NotFound
from kube_upgrade.kube.informer import Informer
from kube_upgrade.kube.wire.pod import PodObject, to_pod
from kube_upgrade.model.lock import DrainMark
from kube_upgrade.model.node import Node
from kube_upgrade.model.pod import Pod

FIRST_RETRY, MOST_RETRY = 1.0, 5.0  # seconds between evictions of one pod; kubectl asks every 5 s
LOOK_AGAIN = 10.0  # seconds after which a round is made without news from the watch
LIST_SECONDS = 2.0  # in which a node's pods are listed in fair weather
AT_ONCE = 10  # evictions in flight
LOST_AFTER = 60.0  # seconds of one drain that a node was not Ready: nobody waits for it to take pods

_dice = random.SystemRandom()
_BUDGET_NAME = re.compile(r"disruption budget (\S+)")  # no field of the answer has the PDB's name, only its text

Others = Callable[[], Iterable[Node]]


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainBlocked:
    """A pod that will not go now. `pdb` is empty where no PodDisruptionBudget holds it or none is named."""

    pod: str  # namespace/name
    pdb: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainProgress:
    """What is still on the node: pods to be evicted or gone soon, who blocks, what was deleted at the deadline."""

    left: tuple[str, ...] = ()
    blocked: tuple[DrainBlocked, ...] = ()
    deleted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """The node is cordoned and empty. `kept`: pods left there because no other node could take them."""

    kept: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """The mark or the node vanished while the drain ran: nobody wants it any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overran:
    """The deadline passed and the policy is to give up: nothing was undone yet. `last` is what was left."""

    last: DrainProgress


DrainResult = Drained | MarkedByAnother | Withdrawn | Overran


class PodList(msgspec.Struct, frozen=True):
    """core/v1 PodList, reduced."""

    items: list[PodObject] = []


async def drain(
    api: Api,
    name: str,
    mark: DrainMark,
    *,
    policy: DrainPolicy,
    others: Others,
    say: Callable[[DrainProgress], None],
) -> DrainResult:
    """Cordon and evict until only pods that may stay are left; cancel it at any time. Raises KubeError.

    `others` gives the cluster's other nodes as they are now; `say` hears what is left after each round.
    """
    try:
        node = await cordon(api, name, mark)
    except NotFound:
        return Withdrawn()
    if isinstance(node, MarkedByAnother):
        return node
    began = asyncio.get_running_loop().time() - (node.drain.spent if node.drain is not None else 0)
    if node.drain is not None and node.drain.drained and policy.overdue is Overdue.GIVE_UP:
        policy = replace(policy, deadline=None)  # it may have been granted: a latecomer takes nothing back
    run = _Drain(api=api, name=name, mark=mark, policy=policy, others=others, say=say, began=began)
    pods = Informer(
        api,
        paths.PODS,
        type=PodObject,
        value=to_pod,
        params={"fieldSelector": f"spec.nodeName={name}"},
        on_change=lambda key, old, new: run.news.set(),
    )
    watching = asyncio.create_task(pods.run())
    try:
        await run.until_known(pods)
        return await run.until_empty(pods)
    finally:
        await stop(watching)


@dataclass(slots=True, kw_only=True)
class _Drain:
    """One drain in one replica: only back-offs and news are kept here.

    `began` is the loop time at which the first drain of this reservation would have begun without the breaks between
    replicas. No wall clock is asked: one that jumps neither deletes a pod nor ends a drain.
    """

    api: Api
    name: str
    mark: DrainMark
    policy: DrainPolicy
    others: Others
    say: Callable[[DrainProgress], None]
    began: float
    deleted: dict[str, str] = field(default_factory=dict)  # uid to namespace/name
    news: asyncio.Event = field(default_factory=asyncio.Event)
    refusals: dict[str, "_Refusal"] = field(default_factory=dict)  # by pod uid
    away: dict[str, float] = field(
        default_factory=dict
    )  # uid of a node that is not Ready to the loop time first seen so
    looked: float = 0.0  # loop time

    async def until_known(self, pods: Informer[PodObject, Pod]) -> None:
        """Return when the copy is filled. The copy keeps its troubles to itself: a list of our own raises them."""
        while not pods.synced.is_set():
            await _event_within(pods.synced, LIST_SECONDS)
            if not pods.synced.is_set():
                await self._listed()

    async def until_empty(self, pods: Informer[PodObject, Pod]) -> DrainResult:
        while True:
            self.news.clear()
            if not await keep_cordoned(self.api, self.name, self.mark, self._spent()):
                return Withdrawn()
            judged = self._judge(list(pods.items.values()))
            if not _busy(judged):
                judged = self._judge(await self._listed())  # the cache may lag behind; a grant rests on this look
                if not _busy(judged) and await keep_cordoned(
                    self.api, self.name, self.mark, self._spent(), drained=True
                ):
                    return Drained(kept=_kept(judged))
            overdue = self.policy.at(self._spent())
            if overdue is Overdue.GIVE_UP:
                return Overran(last=self._progress(judged))
            wait = await (self._delete(judged) if overdue is Overdue.DELETE else self._evict_due(judged))
            self.say(self._progress(judged))
            await _event_within(self.news, min(wait, self._until_deadline()))

    def _spent(self) -> float:
        return asyncio.get_running_loop().time() - self.began

    def _until_deadline(self) -> float:
        left = (self.policy.deadline or 0.0) - self._spent()
        return left if left > 0 else LOOK_AGAIN

    async def _delete(self, judged: Sequence[tuple[Pod, Judgement]]) -> float:
        """Delete, once each, what should have gone; what the policy keeps is for a person, at the deadline too.

        Returns seconds until the next round is due.
        """
        for pod, judgement in judged:
            if isinstance(judgement, Evict) and pod.uid not in self.deleted:
                await delete(self.api, pod)
                self.deleted[pod.uid] = pod.key
        return LOOK_AGAIN

    def _judge(self, pods: Sequence[Pod]) -> list[tuple[Pod, Judgement]]:
        others = [node for node in self.others() if node.name != self.name]
        lost = self._lost(others)
        judged = [(pod, judge(pod, others, self.policy, lost)) for pod in pods]
        alive = {pod.uid for pod in pods}
        self.refusals = {uid: refusal for uid, refusal in self.refusals.items() if uid in alive}
        return judged

    def _lost(self, others: Sequence[Node]) -> set[str]:
        """Nodes that were not Ready in every look for LOST_AFTER; one that is drained is away on our own errand.

        After a gap between two looks (the process stood still) it is counted anew: what is known of them is old.
        """
        now = asyncio.get_running_loop().time()
        if now - self.looked > 2 * LOOK_AGAIN:
            self.away = {}
        self.looked = now
        away = [node.uid for node in others if not node.ready and node.drain is None]
        self.away = {uid: self.away.get(uid, now) for uid in away}
        return {uid for uid, since in self.away.items() if now - since >= LOST_AFTER}

    async def _listed(self) -> list[Pod]:
        found = await self.api.get(paths.PODS, PodList, {"fieldSelector": f"spec.nodeName={self.name}"})
        return [to_pod(item) for item in found.items]

    async def _evict_due(self, judged: Sequence[tuple[Pod, Judgement]]) -> float:
        """Ask once for each pod whose pause is over. Returns seconds until the next is due."""
        now = asyncio.get_running_loop().time()
        wanted = [pod for pod, judgement in judged if isinstance(judgement, Evict)]
        due = [pod for pod in wanted if pod.uid not in self.refusals or self.refusals[pod.uid].next_try <= now]
        slots = asyncio.Semaphore(AT_ONCE)
        async with asyncio.TaskGroup() as tasks:
            for pod in due:
                tasks.create_task(self._evict(pod, slots))
        now = asyncio.get_running_loop().time()
        retries = [self.refusals[pod.uid].next_try - now for pod in wanted if pod.uid in self.refusals]
        return max(0.0, min([LOOK_AGAIN, *retries]))

    async def _evict(self, pod: Pod, slots: asyncio.Semaphore) -> None:
        async with slots:
            blocked = await evict(self.api, pod)
        if blocked is None:
            self.refusals.pop(pod.uid, None)
            return
        times = self.refusals[pod.uid].times + 1 if pod.uid in self.refusals else 1
        seconds = pause(times, first=FIRST_RETRY, most=MOST_RETRY, dice=_dice.random())
        next_try = asyncio.get_running_loop().time() + seconds
        self.refusals[pod.uid] = _Refusal(times=times, next_try=next_try, blocked=blocked)

    def _progress(self, judged: Sequence[tuple[Pod, Judgement]]) -> DrainProgress:
        by_hand = [DrainBlocked(pod=pod.key, message=j.message) for pod, j in judged if isinstance(j, Refuse)]
        refused = [self.refusals[pod.uid].blocked for pod, _ in judged if pod.uid in self.refusals]
        left = tuple(sorted(pod.key for pod, judgement in judged if not isinstance(judgement, Skip)))
        if self.policy.at(self._spent()) is Overdue.DELETE:  # no budget holds anything back any more
            refused = []
        return DrainProgress(left=left, blocked=(*by_hand, *refused), deleted=tuple(sorted(self.deleted.values())))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Refusal:
    times: int
    next_try: float  # loop time
    blocked: DrainBlocked


async def evict(api: Api, pod: Pod) -> DrainBlocked | None:
    """Ask for one eviction. None: it is under way, or the pod is gone; otherwise why not, to be tried again."""
    body = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod.name, "namespace": pod.namespace},
        "deleteOptions": {"preconditions": {"uid": pod.uid}},  # never its successor of the same name
    }
    try:
        await api.create(paths.eviction(pod.namespace, pod.name), body, msgspec.Raw)
    except (NotFound, Conflict):  # gone, or another pod bears its name: the next round sees
        return None
    except ApiError as refused:  # 429 a budget, 500 two budgets, 403 the namespace terminates or we may not
        texts = [cause.message for cause in refused.causes] + [refused.message]
        pdb = next((found[1].strip('"') for text in texts if (found := _BUDGET_NAME.search(text))), "")
        return DrainBlocked(pod=pod.key, pdb=pdb, message=" ".join(filter(None, [refused.message, *texts[:-1]])))
    except KubeError as trouble:
        return DrainBlocked(pod=pod.key, message=str(trouble))
    return None


async def delete(api: Api, pod: Pod) -> None:
    """Delete the pod itself, past its budget, with its own grace period. Raises KubeError; gone already is well."""
    with suppress(NotFound, Conflict):  # gone, or another pod bears its name
        await api.delete(paths.pod(pod.namespace, pod.name), {"preconditions": {"uid": pod.uid}})


def _busy(judged: Sequence[tuple[Pod, Judgement]]) -> bool:
    return any(isinstance(judgement, Evict | Await | Postpone | Refuse) for _, judgement in judged)


def _kept(judged: Sequence[tuple[Pod, Judgement]]) -> tuple[str, ...]:
    return tuple(sorted(pod.key for pod, judgement in judged if judgement == Skip(Stay.NO_OTHER_NODE)))


async def _event_within(event: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return
