"""JSON in texts of JSON, as `pydantic.Json` takes it: its elements count as those of the body do, which are counted
before it is parsed and without its texts.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from pydantic_core import core_schema

from postern.authoring.schema_kinds import holds_none
from postern.elements import separators

_left: ContextVar[list[int]] = ContextVar("left")


class TooManyElements(Exception):
    """The texts have more elements than the trigger takes."""


def counting(schema: Any) -> Any:
    """The schema with each such text looked at, within `most_elements`. The same schema if it has none."""
    if isinstance(schema, list | tuple):
        return type(schema)([counting(each) for each in schema])
    if not isinstance(schema, dict):
        return schema
    made = {name: value if holds_none(schema, name) else counting(value) for name, value in schema.items()}
    if made.get("type") != "json":
        return made
    json: Any = made
    return core_schema.no_info_before_validator_function(_count, json)


@contextmanager
def most_elements(most: int) -> Iterator[None]:
    """Count the elements of all texts of one validation. Raises TooManyElements."""
    token = _left.set([most])
    try:
        yield
    finally:
        _left.reset(token)


def _count(value: Any) -> Any:
    left = _left.get(None)
    if left is not None and isinstance(value, str | bytes):
        left[0] -= separators(value.encode("utf-8", "replace") if isinstance(value, str) else value)
        if left[0] < 0:
            raise TooManyElements
    return value
