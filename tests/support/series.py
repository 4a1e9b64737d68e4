"""The metrics of telemetry/metrics.py by their names, each with its labels."""

from prometheus_client.metrics import MetricWrapperBase

from kube_upgrade.telemetry import metrics


def metric_labels() -> dict[str, frozenset[str]]:
    """Counters end in _total; a histogram has its own name, without _bucket, _count and _sum."""
    found: dict[str, frozenset[str]] = {}
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            (family,) = metric.describe()
            name = family.name + ("_total" if family.type == "counter" else "")
            found[name] = frozenset(metric._labelnames)
    return found
