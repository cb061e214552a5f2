"""The numbers of `/metrics` as metrics of OpenTelemetry, under the same names. Pure."""

import math
from collections.abc import Iterable, Sequence

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.samples import Sample

CUMULATIVE = AggregationTemporality.CUMULATIVE
_OWN_LABELS = frozenset({"process", "le"})
"""The process is the resource's `service.instance.id`."""


def metrics_data(
    families: Iterable[Family], resource: Resource, scope: InstrumentationScope, since: int, now: int
) -> MetricsData:
    """What is exported at one moment. `since` is when the counters began, in nanoseconds."""
    metrics = [metric for family in families if (metric := _metric(family, since, now)) is not None]
    found = ScopeMetrics(scope=scope, metrics=metrics, schema_url="")
    return MetricsData([ResourceMetrics(resource=resource, scope_metrics=[found], schema_url="")])


def _metric(family: Family, since: int, now: int) -> Metric | None:
    """A family as a metric. Families without samples, or of kinds that Postern does not have, are left out."""
    samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
    if not samples:
        return None
    data: Sum | Gauge | Histogram
    name = family.name
    if family.type == "counter":
        points = [_number(sample, since, now) for sample in samples]
        name, data = f"{name}_total", Sum(points, aggregation_temporality=CUMULATIVE, is_monotonic=True)
    elif family.type == "gauge":
        finite = [_number(sample, since, now) for sample in samples if math.isfinite(sample.value)]
        data = Gauge(finite)
    elif family.type == "info":
        name, data = f"{name}_info", Gauge([_number(sample, since, now) for sample in samples])
    elif family.type == "histogram":
        data = Histogram(list(_histograms(samples, family.name, since, now)), aggregation_temporality=CUMULATIVE)
    else:
        return None
    return Metric(name=name, description=family.documentation, unit=_unit(family.name), data=data)


def _number(sample: Sample, since: int, now: int) -> NumberDataPoint:
    return NumberDataPoint(_labels(sample), since, now, float(sample.value))


def _histograms(samples: Sequence[Sample], name: str, since: int, now: int) -> Iterable[HistogramDataPoint]:
    """The histograms of a family, one for each combination of labels. Prometheus counts each bucket with all below it,
    OpenTelemetry by itself."""
    grouped: dict[tuple[tuple[str, str], ...], list[Sample]] = {}
    for sample in samples:
        grouped.setdefault(tuple(sorted(_labels(sample).items())), []).append(sample)
    for labels, found in grouped.items():
        bounds, counts, below, total = [], [], 0.0, 0.0
        for sample in found:
            if sample.name == f"{name}_sum":
                total = sample.value
            elif sample.name == f"{name}_bucket":
                bounds.append(float(sample.labels["le"]))
                counts.append(int(sample.value - below))
                below = sample.value
        yield HistogramDataPoint(
            dict(labels), since, now, int(below), total, counts, bounds[:-1], min=math.inf, max=-math.inf
        )


def _labels(sample: Sample) -> dict[str, str]:
    return {name: value for name, value in sample.labels.items() if name not in _OWN_LABELS}


def _unit(name: str) -> str:
    return "s" if name.endswith("_seconds") else "By" if name.endswith("_bytes") else ""
