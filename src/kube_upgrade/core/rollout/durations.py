"""How long a group's nodes take, learned one node at a time: what windows and forecasts reckon with."""

from kube_upgrade.model.status import Duration

MEMORY = 50  # later nodes count as if this many had been seen: hardware and images change


def learn(known: Duration | None, seconds: float) -> Duration:
    """The estimate after one more node. Quantiles without samples: each step moves them towards their share.

    A stochastic approximation (Robbins and Monro, 1951): the step shrinks with the count and scales with the values.
    """
    if known is None:
        return Duration(count=1, p50=seconds, p90=seconds)
    step = max(known.p90, seconds) / min(known.count + 1, MEMORY)
    p50 = known.p50 + step * (0.5 - (seconds < known.p50))
    p90 = known.p90 + step * (0.9 - (seconds < known.p90))
    return Duration(count=known.count + 1, p50=round(max(0.0, p50), 3), p90=round(max(p50, p90, 0.0), 3))
