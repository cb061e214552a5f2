"""The elements of a body are counted exactly, before it is parsed, and without looking at what is in strings."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Json

from postern import Context, workflow
from postern.elements import has_more_elements
from postern.errors import Problem
from postern.triggers.read import arguments

pytestmark = pytest.mark.slow

JSON = "application/json"
TEXTS = st.text(alphabet='ab,[]{}:"\\ é')
VALUES = st.recursive(
    st.none() | st.integers() | TEXTS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=30
)


def counted(value: Any) -> int:
    """The values in arrays and objects, and the arrays and objects themselves. Of n values all but one have a comma."""
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else None
    if inner is None:
        return 0
    return 1 + max(len(inner) - 1, 0) + sum(map(counted, inner))


@given(VALUES, st.sampled_from([None, 1]))
def test_a_body_is_rejected_exactly_when_it_has_more_elements(value: Any, indent: int | None) -> None:
    body = json.dumps(value, indent=indent).encode()
    number = counted(value)
    assert not has_more_elements(body, number)
    if number:
        assert has_more_elements(body, number - 1)


@given(st.binary(max_size=200), st.integers(1, 20))
def test_what_is_no_json_has_elements_too(body: bytes, most: int) -> None:
    assert has_more_elements(body, most) in (True, False)
    assert not has_more_elements(body, len(body))


@pytest.mark.parametrize(
    "body", [b'["",' * 2000, b'["' + b',"' * 9000, b'{"":"",' * 2000], ids=["values", "quotes", "members"]
)
def test_a_body_of_tiny_strings_is_not_taken_apart(body: bytes) -> None:
    assert has_more_elements(body, 1000)


@workflow(max_elements=3)
async def few(ctx: Context, body: list[int]) -> None: ...


@workflow(max_elements=3)
async def untyped(ctx: Context, body: Any) -> None: ...


@workflow(max_elements=3)
async def anything(ctx: Context, body=None) -> None: ...


class Enveloped(BaseModel):
    data: Json[list[int]]


@workflow(max_elements=5)
async def enveloped(ctx: Context, body: Enveloped) -> None: ...


@workflow(max_elements=5)
async def many_enveloped(ctx: Context, body: list[Json[list[int]]]) -> None: ...


@pytest.mark.parametrize(
    ("made", "fits", "too_many"),
    [
        (enveloped, {"data": "[1,2,3,4,5]"}, {"data": "[1,2,3,4,5,6]"}),
        (many_enveloped, ["[1,2]", "[3,4]"], ["[1,2]", "[3,4]", "[5,6]"]),
    ],
)
def test_the_elements_of_json_in_texts_count_together(made: Any, fits: Any, too_many: Any) -> None:
    arguments(made, json.dumps(fits).encode(), JSON.encode(), {})
    with pytest.raises(Problem) as caught:
        arguments(made, json.dumps(too_many).encode(), JSON.encode(), {})
    assert caught.value.members == {"limit_elements": 5}


@pytest.mark.parametrize("made", [few, untyped, anything], ids=lambda made: made.name)
def test_the_problem_names_the_bound_and_the_option(made: Any) -> None:
    arguments(made, b"[1,2,3]", JSON.encode(), {})
    with pytest.raises(Problem) as caught:
        arguments(made, b"[1,2,3,4]", JSON.encode(), {})
    assert (caught.value.status, caught.value.code) == (413, "too-many-elements")
    assert caught.value.members == {"limit_elements": 3}
    assert "max_elements" in caught.value.detail


def test_a_body_that_is_not_called_json_is_not_counted() -> None:
    assert arguments(anything, b"a,b,c,d,e,f,g,h", b"text/plain", {}) == {}
