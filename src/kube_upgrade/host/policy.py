"""The host's own signature policy as rpm-ostreed sees it (containers-policy.json(5); domain.md 3.9)."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kube_upgrade.host.paths import on_host

POLICY = "/etc/containers/policy.json"
# Fedora CoreOS mounts this one over the host's own for rpm-ostreed, by a drop-in that may be masked.
COREOS_POLICY = "/usr/lib/coreos/coreos-containers-policy.json"
DROP_INS = tuple(
    f"{folder}/rpm-ostreed.service.d/coreos-containers-policy.conf"
    for folder in ("/etc/systemd/system", "/usr/lib/systemd/system")
)
_ANYTHING = "insecureAcceptAnything"


def policy_file(root: Path) -> str:
    """The file that counts for rpm-ostreed: CoreOS's own unless its drop-in is absent or masked."""
    drop_in = next((path for path in (on_host(root, name) for name in DROP_INS) if _is_there(path)), None)
    masked = drop_in is None or drop_in.resolve() == Path("/dev/null") or not drop_in.read_bytes().strip()
    return POLICY if masked or not on_host(root, COREOS_POLICY).is_file() else COREOS_POLICY


def accepts_anything(root: Path, repository: str) -> tuple[bool, str]:
    """True where an unsigned image of HOST/REPO would pass, and which rule of which file says so."""
    name = policy_file(root)
    try:
        policy = json.loads(on_host(root, name).read_text())
        scope, rules = _rules_for(policy, repository)
        anything = any(rule["type"] == _ANYTHING for rule in rules)
    except FileNotFoundError:
        return True, f"{name} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return True, f"{name} cannot be read: {type(error).__name__}"
    return anything, f"{name}, {scope}: {', '.join(rule['type'] for rule in rules) or 'no rule'}"


def _rules_for(policy: Mapping[str, Any], repository: str) -> tuple[str, list[dict[str, Any]]]:
    """The most special scope of the docker transport: the repository, each namespace above it, all, the default."""
    docker = policy.get("transports", {}).get("docker", {})
    scope = repository
    while scope:
        if scope in docker:
            return f"transports.docker[{scope!r}]", docker[scope]
        scope = scope.rpartition("/")[0]
    return ('transports.docker[""]', docker[""]) if "" in docker else ("default", policy["default"])


def _is_there(path: Path) -> bool:
    return path.is_symlink() or path.exists()
