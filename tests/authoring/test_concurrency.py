"""`max_concurrency`, `concurrency_key` and `singleton`: which options fit each other, and what a key may be."""

from collections import namedtuple
from enum import StrEnum
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postern import Context, workflow
from postern.access import ANYONE
from postern.authoring.concurrency import MOST_CHARACTERS, ConcurrencyKeyError, key_of
from postern.authoring.signature import WorkflowFault


async def orders(ctx: Context, body: dict[str, Any]) -> None:
    """A workflow."""


def by_caller(caller: Any, body: Any) -> str:
    return str(caller.object_id)


async def late(caller: Any, body: Any) -> str:
    return "a"


def several(caller: Any, body: Any) -> Any:
    yield "a"


class Callable:
    def __call__(self, caller: Any, body: Any) -> str:
        return "a"


class Late:
    async def __call__(self, caller: Any, body: Any) -> str:
        return "a"


FITTING = [
    ({}, (None, False, False)),
    ({"max_concurrency": 3}, (3, False, False)),
    ({"concurrency_key": by_caller}, (1, False, True)),
    ({"concurrency_key": by_caller, "max_concurrency": 3}, (3, False, True)),
    ({"concurrency_key": lambda caller, body: body["id"]}, (1, False, True)),
    ({"concurrency_key": lambda *parts: 1}, (1, False, True)),
    ({"concurrency_key": lambda caller, body, more=1: 1}, (1, False, True)),
    ({"concurrency_key": partial(by_caller)}, (1, False, True)),
    ({"concurrency_key": Callable()}, (1, False, True)),
    ({"singleton": True}, (1, True, True)),
    ({"singleton": True, "max_concurrency": 1}, (1, True, True)),
    ({"singleton": True, "concurrency_key": by_caller}, (1, True, True)),
    ({"singleton": True, "timeout": "24h"}, (1, True, True)),
    ({"singleton": True, "durable": True}, (1, True, True)),
]


@pytest.mark.parametrize(("options", "fields"), FITTING)
def test_options_that_fit_each_other(options: dict[str, Any], fields: Any) -> None:
    made = workflow(**options)(orders)
    assert (made.max_concurrency, made.singleton, made.keyed) == fields


FAULTS = [
    ({"concurrency_key": "order_id"}, "concurrency_key='order_id' is not a function: write lambda caller, body"),
    ({"concurrency_key": lambda body: 1}, "called with two arguments, the caller and the body"),
    ({"concurrency_key": lambda: 1}, "called with two arguments"),
    ({"concurrency_key": lambda caller, body, more: 1}, "called with two arguments"),
    ({"concurrency_key": lambda caller, body, *, more: 1}, "called with two arguments"),
    ({"concurrency_key": late}, "a plain function, without async and yield"),
    ({"concurrency_key": Late()}, "a plain function, without async and yield"),
    ({"concurrency_key": several}, "a plain function, without async and yield"),
    ({"singleton": 1}, "singleton=1: write True or False"),
    ({"singleton": True, "max_concurrency": 2}, "singleton=True and max_concurrency=2 exclude each other"),
    ({"singleton": True, "stateless": True}, "singleton=True and stateless=True exclude each other"),
    ({"singleton": True, "timeout": "25h"}, 'needs a timeout of at most "24h", or durable=True'),
    ({"concurrency_key": by_caller, "max_concurrency": 0}, "max_concurrency=0: give a whole number"),
]


@pytest.mark.parametrize(("options", "cause"), FAULTS)
def test_options_that_are_a_fault_of_the_workflow(options: dict[str, Any], cause: str) -> None:
    with pytest.raises(WorkflowFault) as caught:
        workflow(**options)(orders)
    assert cause in str(caught.value)


class Kind(StrEnum):
    ORDER = "order"


Pair = namedtuple("Pair", "kind number")

KEYS = [
    ("a", '"a"'),
    ("", '""'),
    (7, "7"),
    (-(2**70), str(-(2**70))),
    (("a", 7), '["a", 7]'),
    (("a",), '["a"]'),
    (Pair("a", 7), '["a", 7]'),
    (Kind.ORDER, '"order"'),
    ("\ud800", '"\\ud800"'),
]


@pytest.mark.parametrize(("value", "key"), KEYS)
def test_a_key_is_a_text_a_number_or_several_of_them(value: Any, key: str) -> None:
    assert key_of(lambda caller, body: value, ANYONE, None) == key


WRONG = [
    (None, "returned NoneType: return a str, an int, or a tuple of these"),
    (True, "returned bool"),
    (1.5, "returned float"),
    (b"a", "returned bytes"),
    (["a"], "returned list"),
    (("a", ("b",)), "returned tuple"),
    ((), "a tuple of 0 parts: return 1 to 16"),
    (("a",) * 17, "a tuple of 17 parts"),
    ("a" * (MOST_CHARACTERS + 1), "a key that is too long: return at most 1024 characters"),
    (10**2000, "too long"),
    (("a" * 600, "b" * 600), "too long"),
]


@pytest.mark.parametrize(("value", "message"), WRONG)
def test_what_is_no_key_is_an_error_that_names_the_function_and_not_the_value(value: Any, message: str) -> None:
    def chosen(caller: Any, body: Any) -> Any:
        return value

    with pytest.raises(ConcurrencyKeyError) as caught:
        key_of(chosen, ANYONE, None)
    text = str(caught.value)
    assert message in text
    assert f"{__file__}:{chosen.__code__.co_firstlineno}" in text
    assert "aaaa" not in text


def test_a_function_that_hides_a_coroutine_is_an_error_without_a_warning() -> None:
    with pytest.raises(ConcurrencyKeyError, match="returned coroutine"):
        key_of(lambda caller, body: late(caller, body), ANYONE, None)


parts = st.one_of(st.text(max_size=20), st.integers())
keys = st.one_of(parts, st.lists(parts, min_size=1, max_size=4).map(tuple))


@given(keys, keys)
def test_two_keys_are_the_same_only_if_they_are_equal(one: Any, other: Any) -> None:
    def key(value: Any) -> str:
        return key_of(lambda caller, body: value, ANYONE, None)

    assert (key(one) == key(other)) == (one == other)
