"""Makes the CustomResourceDefinition of schema.py, rules.py and model.node_config.

`python -m kube_upgrade.kube.wire.generate` is what `make generate` calls.
"""

from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml
from msgspec import inspect

from kube_upgrade.kube.paths import PLAN_GROUP, PLAN_VERSION
from kube_upgrade.kube.wire import schema
from kube_upgrade.kube.wire.rules import RULES, SETTINGS, Rule
from kube_upgrade.model.node_config import FIELDS, LOG_LEVELS, Field, render

Schema = dict[str, Any]
HEADER = "# Written by `make generate` from src/kube_upgrade/kube/wire/schema.py and rules.py. Change those.\n"
SCALARS: dict[type[inspect.Type], Schema] = {
    inspect.StrType: {"type": "string"},
    inspect.IntType: {"type": "integer"},
    inspect.FloatType: {"type": "number"},
    inspect.BoolType: {"type": "boolean"},
    inspect.DateTimeType: {"type": "string", "format": "date-time"},
}
COLUMNS = (  # upstream's two first
    ("Version", "string", ".spec.kubernetesVersion", 0),
    ("Status", "string", ".status.summary", 0),
    ("Nodes", "integer", ".status.nodes.total", 0),
    ("Done", "integer", ".status.nodes.completed", 0),
    ("In-Flight", "integer", ".status.nodes.inFlight", 0),
    ("Failed", "integer", ".status.nodes.failed", 0),
    ("Hop", "integer", ".status.version.hop", 1),
    ("Hops", "integer", ".status.version.hops", 1),
    ("Waits-For", "string", ".status.holds[0].message", 1),
    ("Age", "date", ".metadata.creationTimestamp", 0),
)
"""Name, type, JSON path and priority of `kubectl get plan`'s columns; priority 1 is shown by -o wide only."""
LONGEST = {"stream": 512, "fleetlockUrl": 2048, "fleetlockGroup": 128, "kubeletConfig": 1024, "kubeadmPath": 1024}
"""maxLength of the settings that are text; durations have 32."""


def crd() -> Schema:
    """The CustomResourceDefinition."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{schema.PLURAL}.{PLAN_GROUP}"},
        "spec": {
            "group": PLAN_GROUP,
            "names": {
                "kind": schema.KIND,
                "listKind": f"{schema.KIND}List",
                "plural": schema.PLURAL,
                "singular": schema.KIND.lower(),
                "shortNames": ["plan"],
            },
            "scope": "Cluster",
            "versions": [
                {
                    "name": PLAN_VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [_column(*column) for column in COLUMNS],
                    "schema": {"openAPIV3Schema": plan_schema()},
                }
            ],
        },
    }


def _column(name: str, type: str, path: str, priority: int) -> Schema:
    column: Schema = {"name": name, "type": type, "jsonPath": path}
    return column | {"priority": priority} if priority else column


def plan_schema() -> Schema:
    """The structural schema of a plan: no references, limits on all that a rule walks over."""
    root = _schema(inspect.type_info(schema.PlanObject), "")
    root["properties"] = {
        "apiVersion": {"type": "string", "description": "Version of this form of the object."},
        "kind": {"type": "string", "description": f"{schema.KIND}."},
        "metadata": {"type": "object"},
        "spec": root["properties"]["spec"],
        "status": root["properties"]["status"],
    }
    root["required"] = ["spec"]
    return root


def _schema(type: inspect.Type, at: str) -> Schema:
    """Schema of one type at one place, with the rules of that place."""
    match type:
        case inspect.Metadata(type=inner, extra_json_schema=limits, extra=extra):
            described = _settings(at, extra["settings"]) if extra else _schema(inner, at)
            return described | (limits or {})
        case inspect.StructType():
            built = _struct(type, at)
        case inspect.DictType(value_type=value):
            built = {"type": "object", "additionalProperties": _schema(value, f"{at}.*")}
        case inspect.ListType(item_type=item):
            built = {"type": "array", "items": _schema(item, f"{at}[]")}
        case inspect.UnionType(types=types):
            return _union([kind for kind in types if not isinstance(kind, inspect.NoneType)], at)
        case _:
            built = dict(SCALARS[type.__class__])
    return built | _rules(RULES.get(at, ()), at)


def _struct(type: inspect.StructType, at: str) -> Schema:
    built: Schema = {"type": "object", "description": (type.cls.__doc__ or "").replace("\n", " ").strip()}
    required = [field.encode_name for field in type.fields if field.required]
    if required:
        built["required"] = required
    built["properties"] = {field.encode_name: _property(field, at) for field in type.fields}
    return built


def _property(field: inspect.Field, at: str) -> Schema:
    """A field with its default. Only the spec has defaults: status says what was observed, or nothing."""
    place = f"{at}.{field.encode_name}".lstrip(".")
    built = _schema(field.type, place)
    if place.startswith("spec") and isinstance(field.default, bool | int | str) and field.default != "":
        built["default"] = field.default
    return built


def _union(types: list[inspect.Type], at: str) -> Schema:
    """An optional value is a field left out; the one true union is int-or-string."""
    if len(types) == 1:
        return _schema(types[0], at)
    both = [{"type": SCALARS[kind.__class__]["type"]} for kind in types]
    return {"anyOf": both, "x-kubernetes-int-or-string": True} | _rules(RULES.get(at, ()), at)


def _settings(at: str, which: str) -> Schema:
    """The object of the `upgraded` settings. In a group a default would beat the plan's own value, so it has none."""
    fields = {field.camel: _setting(field, f"{at}.{field.camel}", which == "with defaults") for field in FIELDS}
    return {"type": "object", "properties": fields} | _rules(RULES.get(at, ()), at)


def _setting(field: Field, at: str, with_default: bool) -> Schema:
    built: Schema = {"description": field.doc, "type": "boolean" if field.kind is bool else "string"}
    if field.kind is not bool:
        built["maxLength"] = 32 if field.kind is timedelta else LONGEST.get(field.camel, 64)
    if field.name == "log_level":
        built["enum"] = list(LOG_LEVELS)
    if with_default and field.default not in (None, ""):
        built["default"] = render(field.default) if isinstance(field.default, timedelta) else field.default
    return built | _rules(SETTINGS.get(field.camel, ()), at)


def _rules(rules: tuple[Rule, ...], at: str) -> Schema:
    name = at.rpartition(".")[2].removesuffix("[]")
    said = [{"rule": rule.cel, "message": rule.right.replace("{field}", name)} for rule in rules]
    return {"x-kubernetes-validations": said} if said else {}


def write(root: Path) -> None:
    """Write the CRD below the root of the repository."""
    text = yaml.safe_dump(crd(), sort_keys=False, width=120, allow_unicode=True)
    (root / "deploy/crd/kubeupgradeplans.yaml").write_text(f"{HEADER}{text}", encoding="utf-8")
