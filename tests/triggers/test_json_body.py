"""Numbers of bodies: finite, and with the digits that were sent."""

import json
import sys
from decimal import Decimal
from functools import partial
from math import isfinite
from typing import Annotated, Any, Generic, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, RootModel, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from postern import Context, Problem, workflow
from postern.authoring.validators import validators_of
from postern.triggers.json_body import read_typed, read_untyped
from postern.triggers.read import arguments
from tests.table import table

JSON = b"application/json"
T = TypeVar("T")


class Pay(BaseModel):
    amount: float


class Bill(BaseModel):
    net: Decimal = Decimal(0)
    weight: float = 0.0
    note: Any = None
    parts: list["Bill"] = []


class StrictBill(BaseModel):
    model_config = ConfigDict(strict=True)
    net: Decimal


class Infinite(BaseModel):
    model_config = ConfigDict(allow_inf_nan=True)
    amount: float


class Loose(TypedDict):
    metadata: float
    default: float


class Box(BaseModel, Generic[T]):
    type: T


class Flat(BaseModel):
    name: str


class Plain(BaseModel):
    name: str
    tags: list[str] = []


class Prices(RootModel[dict[str, Decimal]]): ...


TYPES: dict[Any, str] = {
    Pay: '{"amount": %s}',
    Bill: '{"weight": %s}',
    Infinite: '{"amount": %s}',
    Loose: '{"metadata": %s, "default": 1}',
    Box[float]: '{"type": %s}',
    Plain: '{"name": "a", "unknown": %s}',
    dict[str, float]: '{"a": %s}',
    dict: '{"a": %s}',
    Any: "[%s]",
    float | str | None: "%s",
    Annotated[float, Field(ge=0)]: "%s",
    Decimal: "%s",
    Prices: '{"a": %s}',
}
NOT_FINITE = ("NaN", "-NaN", "Infinity", "-Infinity", "1e999", "-1E+999", "1e0400", "9" * 400 + ".0", "1.8e308")


@table("number", NOT_FINITE)
@table("kind", TYPES, ids=str)
def test_a_number_that_is_not_finite_never_gets_in(kind: Any, number: str):
    body = (TYPES[kind] % number).encode()
    with pytest.raises(Problem) as caught:
        read_typed(validators_of(TypeAdapter(kind)), body)
    assert caught.value.code == "invalid-json"


@table("body", [number.encode() for number in NOT_FINITE] + [b'{"a": [1e999]}'])
def test_nor_into_an_untyped_parameter(body: bytes):
    with pytest.raises(Problem) as caught:
        read_untyped(body)
    assert caught.value.code == "invalid-json"


@table("text", ["NaN", "nan", "inf", "-Infinity", "1e999"])
@table("kind", [Pay, Bill, Loose, Box[float], dict[str, float]], ids=str)
def test_nor_as_a_string(kind: Any, text: str):
    """pydantic makes numbers of strings."""
    with pytest.raises(ValidationError, match="finite"):
        read_typed(validators_of(TypeAdapter(kind)), (TYPES[kind] % json.dumps(text)).encode())


@workflow(path="/{amount}")
async def in_path(ctx: Context, amount: float) -> None: ...


@pytest.mark.parametrize("part", ["nan", "inf", "1e999"])
def test_nor_in_the_path(part: str):
    with pytest.raises(Problem) as caught:
        arguments(in_path, b"", None, {"amount": part})
    assert caught.value.code == "invalid-path"


def test_an_author_may_allow_it_as_a_string():
    assert not isfinite(read_typed(validators_of(TypeAdapter(Infinite)), b'{"amount": "Infinity"}').amount)


@pytest.mark.parametrize("name", ["NaN", "Nancy", "Infinity", "1e999", "9" * 400, "\ufeff", "IN 0e000"])
def test_texts_that_look_like_such_numbers_are_texts(name: str):
    body = json.dumps({"name": name}, ensure_ascii=False).encode()
    assert read_typed(validators_of(TypeAdapter(Plain)), body).name == name
    assert read_untyped(body) == {"name": name}


@table(
    "number",
    [
        "99999999999999999.99",
        "0.1234567890123456789",
        "-1.00000000000000000001",
        "1e-300",
        "-0.0",
        "0e-400",
        "9007199254740993e0",
        "1.10",
    ],
)
@table("shape", ['{"net": %s}', '{"parts": [{"net": %s}, {"net": 1.5}]}'])
def test_a_decimal_keeps_its_digits(number: str, shape: str):
    found = read_typed(validators_of(TypeAdapter(Bill)), (shape % number).encode())
    assert (found.parts[0] if found.parts else found).net == Decimal(number)


