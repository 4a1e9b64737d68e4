"""Which tests stay on one of several workers (make test); all others go to whichever is free."""

from xdist.scheduler.loadscope import LoadScopeScheduling

LABS = "tests/e2e/test_lab"


class Scheduling(LoadScopeScheduling):  # type: ignore[misc]
    """One worker plays all labs: a module's runs are started together, and more of them would choke the machine."""

    def _split_scope(self, nodeid: str) -> str:
        """What shares this is played by one worker; what has most tests comes first."""
        return LABS if nodeid.startswith(LABS) else nodeid
