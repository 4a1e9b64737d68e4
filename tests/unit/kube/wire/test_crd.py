"""The CRD and its page are what the one definition makes, and every rule stands somewhere and is bounded."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from kube_upgrade.kube.wire.crd import Schema, crd, plan_schema
from kube_upgrade.kube.wire.reference import page, reasons_page
from kube_upgrade.kube.wire.rules import RULES, SETTINGS
from kube_upgrade.model.node_config import FIELDS, render
from support.plan_cases import REFUSED

ROOT = Path(__file__).parents[4]
SPEC = plan_schema()["properties"]["spec"]


def places(schema: Schema, at: str) -> Iterator[tuple[str, Schema]]:
    """Every place of a schema, in the words of the rule table."""
    yield at, schema
    for name, field in schema.get("properties", {}).items():
        yield from places(field, f"{at}.{name}")
    if "items" in schema:
        yield from places(schema["items"], f"{at}[]")
    if "additionalProperties" in schema:
        yield from places(schema["additionalProperties"], f"{at}.*")


PLACES = dict(places(SPEC, "spec"))


def test_the_deployed_crd_is_the_generated_one() -> None:
    stored = yaml.safe_load((ROOT / "deploy/crd/kubeupgradeplans.yaml").read_text())
    assert stored == crd(), "run: make generate"


def test_the_page_is_the_generated_one() -> None:
    assert (ROOT / "docs/reference/plan.md").read_text() == page(), "run: make generate"
    assert (ROOT / "docs/reference/reasons.md").read_text() == reasons_page(), "run: make generate"


def test_names_are_upstreams() -> None:
    made = crd()
    assert made["metadata"]["name"] == "kubeupgradeplans.kubeupgrade.heathcliff.eu"
    assert made["spec"]["scope"] == "Cluster"
    assert made["spec"]["names"]["shortNames"] == ["plan"]
    version = made["spec"]["versions"][0]
    assert (version["name"], version["subresources"]) == ("v1alpha3", {"status": {}})
    shown = [(column["name"], column["jsonPath"]) for column in version["additionalPrinterColumns"][:2]]
    assert shown == [("Version", ".spec.kubernetesVersion"), ("Status", ".status.summary")]


@pytest.mark.parametrize("place", RULES)
def test_each_rule_stands_at_its_place_with_its_words(place: str) -> None:
    said = {(rule["rule"], rule["message"]) for rule in PLACES[place]["x-kubernetes-validations"]}
    assert {rule.cel for rule in RULES[place]} == {cel for cel, _ in said}
    assert all("{" not in message for _, message in said)


def test_every_rule_has_a_plan_that_breaks_it() -> None:
    rules = [rule for table in (RULES, SETTINGS) for rules in table.values() for rule in rules]
    unbroken = [rule.right for rule in rules if not any(case.words in rule.right for case in REFUSED.values())]
    assert unbroken == []


@pytest.mark.parametrize("at", ["spec.upgraded", "spec.groups.*.upgraded"])
def test_the_rules_of_a_setting_hold_for_the_plan_and_in_a_group(at: str) -> None:
    assert SETTINGS.keys() <= {field.camel for field in FIELDS}
    for name, rules in SETTINGS.items():
        stored = PLACES[f"{at}.{name}"]["x-kubernetes-validations"]
        assert [rule["rule"] for rule in stored] == [rule.cel for rule in rules]


def test_settings_have_their_defaults_in_the_plan_and_none_in_a_group() -> None:
    for field in FIELDS:
        default = field.default if isinstance(field.default, bool | None) else render(field.default)
        assert PLACES[f"spec.upgraded.{field.camel}"].get("default") == (default if default != "" else None)
        assert "default" not in PLACES[f"spec.groups.*.upgraded.{field.camel}"]


def test_the_plan_has_upstreams_required_fields() -> None:
    assert SPEC["required"] == ["kubernetesVersion", "upgraded", "groups"]


def unbounded(at: str, schema: Schema) -> bool:
    """True where a rule that walks over this place could cost any amount."""
    text = schema.get("type") == "string" or "x-kubernetes-int-or-string" in schema
    return (
        (text and not {"maxLength", "enum", "format"} & schema.keys())
        or (schema.get("type") == "array" and "maxItems" not in schema)
        or ("additionalProperties" in schema and "maxProperties" not in schema)
    )


def test_everything_of_the_spec_but_tolerations_is_bounded() -> None:
    found = [at for at, schema in PLACES.items() if ".tolerations" not in at and unbounded(at, schema)]
    assert found == []


def test_every_field_has_a_sentence() -> None:
    fields = [at for at, schema in PLACES.items() if not at.endswith(("[]", "*")) and not schema.get("description")]
    assert fields == []
