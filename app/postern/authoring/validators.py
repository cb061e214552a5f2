"""Validators for what callers send, made of an author's types. A `float` takes finite numbers only, unless the author
allows others (`allow_inf_nan=True`): every comparison with NaN is false, so NaN passes each limit that is written as
one. A Decimal keeps the digits that were sent.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import cached_property
from typing import Any, cast

from pydantic import TypeAdapter
from pydantic_core import CoreSchema, PydanticCustomError, SchemaValidator, core_schema

from postern.authoring.colliding_keys import keys_seen, watching
from postern.authoring.first_mistakes import Stopped, collecting, few_mistakes, stopping
from postern.authoring.json_in_texts import counting
from postern.json_parser import WITHOUT_CACHE

Schema = Mapping[str, Any]
Change = Callable[[dict[str, Any], bool], dict[str, Any]]

_NOT_SCHEMAS = frozenset(
    {"type", "metadata", "serialization", "default", "expected", "members", "cls", "config", "ref"}
)
"""Members of a schema that hold no schema, and so nothing to change, whatever they look like."""
_BY_NAME = frozenset({"fields", "choices"})
"""Members that hold schemas by names that authors choose, or in a list."""

_exact: ContextVar[Mapping[float, Decimal | None]] = ContextVar("exact")


class Validator:
    """A validator that stops at the first mistakes, and whose keys do not collide. Raises ValidationError with the
    mistakes that are shown, of which `mistakes_in` makes a list, and Colliding."""

    def __init__(self, schema: Any) -> None:
        self._schema = watching(counting(schema))
        quick = stopping(self._schema)
        self.keyed = self._schema != schema
        self.quick = _validator(quick)

    def validate_json(self, content: bytes) -> Any:
        """The value of a JSON text."""
        try:
            if not self.keyed:
                return self.quick.validate_json(content)
            with keys_seen():
                return self.quick.validate_json(content)
        except Stopped:
            return self._again(lambda validator: validator.validate_json(content))

    def validate_strings(self, text: Any) -> Any:
        """The value of a text, such as a part of a path."""
        try:
            return self.quick.validate_strings(text)
        except Stopped:
            return self._again(lambda validator: validator.validate_strings(text))

    def validate_values(self, value: Any) -> Any:
        """A value made of texts and files, as forms and queries have them."""
        try:
            with keys_seen():
                return self.quick.validate_python(value)
        except Stopped:
            return self._again(lambda validator: validator.validate_python(value))

    def validate_attributes(self, value: Any) -> Any:
        """A value of the author's code, or one made of its attributes."""
        try:
            if not self.keyed:
                return self.quick.validate_python(value, from_attributes=True)
            with keys_seen():
                return self.quick.validate_python(value, from_attributes=True)
        except Stopped:
            self._again(lambda validator: validator.validate_python(value, from_attributes=True))
            raise  # the value is another one now, such as a generator that has been read

    def _again(self, validate: Callable[[SchemaValidator], Any]) -> Any:
        with few_mistakes() as found, keys_seen():
            value = validate(self._collecting)
        if found[0]:
            raise Stopped
        return value

    @cached_property
    def _collecting(self) -> SchemaValidator:
        return _validator(collecting(self._schema))


@dataclass(frozen=True, slots=True)
class Validators:
    """The validators of one type. `exact` also keeps the digits of each Decimal, within `exact_numbers`; it is None if
    the type has no Decimal."""

    usual: Validator
    exact: Validator | None


def validators_of(adapter: TypeAdapter[Any]) -> Validators:
    """The validators of an adapter's type."""
    schema: Schema = adapter.core_schema
    finite = _changed(schema, _finite)
    usual = Validator(finite)
    exact = _changed(finite, _keeping_digits)
    return Validators(usual, None if exact == finite else Validator(exact))


@contextmanager
def exact_numbers(literals: Iterable[str]) -> Iterator[None]:
    """Give each Decimal that `Validators.exact` makes the digits of its number. `literals` are all numbers with a point
    or an exponent, as they were sent: the parser passes on the nearest float of each. If that is the same for two
    different numbers, neither can be a Decimal, and nor can a number that is not 0 but whose nearest float is."""
    found: dict[float, Decimal | None] = {}
    for literal in literals:
        near, sent = float(literal), _decimal(literal)
        found[near] = sent if found.get(near, sent) == sent else None
    token = _exact.set(found)
    try:
        yield
    finally:
        _exact.reset(token)


def loses_digits(literal: str) -> bool:
    """Whether a float has another value than the number as it is written."""
    return _decimal(literal) != Decimal(repr(float(literal)))


def _decimal(literal: str) -> Decimal | None:
    """The number, or None if it is so near to zero that a float is zero. Its exponent may then be any, and a Decimal
    with an extreme exponent takes memory without limit when it is written out."""
    near = float(literal)
    if near:
        return Decimal(literal)
    mantissa = literal.lower().partition("e")[0]
    return None if mantissa.strip("-0.") else Decimal(repr(near))


def _validator(schema: Any) -> SchemaValidator:
    # Validators that models already have would be taken in place of the changed ones.
    return SchemaValidator(schema, WITHOUT_CACHE, _use_prebuilt=False)


def _changed(part: Any, change: Change, allowed: bool = False) -> Any:
    """A schema with every schema in it changed. `allowed` is `allow_inf_nan` of the model around it."""
    if isinstance(part, list | tuple):
        return type(part)([_changed(each, change, allowed) for each in part])
    if not isinstance(part, dict):
        return part
    allowed = bool((part.get("config") or {}).get("allow_inf_nan", allowed))
    made = {
        name: value if name in _NOT_SCHEMAS else _member(name, value, change, allowed) for name, value in part.items()
    }
    return change(made, allowed)


def _member(name: str, value: Any, change: Change, allowed: bool) -> Any:
    if name in _BY_NAME and isinstance(value, dict):
        return {key: _changed(each, change, allowed) for key, each in value.items()}
    return _changed(value, change, allowed)


def _finite(schema: dict[str, Any], allowed: bool) -> dict[str, Any]:
    if schema.get("type") != "float" or allowed:
        return schema
    return {"allow_inf_nan": False, **schema}


def _keeping_digits(schema: dict[str, Any], _: bool) -> dict[str, Any]:
    if schema.get("type") != "decimal":
        return schema
    return cast("dict[str, Any]", core_schema.no_info_before_validator_function(_as_sent, cast("CoreSchema", schema)))


def _as_sent(value: Any) -> Any:
    """The Decimal of a number, or of a string that holds one. Other values are left to the validator."""
    if isinstance(value, float):
        sent = _exact.get({}).get(value, Decimal(repr(value)))
        if sent is None:
            raise PydanticCustomError("digits_lost", "has more digits than can be kept here: send it as a string")
        return sent
    if isinstance(value, bool) or not isinstance(value, int | str):
        return value
    try:
        return Decimal(value)
    except InvalidOperation:
        return value
