"""Durations are learned without keeping samples: near the true quantiles, and never absurd."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube_upgrade.core.rollout.durations import learn
from kube_upgrade.model.status import Duration


def test_the_first_node_is_the_estimate() -> None:
    assert learn(None, 90.0) == Duration(count=1, p50=90.0, p90=90.0)


@given(st.lists(st.floats(0, 1e5), min_size=1, max_size=60))
def test_estimates_stay_within_twice_the_longest_and_in_order(samples: list[float]) -> None:
    known = None
    for sample in samples:
        known = learn(known, sample)
    assert known is not None
    assert known.count == len(samples)
    assert 0 <= known.p50 <= known.p90 + 1e-3
    assert known.p90 <= 2 * max(samples) + 1e-3


@pytest.mark.parametrize("seed", range(5))
def test_after_many_nodes_the_estimates_are_near_the_quantiles(seed: int) -> None:
    dice = random.Random(seed)
    known = None
    for _ in range(2000):
        known = learn(known, dice.uniform(100, 200))
    assert known is not None
    assert known.p50 == pytest.approx(150, abs=25)
    assert known.p90 == pytest.approx(190, abs=25)
