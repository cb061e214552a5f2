"""The one reader of JSON bodies, strict for typed and untyped parameters alike.

A body is parsed once. Only one that looks as if it had numbers that the parser takes but JSON has not, or that lose
digits as floats, is read a second time to look at its numbers.
"""

import json
import re
from math import isinf
from typing import Any, NoReturn

from postern.authoring.first_mistakes import Stopped
from postern.authoring.validators import Validators, exact_numbers, loses_digits
from postern.errors import Problem, problem
from postern.json_parser import parse

BOM = b"\xef\xbb\xbf"
"""A parser may ignore a byte order mark (RFC 8259, section 8.1). SharePoint's webhooks send one."""

_SHAPE = bytes.maketrans(b"123456789.EI", b"0000000000eN")
"""Makes one digit of all digits and points, one letter of `e` and `E`, and one of those with which `NaN` and `Infinity`
begin."""
_ZERO, _N = b"0N"
_LONG_NUMBER = re.compile(rb"(?:^|[\s:,\[])-?(?:0{16}|0+e[+-]?000)")
"""In the shape of a body, and not within a word as the digits of most ids are."""
_FEWEST = 4
"""Digits of the shortest number that needs a second look: 1e100."""
_DIGITS_OF_A_FLOAT = b"0" * 16
_DIGITS_OF_THE_LARGEST = b"0" * 300


def read_untyped(body: bytes) -> Any:
    """The value of a body. Raises Problem `invalid-json`."""
    content = body.removeprefix(BOM)
    if _is_unusual(content, _DIGITS_OF_THE_LARGEST):
        _numbers(content)
    try:
        return parse(content)
    except ValueError as error:
        raise not_json(str(error)) from None


def read_typed(validators: Validators, body: bytes) -> Any:
    """The value of a body, validated. Raises Problem `invalid-json` for numbers that are not JSON, and ValidationError
    for anything else that is wrong."""
    content = body.removeprefix(BOM)
    exact = validators.exact
    if not _is_unusual(content, _DIGITS_OF_THE_LARGEST if exact is None else _DIGITS_OF_A_FLOAT):
        usual = validators.usual
        if usual.keyed:
            return usual.validate_json(content)
        try:
            return usual.quick.validate_json(content)  # most bodies: a call less
        except Stopped:
            return usual.validate_json(content)
    literals = _numbers(content)
    if exact is None or not any(map(loses_digits, literals)):
        return validators.usual.validate_json(content)
    with exact_numbers(literals):
        return exact.validate_json(content)


def not_json(message: str) -> Problem:
    """The problem of a body that is no JSON."""
    return problem("invalid-json", errors=[{"where": "", "message": message}])


def _is_unusual(content: bytes, digits: bytes) -> bool:
    """Whether the numbers of a body need a second look: it may have NaN or Infinity, an exponent of three digits, or a
    number of so many digits. For most bodies that is decided by single bytes, which are found five times as fast as
    strings."""
    shape = content.translate(_SHAPE)
    if _N in shape and (b"NaN" in content or b"Inf" in content):
        return True
    zeros = shape.count(_ZERO)
    if zeros < _FEWEST:
        return False
    large = b"0e" in shape and (b"0e000" in shape or b"0e+000" in shape or b"0e-000" in shape)
    long = large or (zeros >= len(digits) and digits in shape)
    return long and _LONG_NUMBER.search(shape) is not None


def _numbers(content: bytes) -> list[str]:
    """The numbers that have a point or an exponent, as they were sent. Raises Problem `invalid-json` if one is not
    finite, or if the content is no JSON."""
    literals: list[str] = []

    def keep(literal: str) -> float:
        number = float(literal)
        if isinf(number):
            _not_finite(literal)
        literals.append(literal)
        return number

    try:
        json.loads(content.decode(), parse_float=keep, parse_int=len, parse_constant=_not_finite)
    except (ValueError, RecursionError):
        raise not_json(_mistake(content)) from None
    return literals


def _mistake(content: bytes) -> str:
    try:
        parse(content)
    except ValueError as error:
        return str(error)
    return "it cannot be read"


def _not_finite(_: str) -> NoReturn:
    raise not_json("a number is not finite: NaN, Infinity, or above 1.7e308")
