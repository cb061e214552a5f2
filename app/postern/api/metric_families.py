"""Metric families of Prometheus, and their text."""

import math
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from postern.api.figures import Figure
from postern.histogram import Histogram


def families(process: str, figures: Iterable[Figure]) -> list[Metric]:
    """The figures as metric families, each sample with the label `process`."""
    return [_family(process, figure) for figure in figures]


def _family(process: str, figure: Figure) -> Metric:
    labels = ["process", *figure.labels]
    if figure.kind == "info":
        about = InfoMetricFamily(figure.name, figure.meaning, labels=["process"])
        for values in figure.values:
            about.add_metric([process], dict(zip(figure.labels, values, strict=True)))
        return about
    if figure.kind == "histogram":
        family = HistogramMetricFamily(figure.name, figure.meaning, labels=labels)
        for values, histogram in figure.histograms.items():
            family.add_metric([process, *values], _buckets(histogram), histogram.total)
        return family
    kind = CounterMetricFamily if figure.kind == "counter" else GaugeMetricFamily
    numbers = kind(figure.name, figure.meaning, labels=labels)
    for values, value in figure.values.items():
        numbers.add_metric([process, *values], value)
    return numbers


class _Found(Collector):
    """What was collected, as Prometheus's library takes it."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def describe(self) -> Iterable[Metric]:
        """Nothing: there are no other collectors whose names could conflict."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """The families."""
        return self._families


def exposition(families: Iterable[Metric]) -> tuple[str, bytes]:
    """The families as text, after its content type (Prometheus, "Exposition formats")."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Found(families))
    return CONTENT_TYPE_PLAIN_0_0_4, generate_latest(registry)


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """The counts in Prometheus's form: how many values are at most each bound."""
    reached, buckets = 0, []
    for bound, count in zip((*histogram.bounds, math.inf), histogram.counts, strict=True):
        reached += count
        buckets.append(("+Inf" if bound == math.inf else str(float(bound)), float(reached)))
    return buckets
