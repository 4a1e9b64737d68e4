"""Eyes on an API server that is restarted by its own upgrade.

Its watch cache then knows nothing of before, and answers 410 to whoever would go on where it ended. etcd still has
every revision (kube-apiserver compacts every five minutes), and lists at exactly one revision are read from there: the
revisions in between are looked at one by one. What cannot be read is a gap, as ever.
"""

from dataclasses import dataclass

import msgspec

from kube_upgrade.kube import paths
from kube_upgrade.kube.errors import Gone, KubeError
from kube_upgrade.lab.witness import Listing, Watched, Witness
from kube_upgrade.model.node import Node

MOST = 5000  # revisions that are looked at one by one; a restored etcd goes on a thousand million higher


@dataclass(slots=True, kw_only=True)
class PatientWitness(Witness):
    """Fills the gaps that a restart of the API server would leave."""

    filled: int = 0  # revisions that were looked at one by one

    async def _lost(self, kind: Watched, gone: Gone) -> None:
        try:
            newest = await self.api.get(kind.path, Listing)
            await self._look_back(kind, int(newest.metadata.resource_version))
        except Gone as compacted:
            await Witness._lost(self, kind, compacted)
        except (KubeError, msgspec.MsgspecError):
            return  # the API is away again: the next 410 comes here, with the same position

    async def _look_back(self, kind: Watched, newest: int) -> None:
        """Every revision from the last one seen up to the newest. Raises KubeError."""
        first = int(kind.position) + 1
        if newest - first > MOST:
            raise Gone(410, "Expired", f"{newest - first} revisions to look at")
        for revision in range(first, newest + 1):
            params = {"resourceVersion": str(revision), "resourceVersionMatch": "Exact"}
            self._take_all(kind, await self.api.get(kind.path, Listing, params))
            kind.position = str(revision)
            self.filled += 1

    def _take_all(self, kind: Watched, listing: Listing) -> None:
        """Record what is newer than all that was seen of it, and what is no longer there."""
        nodes = kind.path == paths.NODES
        seen = {each.subject.name: each for each in self.seen if isinstance(each.subject, Node) is nodes}
        there = [kind.read(item) for item in listing.items]
        for subject in there:
            known = seen.get(subject.name)
            if known is None or known.number < int(subject.resource_version):
                self._record(subject)
        for name in set(seen) - {subject.name for subject in there}:
            if not seen[name].deleted:
                self._record(seen[name].subject, deleted=True)
