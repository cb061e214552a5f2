"""Whether a type of pydantic runs code of its author when it validates. Everything else runs in pydantic's own core,
fast enough for the event loop."""

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

_NOT_FOR_VALIDATION = frozenset({"metadata", "serialization", "cls", "schema_type"})
_OWN = ("pydantic.", "pydantic_core.", "builtins.", "collections.", "typing.", "decimal.", "uuid.", "pathlib.")


def runs_code(adapter: TypeAdapter[Any]) -> bool:
    """Whether validation calls functions that are not pydantic's or Python's own: validators, default factories,
    constructors and the like. Unknown functions count."""
    left: list[Any] = [adapter.core_schema]
    while left:
        node = left.pop()
        if isinstance(node, Mapping):
            if node.get("custom_init") or node.get("post_init"):
                return True
            for key, value in node.items():
                if key in _NOT_FOR_VALIDATION:
                    continue
                if callable(value) and (key == "default_factory" or not isinstance(value, type)) and not _own(value):
                    return True
                left.append(value)
        elif isinstance(node, list | tuple):
            left += node
    return False


def _own(function: Any) -> bool:
    return f"{getattr(function, '__module__', None) or type(function).__module__}.".startswith(_OWN)
