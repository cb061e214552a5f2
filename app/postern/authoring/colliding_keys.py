"""Keys of sets and maps that share a hash. Python looks at all of them for each new one, and numbers with one hash are
easy to find: a megabyte of them takes a minute. Texts, and what is hashed like them, are safe: their hashes are random.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from pydantic_core import core_schema

from postern.authoring.schema_kinds import MAPS, SETS, holds_none

Schema = dict[str, Any]

MOST_ALIKE = 8
"""Different keys with one hash. Useful keys have two at most, such as -1 and -2, or a few more in tuples."""

_HASHED_AT_RANDOM = frozenset(
    {"str", "bytes", "date", "time", "datetime", "enum", "literal", "bool", "none", "url", "multi-host-url"}
)

_seen: ContextVar[dict[int, list[Any]]] = ContextVar("seen")


class Colliding(Exception):
    """Keys were chosen so that they share a hash."""


def watching(schema: Any) -> Any:
    """The schema with each such key looked at, within `keys_seen`. The same schema if it has none."""
    if isinstance(schema, list | tuple):
        return type(schema)([watching(each) for each in schema])
    if not isinstance(schema, dict):
        return schema
    made = {name: value if holds_none(schema, name) else watching(value) for name, value in schema.items()}
    kind = made.get("type")
    if not isinstance(kind, str):
        return made
    if kind in SETS:
        return _watched(made, "items_schema")
    return _watched(made, "keys_schema") if kind in MAPS and "keys_schema" in made else made


@contextmanager
def keys_seen() -> Iterator[None]:
    """Look at the keys of one validation. Raises Colliding."""
    token = _seen.set({})
    try:
        yield
    finally:
        _seen.reset(token)


def _watched(made: Schema, name: str) -> Schema:
    key: Mapping[str, Any] = made.get(name, {"type": "any"})
    if key["type"] in _HASHED_AT_RANDOM:
        return made
    return {**made, name: core_schema.no_info_after_validator_function(_look_at, key)}


def _look_at(key: Any) -> Any:
    seen = _seen.get(None)
    if seen is not None:
        try:
            alike = seen.setdefault(hash(key), [])
        except TypeError:  # it is no key
            return key
        if key not in alike:
            if len(alike) == MOST_ALIKE:
                raise Colliding
            alike.append(key)
    return key
