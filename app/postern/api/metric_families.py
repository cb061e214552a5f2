"""Metric families of Prometheus, and their text."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

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

from postern.histogram import Histogram


class Families:
    """Makes metric families, each sample with the label `process`."""

    def __init__(self, process: str) -> None:
        self._process = process

    def info(self, name: str, meaning: str, values: Mapping[str, str]) -> Metric:
        """One sample with these labels."""
        family = InfoMetricFamily(name, meaning, labels=["process"])
        family.add_metric([self._process], dict(values))
        return family

    def counters(self, name: str, meaning: str, labels: Sequence[str], totals: Mapping[Any, float]) -> Metric:
        """A counter for each combination of label values, which are the keys of `totals`."""
        family = CounterMetricFamily(name, meaning, labels=["process", *labels])
        for values, total in totals.items():
            family.add_metric([self._process, *values], total)
        return family

    def gauges(self, name: str, meaning: str, values: Mapping[str, float], label: str = "") -> Metric:
        """A gauge for each value of the label; one gauge without a label."""
        family = GaugeMetricFamily(name, meaning, labels=["process", label] if label else ["process"])
        for value_of, value in values.items():
            family.add_metric([self._process, value_of] if label else [self._process], value)
        return family

    def gauges_by(self, name: str, meaning: str, labels: Sequence[str], values: Mapping[Any, float]) -> Metric:
        """A gauge for each combination of label values, which are the keys of `values`."""
        family = GaugeMetricFamily(name, meaning, labels=["process", *labels])
        for values_of, value in values.items():
            family.add_metric([self._process, *values_of], value)
        return family

    def histograms(self, name: str, meaning: str, found: Mapping[str, Histogram], label: str = "") -> Metric:
        """A histogram for each value of the label; one histogram without a label."""
        family = HistogramMetricFamily(name, meaning, labels=["process", label] if label else ["process"])
        for value, histogram in found.items():
            labelled = [self._process, value] if label else [self._process]
            family.add_metric(labelled, _buckets(histogram), histogram.total)
        return family


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
    for bound, count in zip((*histogram.bounds, float("inf")), list(histogram.counts), strict=True):
        reached += count
        buckets.append(("+Inf" if bound == float("inf") else str(float(bound)), float(reached)))
    return buckets
