"""One snapshot with the goal that it is read for, and the facts that several rules ask about."""

from dataclasses import dataclass
from datetime import datetime

from kube_upgrade.model.host import Facts, Goal, GoalKind, HostSnapshot
from kube_upgrade.model.node import Node


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is seen, what is wanted, and the facts that count for it. `node` is the own Node object."""

    seen: HostSnapshot
    goal: Goal
    facts: Facts
    node: Node

    @property
    def now(self) -> datetime:
        """The moment of the snapshot."""
        return self.seen.now

    @property
    def ordered(self) -> bool:
        """True for a Kubernetes upgrade."""
        return self.goal.kind is GoalKind.KUBERNETES

    @property
    def locked(self) -> bool:
        """True where the lock server said yes and was not asked to take it back."""
        return self.facts.lock is not None and self.facts.lock.granted is not None

    @property
    def committed(self) -> bool:
        """True from step 3 on: kubeadm was started for this goal, or the reboot into it asked for, under the lock."""
        run = self.facts.kubeadm
        touched = self.ordered and run is not None and run.version == self.goal.version
        return self.locked and (touched or self.facts.reboot is not None)

    @property
    def touched(self) -> bool:
        """True where something was begun under the lock, for this goal or for an earlier one."""
        return self.facts.lock is not None and self.facts.lock.touched

    @property
    def bad(self) -> bool:
        """True where the host fell back from the wanted image, and nobody has made it run since."""
        return self.facts.digest in self.facts.bad_digests and not self.wanted_booted

    @property
    def wanted_booted(self) -> bool:
        """True where the wanted image runs: by its digest, by repository and tag as long as no digest was resolved."""
        booted = self.seen.booted
        if booted is None:
            return False
        if self.facts.digest:
            return booted.digest == self.facts.digest
        image = booted.image
        return image is not None and (image.repository, image.tag) == (self.goal.repository, self.goal.tag)

    @property
    def wanted_staged(self) -> bool:
        """True where the wanted image is staged, locked or not."""
        staged = self.seen.staged
        return staged is not None and bool(self.facts.digest) and staged.digest == self.facts.digest

    @property
    def kubeadm_done(self) -> bool:
        """True where kubeadm has nothing (more) to do here.

        It ended with 0 for this version and every static pod file is there; or it was never started for it and the
        node is there already: image, kubelet and, on a control plane, every static pod file.
        """
        if not self.ordered:
            return True
        run = self.facts.kubeadm
        if run is not None and run.version == self.goal.version:
            return run.succeeded and self._files_at_target
        return self.wanted_booted and self.node.kubelet == self.goal.version and self._files_at_target

    @property
    def _files_at_target(self) -> bool:
        return all(version == self.goal.version for version in self.seen.manifests.values())
