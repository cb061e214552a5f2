"""Counting values by size."""

import pytest

from postern.histogram import Batches, Histogram


def test_a_value_is_counted_under_the_first_bound_that_it_does_not_exceed():
    histogram = Histogram((1, 2, 4))
    for value in (0, 1, 1.5, 2, 4, 4.1, 100):
        histogram.observe(value)
    assert histogram.counts == [2, 2, 1, 2]
    assert (histogram.count, histogram.total) == (7, 112.6)


@pytest.mark.parametrize("bounds", [(), (1, 1), (2, 1)])
def test_bounds_are_in_ascending_order(bounds):
    with pytest.raises(ValueError, match="ascending"):
        Histogram(bounds)


def test_batches_have_sizes_and_seconds():
    batches = Batches()
    batches.sizes.observe(17)
    batches.seconds.observe(0.004)
    assert (batches.sizes.count, batches.seconds.count) == (1, 1)