@pytest.mark.parametrize("number", ["1e-400", "-0.5e-9999", "1e-99999999999999999999999999"])
def test_a_decimal_near_zero_with_an_extreme_exponent_is_rejected(number: str):
    with pytest.raises(ValidationError, match="send it as a string"):
        read_typed(validators_of(TypeAdapter(Bill)), f'{{"net": {number}}}'.encode())
    assert read_typed(validators_of(TypeAdapter(Bill)), f'{{"weight": {number}}}'.encode()).weight == 0


def test_a_decimal_keeps_them_beside_other_types():
    body = b'{"net": 99999999999999999.99, "weight": 0.12345678901234567890, "note": 0.12345678901234567891}'
    found = read_typed(validators_of(TypeAdapter(Bill)), body)
    assert (found.net, found.weight, found.note) == (
        Decimal("99999999999999999.99"),
        0.12345678901234567890,
        0.12345678901234567891,
    )


def test_two_decimals_that_the_parser_cannot_distinguish_are_rejected():
    body = b'{"net": 99999999999999999.99, "parts": [{"net": 99999999999999999.98}]}'
    with pytest.raises(ValidationError, match="send it as a string"):
        read_typed(validators_of(TypeAdapter(Bill)), body)
    again = b'{"net": 99999999999999999.99, "parts": [{"net": 1e17}]}'
    with pytest.raises(ValidationError, match="send it as a string"):
        read_typed(validators_of(TypeAdapter(Bill)), again)


@pytest.mark.parametrize("sent", ['"0.1234567890123456789"', "0.1234567890123456789", "12345678901234567890", '"1"'])
def test_a_strict_decimal_takes_what_it_takes(sent: str):
    found = read_typed(validators_of(TypeAdapter(StrictBill)), f'{{"net": {sent}}}'.encode())
    assert found.net == Decimal(json.loads(sent, parse_float=str))


NUMBERS = st.decimals(allow_nan=False, allow_infinity=False).map(str) | st.from_regex(
    r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,4})?", fullmatch=True
)


@given(st.lists(NUMBERS, min_size=1, max_size=4))
def test_each_decimal_is_what_was_sent_or_the_body_is_rejected(numbers: list[str]):
    body = f"[{', '.join(numbers)}]".encode()
    try:
        found = read_typed(validators_of(TypeAdapter(list[Decimal])), body)
    except Problem as problem:
        assert problem.code == "invalid-json"
    except ValidationError as error:
        assert "digits" in str(error)
    else:
        assert found == [Decimal(number) for number in numbers]


@given(st.recursive(st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(), st.lists))
def test_any_json_is_read_as_it_was_written(value: Any):
    body = json.dumps(value).encode()
    assert read_untyped(body) == value
    assert read_typed(validators_of(TypeAdapter(Any)), body) == value


@pytest.mark.parametrize(
    "body",
    [
        b'{"name": "Ada", "tags": ["a", "b"]}',
        b'{"name": "Nina", "note": "Invoice", "n": 12.5, "when": "2026-01-31T10:00:00Z"}',
        b'{"id": "3f1e9992-1234-4e21-9c3d-01e123ddeeff", "order": "x1234567890123456789"}',
    ],
)
def test_usual_bodies_are_parsed_once(monkeypatch: pytest.MonkeyPatch, body: bytes):
    monkeypatch.setattr("postern.triggers.json_body._numbers", None)
    assert read_untyped(body) == json.loads(body)
    assert read_typed(validators_of(TypeAdapter(dict[str, Decimal | Any])), body)


def test_no_text_of_a_body_is_kept_when_it_was_read():
    """The parser can keep short ones to read them faster the next time: texts of other callers, for good."""
    flat = validators_of(TypeAdapter(Flat))
    assert flat.exact is None
    bodies = [b'{"name": "n%d", "k%d": 1}' % (number, number) for number in range(5000)]
    for read in (read_untyped, partial(read_typed, flat)):
        before = sys.getallocatedblocks()
        for body in bodies:
            read(body)
        assert sys.getallocatedblocks() - before < 500
