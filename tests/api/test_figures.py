"""Figures are copies: what the event loop counts meanwhile changes nothing in them."""

from collections.abc import Callable
from inspect import isfunction
from typing import Any

import pytest

from postern.api import figures
from postern.api.figures import Figure
from postern.api.metric_families import families
from postern.histogram import Histogram


def one_value() -> Histogram:
    histogram = Histogram([1.0])
    histogram.observe(0.5)
    return histogram


MADE: dict[str, tuple[Callable[[Any], Figure], Any, Any]] = {
    "info": (lambda values: figures.info("x", "X.", values), {"version": "1"}, "2"),
    "counters": (lambda values: figures.counters("x", "X.", ["of"], values), {("a",): 1.0}, 2.0),
    "gauges": (lambda values: figures.gauges("x", "X.", values, "of"), {"a": 1.0}, 2.0),
    "gauges without a label": (lambda values: figures.gauges("x", "X.", values), {"": 1.0}, 2.0),
    "gauges_by": (lambda values: figures.gauges_by("x", "X.", ["of"], values), {("a",): 1.0}, 2.0),
    "histograms": (lambda values: figures.histograms("x", "X.", values, "of"), {"a": one_value()}, one_value()),
    "a histogram without a label": (lambda values: figures.histograms("x", "X.", values), {"": one_value()}, None),
}


def shown(figure: Figure) -> list[tuple[Any, ...]]:
    return [(each.name, each.labels, each.value) for family in families("p", [figure]) for each in family.samples]


def test_each_way_to_give_figures_is_looked_at():
    names = {
        name
        for name, made in vars(figures).items()
        if isfunction(made) and name[0] != "_" and made.__module__ == figures.__name__
    }
    assert names == {name for name in MADE if " " not in name}


@pytest.mark.parametrize("way", MADE)
def test_what_is_counted_later_is_not_in_a_figure(way: str):
    make, values, later = MADE[way]
    figure = make(values)
    before = shown(figure)
    assert before
    for value in values.values():
        if isinstance(value, Histogram):
            value.observe(5.0)
    values |= dict.fromkeys(values, later)
    values[("b",) if ("a",) in values else "b"] = later
    assert shown(figure) == before


def test_every_sample_names_the_process():
    figure = figures.counters("x", "X.", ["of"], {("a",): 1.0})
    assert shown(figure) == [("x_total", {"process": "p", "of": "a"}, 1.0)]
