"""Selectors mean what metav1.LabelSelector means, but an empty one matches nothing."""

from hypothesis import given
from hypothesis import strategies as st

from kube_upgrade.model.labels import Operator, Requirement, Selector

WORDS = st.sampled_from(["a", "b", "c", ""])
LABELS = st.dictionaries(WORDS, WORDS)
VALUES = st.lists(WORDS, min_size=1).map(tuple)
REQUIREMENTS = st.builds(Requirement, WORDS, st.sampled_from(Operator), VALUES)


@given(LABELS, WORDS, VALUES)
def test_not_in_is_the_opposite_of_in_and_holds_without_the_label(
    labels: dict[str, str], key: str, values: tuple[str, ...]
) -> None:
    inside, outside = Requirement(key, Operator.IN, values), Requirement(key, Operator.NOT_IN, values)
    assert inside.matches(labels) == (key in labels and labels[key] in values)
    assert outside.matches(labels) != inside.matches(labels)


@given(LABELS, WORDS)
def test_exists_asks_for_the_key_whatever_the_value(labels: dict[str, str], key: str) -> None:
    assert Requirement(key, Operator.EXISTS).matches(labels) == (key in labels)
    assert Requirement(key, Operator.DOES_NOT_EXIST).matches(labels) == (key not in labels)


@given(LABELS, st.lists(REQUIREMENTS, min_size=1))
def test_every_requirement_must_hold(labels: dict[str, str], needs: list[Requirement]) -> None:
    assert Selector(tuple(needs)).matches(labels) == all(need.matches(labels) for need in needs)


@given(LABELS)
def test_a_selector_without_requirements_matches_no_node(labels: dict[str, str]) -> None:
    assert not Selector(()).matches(labels)


def test_a_control_plane_is_known_by_kubeadms_label_without_a_value() -> None:
    key = "node-role.kubernetes.io/control-plane"
    assert Selector((Requirement(key, Operator.EXISTS),)).matches({key: ""})
    assert not Selector((Requirement(key, Operator.IN, ("true",)),)).matches({key: ""})
