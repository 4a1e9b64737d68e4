"""Carry a decision out: status first, then orders on claims that still stand. Each write names what it rests on."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from kube_upgrade.controller.overlay import Overlay
from kube_upgrade.controller.refusals import Refusals
from kube_upgrade.kube import paths
from kube_upgrade.kube.api import Api
from kube_upgrade.kube.errors import ApiError, Conflict, KubeError, NotFound, TooManyRequests, Unauthorized
from kube_upgrade.kube.wire import node as wire
from kube_upgrade.kube.wire.node import NodeObject, to_node
from kube_upgrade.kube.wire.plan import status_object, to_plan
from kube_upgrade.kube.wire.schema import PlanObject
from kube_upgrade.model.action import (
    ConfigureNode,
    Decision,
    ForgetNode,
    NodeAction,
    OrderNode,
    PublishStatus,
    WithdrawOrder,
)
from kube_upgrade.model.moment import time_text
from kube_upgrade.model.node import Node, NodeStatus
from kube_upgrade.model.plan import Plan
from kube_upgrade.telemetry import logs

NO = "no"
# What a controller writes on a Node, but for the daemon's words and the settings, which are told by their prefix.
CONTROLLERS_KEYS = (
    wire.KUBERNETES_VERSION,
    wire.KUBEADM,
    wire.START_BEFORE,
    wire.STAGE,
    wire.OS_UPDATES,
    wire.WITHDRAWN,
)
# What the next decision wants just as well: a part of thousands is written, and a new look taken where there is news.
PATIENT = (ConfigureNode, ForgetNode)
FEW = 8  # of those, between two questions for news: some 20 ms
AT_ONCE = 16  # node patches under way: enough to keep an API server busy; each connection holds 0.3 MiB

Result = TypeVar("Result")

log = logs.logger("act")


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What came of a decision. Without the status nothing else is done."""

    status: bool = True  # it stands as decided
    published: bool = False  # it was written just now
    written: tuple[NodeAction, ...] = ()
    lost: bool = False  # somebody was first: a status, a claim or a Node was not as it was seen
    trouble: KubeError | None = None  # what kept the API server from answering

    def and_then(self, later: "Done") -> "Done":
        """Both, where the first came to an end."""
        return replace(later, written=self.written + later.written, lost=self.lost or later.lost)


class Actor:
    """The controller's hands. A refused guard (409, 404) is no error: somebody was first, a new snapshot will tell.

    A Node that the API server refuses to have written (400, 403, 422, 5xx) is left to `refusals`; the others go on.
    `news` says that a new snapshot would show something: thousands of settings keep no release and no pause waiting.
    """

    def __init__(self, api: Api, *, plans: Overlay[Plan], nodes: Overlay[Node], news: Callable[[], bool]) -> None:
        self.refusals = Refusals()
        self._api = api
        self._plans = plans
        self._nodes = nodes
        self._news = news

    async def carry_out(self, plan: Plan, decision: Decision) -> Done:
        """What of it was done. Raises KubeError where nothing was, because the API server could not be asked."""
        written: Plan | None = None
        for action in decision.actions:
            if isinstance(action, PublishStatus) and (written := await self._publish(plan, action)) is None:
                return Done(status=False, lost=True)
        wanted = [action for action in decision.actions if not isinstance(action, PublishStatus)]
        ready = [action for action in wanted if not self.refusals.rests(action.node)]
        orders = [action for action in ready if isinstance(action, OrderNode)]
        claimed = await self._still_claimed(plan, written, orders)
        done = await self._each([*claimed, *(action for action in ready if not isinstance(action, OrderNode))])
        return replace(done, published=written is not None, lost=done.lost or len(claimed) < len(orders))

    async def tidy(self, actions: Sequence[NodeAction]) -> Done:
        """Actions on nodes that no plan stands behind."""
        return await self._each([action for action in actions if not self.refusals.rests(action.node)])

    async def _publish(self, plan: Plan, action: PublishStatus) -> Plan | None:
        """The plan as it is now; None where somebody was first."""
        looks = [self._still_at_it(node) for node in action.adopts] + [self._gone(*node) for node in action.gone]
        if not all(await _few_at_once(looks)):
            return None
        try:
            body = status_object(plan, action.status)
            written = await self._api.replace(paths.plan_status(plan.name), body, PlanObject)
        except (Conflict, NotFound) as refused:
            log.debug("status was not current", plan=plan.name, reason=str(refused))
            return None
        fresh = to_plan(written)
        if fresh.resource_version == plan.resource_version:
            return None  # nothing was kept: an older CRD drops what it does not know
        self._plans.put(plan.name, plan.resource_version, fresh)
        return fresh

    async def _still_at_it(self, node: Node) -> bool:
        """A watch of the Nodes that is late shows work under way that has long ended, its claim given to others."""
        try:
            found = await self._api.get(paths.node(node.name), NodeObject)
        except NotFound:
            return False
        return to_node(found).same_work(node)

    async def _gone(self, node: str, uid: str) -> bool:
        """A watch of the Nodes that is late does not show one that joined, and was claimed and ordered by another."""
        try:
            found = await self._api.get(paths.node(node), NodeObject)
        except NotFound:
            return True
        return found.metadata.uid != uid

    async def _still_claimed(
        self, plan: Plan, written: Plan | None, orders: Sequence[OrderNode]
    ) -> Sequence[OrderNode]:
        """Orders whose claim stands by a plan that was read, or written, after the Nodes were read (ADR 2)."""
        if not orders:
            return orders
        try:
            fresh = written or to_plan(await self._api.get(paths.plan(plan.name), PlanObject))
        except NotFound:
            return ()
        if fresh.uid != plan.uid or fresh.deleted:
            return ()
        claims = set(fresh.status.claims)
        return [order for order in orders if order.claim in claims]

    async def _each(self, actions: Sequence[NodeAction]) -> Done:
        patient = [action for action in actions if isinstance(action, PATIENT)]
        done = await self._all([action for action in actions if not isinstance(action, PATIENT)])
        for first in range(0, len(patient), FEW):
            if done.trouble or (first and self._news()):
                break
            done = done.and_then(await self._all(patient[first : first + FEW]))
        return done

    async def _all(self, actions: Sequence[NodeAction]) -> Done:
        ends = await _few_at_once([self._tried(action) for action in actions])
        return Done(
            written=tuple(action for action, end in zip(actions, ends, strict=True) if end is True),
            lost=any(end is False for end in ends),
            trouble=next((end for end in ends if isinstance(end, KubeError)), None),
        )

    async def _tried(self, action: NodeAction) -> bool | KubeError:
        """True where it was written, False where somebody was first, or what keeps the API server from answering."""
        try:
            held = await self._patch(action)
        except (Unauthorized, TooManyRequests) as error:
            return error
        except ApiError as error:
            self.refusals.note(action.node, error)
            return False
        except KubeError as error:
            return error
        self.refusals.clear(action.node)
        return held

    async def _patch(self, action: NodeAction) -> bool:
        node = self._nodes.get(action.node)
        _say(action)
        body = {"metadata": {"resourceVersion": action.resource_version, "annotations": annotations(action)}}
        try:
            with self._nodes.writing(action.node):
                written = await self._api.patch(paths.node(action.node), body, NodeObject)
        except (Conflict, NotFound) as refused:
            log.debug("node was not current", node=action.node, reason=str(refused))
            return False
        if written.metadata.resource_version == action.resource_version:
            return False  # nothing was kept: somebody's webhook takes it out again
        if node is not None:
            self._nodes.put(action.node, action.resource_version, to_node(written))
        return True


