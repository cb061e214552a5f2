"""The results of steps as checkpoints: JSON, so that a step has one result in every execution."""

import inspect
import json
from collections.abc import Callable
from typing import Any, get_type_hints

from pydantic import TypeAdapter
from pydantic_core import to_json

from postern.authoring.plain import text_of, type_name
from postern.authoring.waits import StepError

MAX_ERROR = 1000
"""Characters of an error's text that are kept."""


class BadResult(TypeError):
    """A result that cannot be kept: the step has run, and its workflow has to be corrected."""


def result_adapter(function: Callable[..., Any]) -> TypeAdapter[Any] | None:
    """What writes and reads the results of a function by its return annotation; None if it has none that says more
    than JSON."""
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


def written(value: Any, adapter: TypeAdapter[Any] | None, most: int, step: str) -> str:
    """The checkpoint of a step that succeeded. Raises BadResult if the value is not JSON, reads back as another value,
    or takes more than `most` bytes."""
    try:
        content = adapter.dump_json(value) if adapter is not None else _plain_json(value)
        text = content.decode()
    except BadResult:
        raise
    except Exception as error:
        raise BadResult(
            f"the result of step {step} cannot be kept ({type_name(error)}): return what JSON can hold, or annotate "
            "the function's return type"
        ) from error
    if len(content) > most:
        raise BadResult(
            f"the result of step {step} has {len(content)} bytes of JSON, and POSTERN_MAX_RESULT_BYTES allows {most}: "
            "return a reference to it, such as the name of a stored file"
        )
    return f'{{"value":{text}}}'


def failed(error: BaseException) -> str:
    """The checkpoint of a step that failed."""
    return json.dumps({"error": [type_name(error), text_of(error)[:MAX_ERROR]]})


def read(checkpoint: str, adapter: TypeAdapter[Any] | None) -> Any:
    """The value of a checkpoint. Raises StepError for a step that failed."""
    found = json.loads(checkpoint)
    if "error" in found:
        raise StepError(*found["error"])
    value = found["value"]
    return value if adapter is None else adapter.validate_json(json.dumps(value))


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
            f"the result of a step has a value of type {type_name_of(kind)}: return dict, list, str, numbers, bool or "
            "None, or annotate the function's return type"
        )


def type_name_of(kind: type) -> str:
    """The name of a class."""
    return str(type.__dict__["__name__"].__get__(kind))
