"""Writes the page of every field of the plan, from the schema that the API server gets."""

from collections.abc import Iterator
from pathlib import Path

from kube_upgrade.kube.wire.crd import Schema, plan_schema
from kube_upgrade.model.remedies import REMEDIES, Remedy
from kube_upgrade.model.status import Reason

HEAD = """# KubeUpgradePlan

<!-- Written by `make generate` from src/kube_upgrade/kube/wire/schema.py, rules.py and model/node_config.py. -->

`kubeupgrade.heathcliff.eu/v1alpha3`, cluster-scoped, short name `plan`. `NAME` stands for a group's name, `[]` for each
item of a list. **Bold** fields must be set. The rules are checked by the API server when a plan is written.
"""
REASONS_HEAD = """# Why a node waits

<!-- Written by `make generate` from src/kube_upgrade/model/remedies.py. -->

These words stand in the plan's `status.holds`, in events, logs and metrics; the first that applies is shown.

| reason | what it means | what to do |
|---|---|---|
"""
TABLE = "\n## {part}\n\n| field | type | default | meaning |\n|---|---|---|---|\n"


def page() -> str:
    """The whole page as Markdown."""
    parts = plan_schema()["properties"]
    tables = (TABLE.format(part=part) + "\n".join(_rows(parts[part], part)) + "\n" for part in ("spec", "status"))
    return HEAD + "".join(tables)


def _rows(schema: Schema, at: str) -> Iterator[str]:
    for name, field in schema.get("properties", {}).items():
        path = f"{at}.{name}"
        shown = f"**`{path}`**" if name in schema.get("required", ()) else f"`{path}`"
        yield f"| {shown} | {_type(field)} | {_default(field)} | {_cell(_meaning(name, field))} |"
        yield from _below(field, path)


def _below(field: Schema, path: str) -> Iterator[str]:
    """Rows of what the field holds: its own fields, its items', or its entries'."""
    yield from _rows(field, path)
    yield from _rows(field.get("items", {}), f"{path}[]")
    yield from _rows(field.get("additionalProperties", {}), f"{path}.NAME")


def _type(field: Schema) -> str:
    if "x-kubernetes-int-or-string" in field:
        return "integer or text"
    match field["type"]:
        case "array":
            return f"list of {_type(field['items'])}"
        case "object" if "additionalProperties" in field:
            return f"map of {_type(field['additionalProperties'])}"
        case "string":
            return "moment" if field.get("format") == "date-time" else "text"
        case other:
            return str(other)


def _default(field: Schema) -> str:
    default = field.get("default")
    if default is None or default == []:
        return ""
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _meaning(name: str, field: Schema) -> str:
    """The field's sentence and its rules, with those of its items and entries."""
    places = (field, field.get("items", {}), field.get("additionalProperties", {}))
    rules = [rule["message"] for place in places for rule in place.get("x-kubernetes-validations", ())]
    return " ".join([field["description"], *(_sentence(name, rule) for rule in rules)])


def _sentence(name: str, rule: str) -> str:
    """The rule without the name that stands in the first column."""
    text = rule.removeprefix(f"{name} ")
    return f"{text[0].upper()}{text[1:]}." if text != rule else f"{rule}."


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def reasons_page() -> str:
    """Every reason to wait, in the order in which they are asked, as Markdown."""
    rows = (f"| `{reason}` | {_cell(each.meaning)} | {_cell(each.remedy)} |" for reason, each in _ordered_remedies())
    return REASONS_HEAD + "\n".join(rows) + "\n"


def _ordered_remedies() -> Iterator[tuple[Reason, Remedy]]:
    return ((reason, REMEDIES[reason]) for reason in Reason)


def write(root: Path) -> None:
    """Write docs/reference/plan.md and reasons.md below the root of the repository."""
    (root / "docs/reference/plan.md").write_text(page(), encoding="utf-8")
    (root / "docs/reference/reasons.md").write_text(reasons_page(), encoding="utf-8")
