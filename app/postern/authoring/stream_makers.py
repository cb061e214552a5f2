"""Which workflows return `Reply.file`, `Reply.stream` or `Reply.events`, as their code shows or a run has shown."""

import dis
import inspect
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any
from weakref import WeakSet

from postern.authoring.reply import Reply

MOST_HELPERS = 100
"""Functions that are looked at for one workflow."""

_MAKERS = frozenset({"file", "stream", "events"})
_MAKER = object()
_seen: "WeakSet[Callable[..., Any]]" = WeakSet()


def makes_streams(function: Callable[..., Any]) -> bool:
    """Whether its code shows it, or a run of it in this process has returned a stream."""
    return function in _seen or shows_streams(function)


def note_stream(function: Callable[..., Any]) -> None:
    """A run of this workflow's function has returned a stream."""
    _seen.add(function)


@lru_cache(maxsize=1024)
def shows_streams(function: Callable[..., Any]) -> bool:
    """Whether its code shows it: the function, or one below its folder that it calls by name, calls a maker."""
    first = inspect.unwrap(function)
    if not isinstance(first, FunctionType):
        return False
    folder = Path(first.__code__.co_filename).parent
    left, looked = [first], set[CodeType]()
    while left and len(looked) < MOST_HELPERS:
        each = left.pop()
        if each.__code__ in looked:
            continue
        looked.add(each.__code__)
        for found in _named(each):
            if found is _MAKER:
                return True
            helper = inspect.unwrap(found) if isinstance(found, FunctionType) else None
            if isinstance(helper, FunctionType) and Path(helper.__code__.co_filename).is_relative_to(folder):
                left.append(helper)
    return False


def _named(function: FunctionType) -> Iterator[Any]:
    """What the code of a function names: `_MAKER` for a maker of streams, and global values."""
    known = function.__globals__
    for code in _codes(function.__code__):
        names = [each.argval for each in dis.get_instructions(code)]
        for owner, name in pairwise([None, *names]):
            if not isinstance(name, str):
                continue
            if name in _MAKERS and isinstance(owner, str) and (owner == "Reply" or known.get(owner) is Reply):
                yield _MAKER
            of = known.get(owner) if isinstance(owner, str) else None
            yield vars(of).get(name) if isinstance(of, ModuleType) else known.get(name)


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from _codes(each)
