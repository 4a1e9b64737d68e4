"""Which Node a FleetLock id belongs to: an index over the nodes' machine-ids, fed by the informer."""

from collections import defaultdict

from kube_upgrade.core.fleetlock.identity import BadMachineId, fleetlock_id
from kube_upgrade.model.node import Node
from kube_upgrade.telemetry import logs

_log = logs.logger("fleetlock.machines")


class Machines:
    """Nodes by FleetLock id. A node whose machine-id is empty or malformed has none and disturbs no other."""

    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {}
        self._ids: dict[str, str] = {}  # node name to id
        self._names: defaultdict[str, set[str]] = defaultdict(set)  # id to node names

    def changed(self, name: str, old: Node | None, new: Node | None) -> None:
        """Take note of a node that came (old is None), changed, or went (new is None)."""
        if old is None or new is None or old.machine_id != new.machine_id:
            self._forget(name)
            if new is not None:
                self._learn(new)
        if new is None:
            self._nodes.pop(name, None)
        else:
            self._nodes[name] = new

    def find(self, id: str) -> tuple[Node, ...]:
        """The nodes with this id, by name: none, one, or machines that share a copied machine-id."""
        return tuple(self._nodes[name] for name in sorted(self._names.get(id, ())))

    def all(self) -> tuple[Node, ...]:
        """Every node of the cluster."""
        return tuple(self._nodes.values())

    def _learn(self, node: Node) -> None:
        if not node.machine_id:
            return
        try:
            id = fleetlock_id(node.machine_id)
        except BadMachineId as bad:
            _log.warning("ignoring a malformed machine-id", node=node.name, reason=str(bad))
            return
        self._ids[node.name] = id
        self._names[id].add(node.name)
        if len(self._names[id]) > 1:
            _log.warning("nodes share a machine-id", nodes=sorted(self._names[id]))

    def _forget(self, name: str) -> None:
        id = self._ids.pop(name, None)
        if id is not None:
            self._names[id].discard(name)
            if not self._names[id]:
                del self._names[id]
