"""What is true of a simulated node's disk and memory: plain values, stored as JSON, and the rules that change them.

The rules are ostree's (domain.md 3.4, 3.8, 3.10): pure functions of the state, so that a power cut may fall between
any two of them. Imports are few on purpose: every stand-in that is started reads this.
"""

from dataclasses import asdict, dataclass, field
from typing import Any


class Refused(Exception):
    """The command ends with exit code 1 and this sentence behind `error: `, after the lines `before`."""

    def __init__(self, sentence: str, before: tuple[str, ...] = ()) -> None:
        super().__init__(sentence)
        self.before = before


@dataclass(slots=True, kw_only=True)
class Tree:
    """One deployment. `image` is the reference as rpm-ostree prints it, `kubernetes` the version of what it brings."""

    osname: str
    checksum: str
    digest: str
    image: str
    kubernetes: str
    serial: int = 0
    timestamp: int = 0
    pinned: bool = False

    @property
    def id(self) -> str:
        """CHECKSUM.SERIAL, the folder's name."""
        return f"{self.checksum}.{self.serial}"


@dataclass(slots=True, kw_only=True)
class Fault:
    """What goes wrong, for `times` more calls (None: for ever). See machine.py for the keys."""

    fail: str = ""
    code: int = 1
    hang: float = 0.0
    mode: str = ""
    times: int | None = 1


@dataclass(slots=True, kw_only=True)
class Transaction:
    """rpm-ostree's one transaction; it is gone when its process is."""

    title: str
    pid: int
    started: str  # the process's start time, since pids come again


@dataclass(slots=True, kw_only=True)
class State:
    """Everything. `trees` are on disk in boot order; `staged`, `locked`, `driver` and `transaction` are in memory."""

    name: str
    osname: str
    control_plane: bool
    trees: list[Tree]
    booted: str  # Tree.id
    boot_id: str
    staged: Tree | None = None
    locked: bool = False
    driver: tuple[str, str] | None = None
    transaction: Transaction | None = None
    reboot_requested: bool = False
    boots: int = 1
    units: dict[str, tuple[int, str]] = field(default_factory=dict)  # transient ones: pid and its start time
    upgrades: int = 0  # how often `kubeadm upgrade` was begun
    images: list[str] = field(default_factory=list)  # pulled by the container runtime
    latency: dict[str, float] = field(default_factory=dict)  # seconds, by "stage", "kubeadm", "pull"
    faults: dict[str, Fault] = field(default_factory=dict)

    @property
    def booted_tree(self) -> Tree:
        """The running one."""
        return next(tree for tree in self.trees if tree.id == self.booted)

    @property
    def first(self) -> Tree:
        """Whose origin rpm-ostree follows: the staged one, else the first on disk."""
        return self.staged or self.trees[0]


def load(raw: dict[str, Any]) -> State:
    """From decoded JSON."""
    return State(
        **{
            **raw,
            "trees": [Tree(**tree) for tree in raw["trees"]],
            "staged": Tree(**raw["staged"]) if raw["staged"] else None,
            "transaction": Transaction(**raw["transaction"]) if raw["transaction"] else None,
            "driver": tuple(raw["driver"]) if raw["driver"] else None,
            "units": {name: (int(pid), str(started)) for name, (pid, started) in raw["units"].items()},
            "faults": {key: Fault(**fault) for key, fault in raw["faults"].items()},
        }
    )


def dump(state: State) -> dict[str, Any]:
    """For JSON."""
    return asdict(state)


def stage(state: State, tree: Tree, *, locked: bool) -> None:
    """A new staged deployment takes the place of the last one."""
    same = [known.serial for known in state.trees if known.checksum == tree.checksum]
    tree.serial = max(same) + 1 if same else 0
    state.staged, state.locked = tree, locked


def set_lock(state: State, *, locked: bool) -> None:
    """`ostree admin lock-finalization`."""
    if state.staged is None:
        raise Refused("No staged deployment")
    state.locked = locked


def unlock_to_finalize(state: State, checksum: str | None, *, allow_unlocked: bool) -> None:
    """`rpm-ostree finalize-deployment` up to its reboot. A container image's manifest digest is its checksum, too."""
    if state.staged is None:
        raise Refused("No pending staged deployment found")
    if checksum is not None and checksum not in (state.staged.digest, state.staged.checksum):
        raise Refused(f"Expected staged base checksum {checksum}, but found {state.staged.digest}")
    if not state.locked and not allow_unlocked:
        raise Refused("Staged deployment already unlocked")
    state.locked = False


def cleanup_pending(state: State) -> None:
    """`rpm-ostree cleanup -p`: the staged one, and those that stand before the booted one."""
    index = state.trees.index(state.booted_tree)
    state.staged, state.locked = None, False
    state.trees = [tree for tree in state.trees[:index] if tree.pinned] + state.trees[index:]


def undeploy(state: State, index: int) -> None:
    """`ostree admin undeploy INDEX`, in the order that status shows: what is staged comes first."""
    if state.staged is not None and index == 0:
        state.staged, state.locked = None, False
        return
    at = index - (state.staged is not None)
    if not 0 <= at < len(state.trees):
        raise Refused(f"Out of range deployment index {index}")
    if state.trees[at].id == state.booted:
        raise Refused("Cannot undeploy currently booted deployment")
    del state.trees[at]


def cleanup_rollback(state: State) -> None:
    """`rpm-ostree cleanup -r`: those behind the booted one."""
    index = state.trees.index(state.booted_tree)
    state.trees = state.trees[: index + 1] + [tree for tree in state.trees[index + 1 :] if tree.pinned]


def shut_down(state: State) -> None:
    """An orderly shutdown writes an unlocked staged deployment to disk: it is next, the running one is its rollback."""
    if state.staged is not None and not state.locked:
        kept = [tree for tree in state.trees if tree.pinned and tree.id != state.booted]
        state.trees = [state.staged, state.booted_tree, *kept]
    _forget_memory(state)


def lose_power(state: State) -> None:
    """What was only in memory is gone: nothing is staged any more."""
    _forget_memory(state)


def start(state: State, boot_id: str, *, fall_back: bool = False) -> None:
    """Boot the first tree on disk; `fall_back`: it does not come up, and somebody picks the one that ran before."""
    if not fall_back:
        state.booted = state.trees[0].id
    state.boot_id = boot_id
    state.boots += 1


def _forget_memory(state: State) -> None:
    state.staged, state.locked = None, False
    state.driver, state.transaction, state.units = None, None, {}
    state.reboot_requested = False