async def _few_at_once(works: Sequence[Awaitable[Result]]) -> list[Result]:
    """What each came to. Ends when all have: no write of a decision may land after the next snapshot."""
    turnstile = asyncio.Semaphore(AT_ONCE)

    async def one(work: Awaitable[Result]) -> tuple[Result]:
        async with turnstile:
            return (await work,)

    results = list[Result]()
    for end in await asyncio.gather(*(one(work) for work in works), return_exceptions=True):
        if isinstance(end, BaseException):
            raise end
        results.append(end[0])
    return results


def annotations(action: NodeAction) -> Mapping[str, str | None]:
    """The annotations that an action changes; None removes one."""
    match action:
        case OrderNode():
            return {
                wire.KUBERNETES_VERSION: str(action.claim.version),
                wire.KUBEADM: action.kubeadm,
                wire.STATUS: NodeStatus.PENDING,
                wire.START_BEFORE: time_text(action.start_before) if action.start_before else None,
                wire.STAGE: None,
                wire.OS_UPDATES: NO,
                **_config(action.config),
            }
        case WithdrawOrder():
            gone = dict.fromkeys((wire.KUBERNETES_VERSION, wire.KUBEADM, wire.START_BEFORE))
            return {**gone, wire.WITHDRAWN: time_text(action.at)}
        case ConfigureNode():
            return _config(action.config) | _told(action)
        case ForgetNode():
            return dict.fromkeys(CONTROLLERS_KEYS) | _config(dict.fromkeys(action.config))


def _told(action: ConfigureNode) -> dict[str, str | None]:
    changes: dict[str, str | None] = {}
    if action.os_updates is not None:
        changes[wire.OS_UPDATES] = NO if action.os_updates == "no" else time_text(action.os_updates)
    if action.stage or action.unstage:
        changes[wire.STAGE] = str(action.stage) if action.stage else None
    return changes


def _config(changes: Mapping[str, str | None]) -> dict[str, str | None]:
    return {wire.CONFIG + key: value for key, value in changes.items()}


def _say(action: NodeAction) -> None:
    match action:
        case OrderNode():
            version, kubeadm = str(action.claim.version), str(action.kubeadm)
            log.info("ordering the upgrade", node=action.node, version=version, kubeadm=kubeadm)
        case WithdrawOrder():
            log.info("withdrawing the order", node=action.node, reason=action.reason)
        case ConfigureNode():
            log.debug("configuring", node=action.node, changes=sorted(annotations(action)))
        case ForgetNode():
            log.info("forgetting a node that no plan selects", node=action.node)
