"""The return annotation of a workflow: its result is validated against it, and only its fields are sent."""

import inspect
import types
import typing
from collections.abc import Awaitable, Coroutine, Iterable
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import or_
from typing import Any

from pydantic import TypeAdapter, ValidationError

from postern.authoring.colliding_keys import Colliding
from postern.authoring.first_mistakes import Stopped, mistakes_in
from postern.authoring.reply import Reply
from postern.authoring.signature import WorkflowFault
from postern.authoring.type_faults import fault_of
from postern.authoring.validators import Validator

_UNCHECKED = (
    Any,
    object,
    None,
    type(None),
    dict,
    list,
    str,
    dict[str, Any],
    dict[Any, Any],
    list[Any],
    typing.NoReturn,
    typing.Never,
)
"""Annotations that say nothing to check, or so little that it is not worth the time."""

_MOST_MISTAKES = 5


class ResultMismatch(TypeError):
    """The result of a workflow does not fit its return annotation."""


class NotAwaited(TypeError):
    """The result of a workflow has a coroutine in it: an `await` is missing."""

    def __init__(self) -> None:
        super().__init__(
            "the result has a coroutine in it: write `await` before the call that made it, in an `async def` workflow"
        )


@dataclass(frozen=True)
class ResultType:
    """A return annotation that results are validated against."""

    adapter: TypeAdapter[Any]

    @cached_property
    def validator(self) -> Validator:
        """Stops at the first mistakes: results may hold what a caller sent."""
        return Validator(self.adapter.core_schema)

    def written(self, value: Any) -> bytes:
        """The value as JSON, with the fields of the annotation only. Raises ResultMismatch without the value."""
        try:
            checked = self.validator.validate_attributes(value)
        except (Stopped, Colliding):
            raise ResultMismatch("the result does not fit the return annotation") from None
        except ValidationError as error:
            mistakes = mistakes_in(error, with_input=True)
            if any(inspect.iscoroutine(mistake["input"]) for mistake in mistakes):
                raise NotAwaited from None
            raise ResultMismatch(_text(mistakes)) from None
        return self.adapter.serializer.to_json(checked, by_alias=True, warnings=False)


def result_type(annotation: Any) -> ResultType | None:
    """What results are validated against. None if nothing is to check: there is no annotation, it allows anything, or
    pydantic cannot validate it. A Reply is never validated."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        rest = [each for each in typing.get_args(annotation) if not _is_reply(each)]
        if any(_is_any(each) for each in rest):
            return None
        annotation = reduce(or_, rest) if rest else Reply
    if _is_unchecked(annotation):
        return None
    try:
        made = ResultType(TypeAdapter(annotation))
        fault = fault_of(made.adapter.core_schema) if made.adapter.pydantic_complete else ""
    except Exception:  # 0.1 took any annotation, and authors' types may raise anything
        return None
    if fault:
        raise WorkflowFault(f"the return annotation takes unlimited time to validate: {fault}")
    return made


def _is_any(annotation: Any) -> bool:
    return annotation is Any or annotation is object


def _is_reply(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Reply)


def _is_unchecked(annotation: Any) -> bool:
    waits = typing.get_origin(annotation) in (Awaitable, Coroutine) or annotation in (Awaitable, Coroutine)
    return waits or _is_reply(annotation) or any(annotation is each or annotation == each for each in _UNCHECKED)


def _text(mistakes: Iterable[Any]) -> str:
    shown = list(mistakes)[:_MOST_MISTAKES]
    places = ["/" + "/".join(str(part)[:64] for part in each["loc"]) if each["loc"] else "" for each in shown]
    texts = [f"{place}: {each['msg']}".removeprefix(": ") for place, each in zip(places, shown, strict=True)]
    return f"the result does not fit the return annotation: {'; '.join(texts)}"
