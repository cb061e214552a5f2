"""The results of steps as checkpoints: JSON, so that a step has one result in every execution."""

import inspect
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any, get_type_hints
from weakref import WeakKeyDictionary

from pydantic import TypeAdapter
from pydantic_core import to_json

from postern.authoring.plain import type_name
from postern.durable.errors_as_values import error_of, value_of

_VALUE = '{"value":'
Adapter = TypeAdapter[Any] | None


class BadResult(TypeError):
    """A result that cannot be kept: the step has run, and its workflow has to be corrected."""


def result_adapter(function: Callable[..., Any]) -> Adapter:
    """What writes and reads the results of a function by its return annotation; None if it has none that says more
    than JSON. To make one takes as long as a short step."""
    try:
        return _KNOWN[function]
    except (KeyError, TypeError):
        adapter = _adapter_of(function)
    with suppress(TypeError):  # nothing can refer to it weakly
        _KNOWN[function] = adapter
    return adapter


_KNOWN: WeakKeyDictionary[Callable[..., Any], Adapter] = WeakKeyDictionary()


def _adapter_of(function: Callable[..., Any]) -> Adapter:
    try:
        hint = get_type_hints(inspect.unwrap(function)).get("return", Any)
    except Exception:  # a name that cannot be resolved here says nothing
        return None
    if hint in (Any, None, type(None)):
        return None
    try:
        return TypeAdapter(hint)
    except Exception:  # pydantic knows no such type: the result has to be plain JSON
        return None


def written(value: Any, adapter: Adapter, most: int, step: str) -> str:
    """The checkpoint of a step that succeeded. If the value is not JSON, does not fit the annotation, or takes more
    than `most` bytes, it is that of an error: the same in each execution, without calling the function again."""
    try:
        content = _plain_json(value) if adapter is None else adapter.dump_json(value, warnings="error")
        _check_size(len(content), most, step)
        if adapter is not None:
            adapter.validate_json(content)
        return f"{_VALUE}{content.decode()}}}"
    except BadResult as error:
        text = str(error)
    except BaseException as error:  # code of the author's types takes part
        text = (
            f"the result of step {step} cannot be kept ({type_name(error)}): return what JSON can hold, and what fits "
            "the function's return annotation"
        )
    return json.dumps({"bad": text})


def failed(error: BaseException, *, secured: bool) -> str:
    """The checkpoint of a step that failed."""
    return json.dumps({"error": value_of(error, secured=secured)})


def read(checkpoint: str, adapter: Adapter) -> Any:
    """The value of a checkpoint. Raises the error of a step that failed, and BadResult for a result that could not be
    kept."""
    if checkpoint.startswith(_VALUE):
        content = checkpoint[len(_VALUE) : -1]
        return json.loads(content) if adapter is None else adapter.validate_json(content)
    found = json.loads(checkpoint)
    if "bad" in found:
        raise BadResult(found["bad"])
    raise error_of(found["error"])


def _check_size(size: int, most: int, step: str) -> None:
    if size > most:
        raise BadResult(
            f"the result of step {step} has {size} bytes of JSON, and POSTERN_MAX_RESULT_BYTES allows {most}: return a "
            "reference to it, such as the name of a stored file"
        )


def _plain_json(value: Any) -> bytes:
    """JSON of plain values only: others would read back as another type."""
    _check_plain(value)
    return to_json(value)


def _check_plain(value: Any) -> None:
    kind = type(value)
    if value is None or kind in (bool, int, float, str):
        return
    if kind is list:
        for each in value:
            _check_plain(each)
    elif kind is dict and all(type(name) is str for name in value):
        for each in value.values():
            _check_plain(each)
    else:
        raise BadResult(
            f"the result of a step has a value of type {_name_of(kind)}: return dict, list, str, numbers, bool or "
            "None, or annotate the function's return type"
        )


def _name_of(kind: type) -> str:
    return str(type.__dict__["__name__"].__get__(kind))
