"""The retry policy as a value."""

import pytest

from postern.authoring.retry_policy import DEFAULT_RETRY, Retry, RetryFault
from tests.table import table


def test_the_defaults_are_those_that_users_of_logic_apps_know():
    assert Retry(count=4, interval=7.5, minimum=5, maximum=45) == DEFAULT_RETRY == Retry()
    assert Retry.none().count == 0


def test_the_longest_wait_doubles_with_each_retry_within_the_bounds():
    assert [Retry().window(retry) for retry in range(1, 7)] == [
        (5, 7.5),
        (7.5, 15),
        (15, 30),
        (30, 45),
        (45, 45),
        (45, 45),
    ]
    assert Retry(count=90).window(90) == (45, 45)
    assert Retry(interval=0, minimum=0).window(3) == (0, 0)


@table(
    ("options", "named"),
    [
        ({"count": -1}, "count=-1"),
        ({"count": 91}, "count=91"),
        ({"count": 1.5}, "count=1.5"),
        ({"count": True}, "count=True"),
        ({"interval": float("nan")}, "interval=nan"),
        ({"interval": float("inf")}, "interval=inf"),
        ({"interval": -1}, "interval=-1"),
        ({"interval": "1"}, "interval='1'"),
        ({"minimum": None}, "minimum=None"),
        ({"maximum": 86_401}, "maximum=86401"),
        ({"minimum": 46}, "minimum=46 is more than maximum=45"),
    ],
)
def test_a_policy_that_makes_no_sense_names_the_option(options, named):
    with pytest.raises(RetryFault, match=named):
        Retry(**options)


def test_a_policy_does_not_change():
    with pytest.raises(AttributeError):
        Retry().count = 5  # type: ignore[misc]
