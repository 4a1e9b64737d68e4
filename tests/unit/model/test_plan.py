"""Budgets: at least one node, never more than the group, never rounded up."""

from hypothesis import given
from hypothesis import strategies as st

from kube_upgrade.model.plan import Percent, nodes_allowed


@given(st.integers(min_value=1, max_value=100), st.integers(min_value=1, max_value=5_000))
def test_a_share_is_rounded_down_to_at_least_one_node(share: int, of: int) -> None:
    allowed = nodes_allowed(Percent(share), of)
    assert 1 <= allowed <= of
    assert allowed == 1 or allowed * 100 <= of * share


def test_the_whole_group_is_the_whole_group() -> None:
    assert nodes_allowed(Percent(100), 7) == 7
    assert nodes_allowed(3, 7) == 3
