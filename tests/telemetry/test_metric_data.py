"""The numbers of `/metrics` as metrics of OpenTelemetry."""

import math
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    UntypedMetricFamily,
)

from postern.telemetry.metric_data import metrics_data


def converted(*families: Any) -> dict[str, Any]:
    data = metrics_data(families, Resource.get_empty(), InstrumentationScope("postern"), 1, 2)
    return {metric.name: metric for metric in data.resource_metrics[0].scope_metrics[0].metrics}


def test_a_counter_keeps_its_name_and_loses_the_process_which_the_resource_names():
    family = CounterMetricFamily("postern_requests", "Requests.", labels=["process", "outcome"])
    family.add_metric(["p1", "succeeded"], 3)
    (metric,) = converted(family).values()
    (point,) = metric.data.data_points

    assert (metric.name, metric.description, metric.data.is_monotonic) == ("postern_requests_total", "Requests.", True)
    assert (point.attributes, point.value) == ({"outcome": "succeeded"}, 3.0)
    assert (point.start_time_unix_nano, point.time_unix_nano) == (1, 2)


def test_buckets_are_counted_by_themselves():
    family = HistogramMetricFamily("postern_x_seconds", "X.", labels=["process", "workflow"])
    family.add_metric(["p1", "a"], [("0.1", 2), ("1.0", 5), ("+Inf", 6)], 4.5)
    family.add_metric(["p1", "b"], [("0.1", 0), ("1.0", 0), ("+Inf", 0)], 0.0)
    (metric,) = converted(family).values()
    a, b = metric.data.data_points

    assert metric.unit == "s"
    assert (a.attributes, a.count, a.sum) == ({"workflow": "a"}, 6, 4.5)
    assert (a.explicit_bounds, a.bucket_counts) == ([0.1, 1.0], [2, 3, 1])
    assert (b.count, b.bucket_counts) == (0, [0, 0, 0])


def test_gauges_are_finite_and_info_is_one():
    age = GaugeMetricFamily("postern_age_seconds", "Age.", labels=["process", "tenant"])
    age.add_metric(["p1", "never"], math.inf)
    age.add_metric(["p1", "now"], 0.5)
    build = InfoMetricFamily("postern_build", "Build.", labels=["process"])
    build.add_metric(["p1"], {"version": "0.2.0"})
    found = converted(age, build, GaugeMetricFamily("empty", "", labels=["process"]), UntypedMetricFamily("odd", "", 1))

    assert set(found) == {"postern_age_seconds", "postern_build_info"}
    (point,) = found["postern_age_seconds"].data.data_points
    assert (point.attributes, point.value) == ({"tenant": "now"}, 0.5)
    (point,) = found["postern_build_info"].data.data_points
    assert (point.attributes, point.value) == ({"version": "0.2.0"}, 1.0)
