"""What deploy/base lets a program do, read from its Roles."""

from pathlib import Path
from typing import Any

import yaml

from kube_upgrade.kube.paths import resource_of
from kube_upgrade.lab import data

BASE = data.folder("deploy") / "base"
Rights = dict[str, set[str]]  # resource → verbs


def rights(file: Path) -> Rights:
    """All Roles and ClusterRoles of this file together."""
    found: Rights = {}
    documents: list[dict[str, Any]] = list(yaml.safe_load_all(file.read_text()))
    for rule in (rule for role in documents for rule in role.get("rules", [])):
        for resource in rule["resources"]:
            found.setdefault(resource, set()).update(rule["verbs"])
    return found


def permit(given: Rights, verb: str, path: str) -> bool:
    """Whether a client with these rights may ask this; `get` of a collection is a list."""
    resource, named = resource_of(path)
    return ("list" if verb == "get" and not named else verb) in given.get(resource, set())
