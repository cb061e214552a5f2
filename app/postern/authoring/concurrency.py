"""Which runs of a workflow may be at the same time: `max_concurrency`, `concurrency_key` and `singleton`."""

import inspect
import json
from collections.abc import Callable
from typing import Any

from postern.authoring.plain import type_name
from postern.authoring.signature import WorkflowFault

MOST_CHARACTERS = 1024
"""Characters of the texts and numbers of a key, together."""
MOST_PARTS = 16
LONGEST_SINGLETON = 24 * 3600.0
"""Seconds that a singleton run may take if it is not durable: its claim in the journal is free after as many."""

KeyFunction = Callable[[Any, Any], Any]

_SHOWN = "lambda caller, body: body.order_id"


class ConcurrencyKeyError(TypeError):
    """What a `concurrency_key` returned is no key. The message never has the value."""


def limits_of(most: int | None, key: Any, *, singleton: bool, stateless: bool) -> dict[str, Any]:
    """The fields of a workflow for these options. Raises WorkflowFault. With a key or as a singleton, one run is the
    default."""
    if not isinstance(singleton, bool):
        raise WorkflowFault(f"singleton={singleton!r}: write True or False")
    if key is not None:
        _check_key(key)
    if singleton and most not in (None, 1):
        raise WorkflowFault(
            f"singleton=True and max_concurrency={most} exclude each other: a singleton has one run at a time, over "
            "all server processes. Leave one of them out"
        )
    if singleton and stateless:
        raise WorkflowFault(
            "singleton=True and stateless=True exclude each other: the server processes agree by the records of runs. "
            "Leave one of them out"
        )
    keyed = singleton or key is not None
    one = 1 if keyed else None
    return {"max_concurrency": most or one, "concurrency_key": key, "singleton": singleton, "keyed": keyed}


def check_singleton_time(timeout: float, *, singleton: bool, durable: bool) -> None:
    """Raise WorkflowFault if a run may take longer than the claim of a singleton holds."""
    if singleton and not durable and timeout > LONGEST_SINGLETON:
        raise WorkflowFault('singleton=True needs a timeout of at most "24h", or durable=True')


def _check_key(key: Any) -> None:
    if not callable(key):
        raise WorkflowFault(f"concurrency_key={key!r} is not a function: write {_SHOWN}")
    if (
        inspect.iscoroutinefunction(key)
        or inspect.iscoroutinefunction(getattr(key, "__call__", None))  # noqa: B004 an object with an `async def` call
        or inspect.isgeneratorfunction(key)
        or inspect.isasyncgenfunction(key)
    ):
        raise WorkflowFault(f"concurrency_key= takes a plain function, without async and yield: write {_SHOWN}")
    try:
        inspect.signature(key).bind(None, None)
    except TypeError as error:
        raise WorkflowFault(
            f"concurrency_key= is called with two arguments, the caller and the body ({error}): write {_SHOWN}"
        ) from None
    except ValueError:  # a function in C that does not say what it takes
        raise WorkflowFault(f"concurrency_key= takes a function of Python: write {_SHOWN}") from None


def key_of(key: KeyFunction, caller: Any, body: Any) -> str:
    """The key of a run as JSON, which is the same for equal keys only. `key` is the author's function, whose errors are
    raised. Raises ConcurrencyKeyError."""
    value = key(caller, body)
    parts = list(tuple.__iter__(value)) if isinstance(value, tuple) else [value]
    if not 1 <= len(parts) <= MOST_PARTS:
        raise ConcurrencyKeyError(f"{place_of(key)} returned a tuple of {len(parts)} parts: return 1 to {MOST_PARTS}")
    plain = [_plain(key, part) for part in parts]
    if sum(map(_size, plain)) > MOST_CHARACTERS:
        raise ConcurrencyKeyError(
            f"{place_of(key)} returned a key that is too long: return at most {MOST_CHARACTERS} characters"
        )
    return json.dumps(plain if isinstance(value, tuple) else plain[0])


def _plain(key: KeyFunction, part: Any) -> str | int:
    """A part as a text or number of Python's own types: those of an author may run code."""
    if isinstance(part, str):
        return str.__str__(part)
    if isinstance(part, int) and not isinstance(part, bool):
        return int.__int__(part)
    if inspect.iscoroutine(part):
        part.close()
    raise ConcurrencyKeyError(f"{place_of(key)} returned {type_name(part)}: return a str, an int, or a tuple of these")


def _size(part: str | int) -> int:
    return len(part) if isinstance(part, str) else part.bit_length() // 3 + 1


def place_of(key: KeyFunction) -> str:
    """Where the function is, for messages."""
    code = getattr(inspect.unwrap(key), "__code__", None)
    return f"concurrency_key ({code.co_filename}:{code.co_firstlineno})" if code is not None else "concurrency_key"
