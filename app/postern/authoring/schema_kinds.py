"""The kinds of pydantic's schemas, for the modules that walk them. One list each: a kind that only one of them knows is
a way round the others.
"""

from typing import Any

SETS = frozenset({"set", "frozenset"})
LISTS = frozenset({"list", "deque"})
MAPS = frozenset({"dict", "frozendict", "ordered-dict", "counter"})
ARRAYS = SETS | LISTS | {"generator"}

NO_SCHEMAS = frozenset({"metadata", "serialization", "default", "expected", "members", "cls", "config", "ref"})
"""Members of a schema that hold no schema, whatever they look like."""


def is_schema(part: Any) -> bool:
    """Whether a part of a schema is one itself, not a dict of schemas by the names of fields: a field may have any
    name, `type` and `metadata` too."""
    return isinstance(part, dict) and isinstance(part.get("type"), str)


def holds_none(part: Any, name: str) -> bool:
    """Whether the member of a part holds no schema."""
    return name in NO_SCHEMAS and is_schema(part)
