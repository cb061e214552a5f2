"""JSON values without secrets."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from pydantic_core import to_json, to_jsonable_python

from postern.redaction.names import is_secret_name
from postern.redaction.texts import REDACTED, without_secret_values, without_tokens
from postern.redaction.unreadable import Unreadable

NAMING = frozenset(
    {"field", "header", "id", "k", "key", "label", "name", "param", "parameter", "property", "question", "variable"}
)
"""Members and attributes that name the value beside them, as in `{"name": "password", "value": "abc"}`."""

_NAMED = frozenset({"answer", "content", "data", "default", "text", "v", "val", "value", "values"})
_COLUMNS = frozenset({"columns", "fields", "header", "headers", "keys"})
_ROWS = frozenset({"data", "rows", "values"})
"""Members of a table: the names of its columns, and its rows, as in `{"columns": ["pin"], "rows": [[1234]]}`."""
_EMPTY: tuple[Any, ...] = (None, "", [], {})


def without_secrets(value: Any) -> Any:
    """A JSON value with values under secret names redacted at any depth, and its texts without theirs. Empty values,
    true and false stay. Raises RecursionError at depths that no JSON parser of this program accepts."""
    if isinstance(value, str):
        return without_secret_values(value)
    if isinstance(value, dict):
        named = _names_secret(value)
        return {
            key: _redacted(part) if is_secret_name(key) or (named and key.lower() in _NAMED) else without_secrets(part)
            for key, part in _without_column_values(value).items()
        }
    if isinstance(value, list):
        if len(value) == 2 and isinstance(value[0], str) and is_secret_name(value[0]):  # a header as a pair
            return [value[0], _redacted(value[1])]
        return [without_secrets(part) for part in _without_columns_below(value)]
    return value


def _names_secret(value: dict[str, Any]) -> bool:
    """Whether it is a pair such as `{"name": "password", "value": "abc"}`."""
    return any(isinstance(part, str) and names_secret(key, part) for key, part in value.items())


def names_secret(key: str, part: str) -> bool:
    """Whether a member or attribute says that the value beside it is a secret. A `type` does only as in HTML."""
    kind = key.lower()
    return (kind in NAMING and is_secret_name(part)) or (kind == "type" and part.lower() == "password")


def _without_column_values(table: dict[str, Any]) -> dict[str, Any]:
    """A table whose columns and rows are members, without the values of secret columns."""
    named = [_secret_places(part) for key, part in table.items() if key.lower() in _COLUMNS]
    if not any(named):
        return table
    places = {place for each in named for place in each}
    return {key: _redacted_cells(part, places) if key.lower() in _ROWS else part for key, part in table.items()}


def _without_columns_below(rows: list[Any]) -> list[Any]:
    """A table whose first row names its columns, without the values of secret ones. A list of pairs is none."""
    places = set(_secret_places(rows[0])) if rows and isinstance(rows[0], list) else set()
    if not places or (places == {0} and len(rows[0]) == 2):
        return rows
    return [rows[0], *_redacted_cells(rows[1:], places)]


def _secret_places(columns: Any) -> list[int]:
    """The places of secrets among the names of columns, which may be objects with a name."""
    if not isinstance(columns, list):
        return []
    names = [each.get("name") if isinstance(each, dict) else each for each in columns]
    return [place for place, name in enumerate(names) if isinstance(name, str) and is_secret_name(name)]


def _redacted_cells(rows: Any, places: set[int]) -> Any:
    if not isinstance(rows, list):
        return rows
    return [
        [_redacted(cell) if place in places else cell for place, cell in enumerate(row)]
        if isinstance(row, list)
        else row
        for row in rows
    ]


def _redacted(value: Any) -> Any:
    return value if isinstance(value, bool) or value in _EMPTY else REDACTED


def written(value: Any) -> Any:
    """A value as JSON, with secrets redacted at any depth. It never raises: a value that cannot be written becomes the
    name of its type."""
    try:
        return without_secrets(to_jsonable_python(value, fallback=_fallback, inf_nan_mode="strings"))
    except Exception:
        return f"<{type(value).__name__}>"  # a value's own methods may raise anything


def _fallback(value: Any) -> Any:
    return dict(value.items()) if isinstance(value, Mapping) else str(value)


def each_text(value: Any, change: Callable[[str], str]) -> Any:
    """A JSON value with every string in it changed, including names."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {change(key): each_text(part, change) for key, part in value.items()}
    if isinstance(value, list):
        return [each_text(part, change) for part in value]
    return value


def json_without_secrets(text: str) -> str:
    """JSON text without secrets; unchanged if there are none. Raises Unreadable for what is no JSON, and for objects
    with one name twice: two readers take two different values of it."""
    try:
        value = json.loads(text, object_pairs_hook=_object)
        clean = without_secrets(value)
        bare = text if clean == value else to_json(clean, inf_nan_mode="constants").decode("utf-8")
        written_text = without_tokens(bare)
    except (ValueError, RecursionError) as error:
        raise Unreadable(type(error).__name__) from None
    return written_text


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise Unreadable("one name twice")
    return made
