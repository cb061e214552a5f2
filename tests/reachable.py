"""What a workflow can get hold of, and what of it can be changed: every object that the public names, members and items
of an object lead to."""

from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping, MutableSequence, MutableSet, Set
from contextlib import suppress
from types import BuiltinFunctionType, FunctionType, MethodType, MethodWrapperType, ModuleType
from typing import Any

_ENDS = (
    *(str, bytes, int, float, bool, type(None), type, ModuleType),
    *(FunctionType, MethodType, BuiltinFunctionType, MethodWrapperType),
)
"""Values that cannot be changed, and code."""

MOST_DEEP = 7

VISITS: list[Callable[..., Awaitable[Any]]] = []
"""What a workflow of a test calls with its arguments, so that the test gets hold of them."""


def reachable(root: object) -> list[tuple[str, object]]:
    """Each object, with one way to it from the root."""
    found: list[tuple[str, object]] = []
    seen: set[int] = set()
    left: list[tuple[str, object, int]] = [("", root, 0)]
    while left:
        way, thing, depth = left.pop(0)
        if id(thing) in seen or isinstance(thing, _ENDS):
            continue
        seen.add(id(thing))
        found.append((way, thing))  # which keeps it alive, so that no other object has its id
        if depth < MOST_DEEP:
            left += [(f"{way}{name}", each, depth + 1) for name, each in _of(thing)]
    return found


def change(thing: object, mark: str) -> list[str]:
    """Change whatever can be changed in it. Returns what could be changed."""
    changed = []
    for name in [*_names(thing), "a_new_name"]:
        with suppress(Exception):
            setattr(thing, name, mark)
            changed.append(name)
    with suppress(Exception):
        if isinstance(thing, MutableMapping):
            thing[mark] = mark
            changed.append("[key]")
        elif isinstance(thing, MutableSequence):
            thing.append(mark)
            changed.append("append")
        elif isinstance(thing, MutableSet):
            thing.add(mark)
            changed.append("add")
    return changed


def _of(thing: object) -> Iterator[tuple[str, object]]:
    for name in _names(thing):
        with suppress(Exception):
            value = getattr(thing, name)
            if value is not getattr(type(thing), name, None):  # a class is code, as its module is
                yield f".{name}", value
    with suppress(Exception):
        if isinstance(thing, Mapping):
            yield from [(f"[{key!r}]", value) for key, value in thing.items()]
        elif isinstance(thing, list | tuple | Set):
            yield from [(f"[{number}]", each) for number, each in enumerate(thing)]


def _names(thing: object) -> list[str]:
    return [name for name in dir(thing) if not name.startswith("_")]
