"""What /readyz says: whether this daemon could do its work now."""

from dataclasses import dataclass

from kube_upgrade.core.node_steps.decide import unsure
from kube_upgrade.model.host import HostSnapshot
from kube_upgrade.model.step import Wait


@dataclass(slots=True)
class Readiness:
    """`wrong` is None while the daemon sees its Node and its host."""

    wrong: str | None = "this node was not looked at yet"

    def read(self) -> str | None:
        """For the probe."""
        return self.wrong

    def looked(self, seen: HostSnapshot) -> None:
        """Take over what a look found."""
        doubt = unsure(seen)
        if isinstance(doubt, Wait):
            self.wrong = f"{doubt.reason}: {doubt.message}"
        else:
            self.wrong = None if seen.api_reachable else "ApiAway: the API server does not answer"
