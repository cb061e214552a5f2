"""What the parts of the server have counted, for `/metrics`. Numbers are copied where they are counted, on the event
loop: read in another thread, a collection may change under its reader. So each function copies what it gets.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from postern.histogram import Histogram

Kind = Literal["info", "counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One metric. `values` has a value for each combination of values of the `labels`."""

    kind: Kind
    name: str
    meaning: str
    labels: tuple[str, ...] = ()
    values: Mapping[tuple[str, ...], float] = field(default_factory=dict)
    histograms: Mapping[tuple[str, ...], Histogram] = field(default_factory=dict)


def info(name: str, meaning: str, values: Mapping[str, str]) -> Figure:
    """One sample with these labels."""
    return Figure("info", name, meaning, tuple(values), {tuple(values.values()): 1.0})


def counters(name: str, meaning: str, labels: Sequence[str], totals: Mapping[Any, float]) -> Figure:
    """A counter for each combination of label values, which are the keys of `totals`."""
    return Figure("counter", name, meaning, tuple(labels), dict(totals))


def gauges(name: str, meaning: str, values: Mapping[str, float], label: str = "") -> Figure:
    """A gauge for each value of the label; one gauge without a label."""
    return Figure("gauge", name, meaning, *_by_one(values, label))


def gauges_by(name: str, meaning: str, labels: Sequence[str], values: Mapping[Any, float]) -> Figure:
    """A gauge for each combination of label values, which are the keys of `values`."""
    return Figure("gauge", name, meaning, tuple(labels), dict(values))


def histograms(name: str, meaning: str, found: Mapping[str, Histogram], label: str = "") -> Figure:
    """A histogram for each value of the label; one histogram without a label."""
    labels, by_label = _by_one(found, label)
    return Figure("histogram", name, meaning, labels, {}, {key: one.copy() for key, one in by_label.items()})


Collect = Callable[[], Iterable[Figure]]
"""Returns the current figures of one part of the server. It is called on the event loop, and must not wait."""


def _by_one(values: Mapping[str, Any], label: str) -> tuple[tuple[str, ...], dict[tuple[str, ...], Any]]:
    """The labels, and the values by them, where there is one label or none."""
    if not label:
        return (), dict(zip([()], values.values(), strict=False))
    return (label,), {(value_of,): value for value_of, value in values.items()}
