"""config.yaml while the daemon runs: read again when the file changed, refused where it is bad."""

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

from kube_upgrade.telemetry import logs
from kube_upgrade.upgraded.settings import BadSettings, Settings, reload

_log = logs.logger("settings")


class LiveSettings:
    """What the host's owner says now. The file's state is compared at each `read`, which is at each look at the node.

    The node's config and the guards are followed; paths and addresses only by a restart, which is said. A file that is
    bad, empty or gone changes nothing: no guard falls by a slip of the pen. One that is being written is not read: two
    looks in a row must find it the same, and so must the end of the reading.
    """

    def __init__(self, path: Path, settings: Settings, load: Callable[[Path], Settings] = reload) -> None:
        self._path = path
        self._load = load
        self._state = self._seen = _state_of(path)
        self.settings = settings

    def read(self) -> Settings:
        """The last good settings. Blocks for the time of a stat, and of a small file where that changed."""
        state = _state_of(self._path)
        at_rest, self._seen = state == self._seen, state
        if state != self._state and at_rest:
            self._take(state)
        return self.settings

    def _take(self, state: tuple[int, ...] | None) -> None:
        try:
            new = self._load(self._path)
        except BadSettings as error:
            self._state = state
            _log.error("config.yaml is refused, the last good settings stay", reason=str(error))
            return
        if _state_of(self._path) != state:
            return
        self._state = state
        live = replace(self.settings, node=new.node, rules=new.rules)
        waiting = [field.name for field in fields(Settings) if getattr(live, field.name) != getattr(new, field.name)]
        if waiting:
            _log.warning("config.yaml: some settings count after a restart", settings=waiting)
        if live != self.settings:
            _log.info("config.yaml has changed and is followed")
        self.settings = live


def _state_of(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_size
