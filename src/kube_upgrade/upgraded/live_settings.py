"""config.yaml while the daemon runs: read again when the file changed, refused where it is bad."""

from dataclasses import fields, replace
from pathlib import Path

from kube_upgrade.telemetry import logs
from kube_upgrade.upgraded.settings import BadSettings, Settings, load

_log = logs.logger("settings")


class LiveSettings:
    """What the host's owner says now. The file's time is compared at each `read`, which is at each look at the node.

    The node's config and the guards are followed at once; paths and addresses only by a restart, which is said. A file
    that is bad or gone changes nothing: no guard falls by a slip of the pen.
    """

    def __init__(self, path: Path, settings: Settings) -> None:
        self._path = path
        self._state = _state_of(path)
        self.settings = settings

    def read(self) -> Settings:
        """The last good settings. Blocks for the time of a stat, and of a small file where that changed."""
        state = _state_of(self._path)
        if state != self._state:
            self._state = state
            self._take(gone=state is None)
        return self.settings

    def _take(self, *, gone: bool) -> None:
        try:
            new = load(self._path)
        except BadSettings as error:
            _log.error("config.yaml is refused, the last good settings stay", reason=str(error))
            return
        if gone:
            _log.error("config.yaml is gone, the last good settings stay", path=str(self._path))
            return
        live = replace(self.settings, node=new.node, rules=new.rules)
        waiting = [field.name for field in fields(Settings) if getattr(live, field.name) != getattr(new, field.name)]
        if waiting:
            _log.warning("config.yaml: some settings count after a restart", settings=waiting)
        if live != self.settings:
            _log.info("config.yaml has changed and is followed")
        self.settings = live


def _state_of(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
