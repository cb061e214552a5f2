"""What an author does about an exception of a workflow whose text does not say so. It is a note of the exception (PEP
678), so it stands below the traceback wherever that is shown: in the terminal of `postern dev` and on the record."""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from pydantic_core import PydanticSerializationError

from postern.authoring.context import Context
from postern.authoring.plain import text_of
from postern.authoring.result import NotAwaited, ResultMismatch
from postern.authoring.workflow import Workflow
from postern.near_names import near

_JSON = "return what JSON can hold: a dict, a list, a text, a number, a pydantic model or a dataclass"
_RESULTS: Mapping[str, str] = {
    "coroutine": "write `await` before the call that made it",
    "Problem": "write `raise Problem(...)` in place of `return Problem(...)`",
    "Error|Exception": "raise an exception, and return what the caller gets",
    "Answer|Response": "write `return response.json()`, or `Reply(response.status_code, response.content)`",
    "Client": "write `await ctx.connection(...).get(...)`, and return its `.json()`",
    "function|method|type": "call the function, and return its result",
}
"""Types that are no JSON, by the end of their names, and what to return instead."""


def note_hint(error: BaseException, workflow: Workflow) -> None:
    """Add the note, with the place where the exception itself has none in the author's file."""
    with suppress(BaseException):  # an author's exception may refuse notes, in whatever way
        if hint := hint_of(error, workflow):
            error.add_note(f"fix: {hint}")


def hint_of(error: BaseException, workflow: Workflow) -> str:
    """What to do; "" if the text says so, or nothing is known."""
    text = text_of(error)
    if isinstance(error, NotAwaited | ResultMismatch | PydanticSerializationError):
        return f"{_of_result(error, text)}. It is the result of {_place(workflow)}"
    return next((hint(found, workflow) for pattern, hint in _TEXTS.items() if (found := pattern.search(text))), "")


def _of_result(error: BaseException, text: str) -> str:
    if isinstance(error, ResultMismatch):
        return "return what the return annotation says, or change the annotation"
    if isinstance(error, NotAwaited):
        return "write `await` before the call, in an `async def`"
    if "Circular reference" in text:
        return "return a value that does not contain itself"
    if "utf-8" in text:
        return 'return bytes as `Reply(200, data, {"Content-Type": "..."})`'
    kind = re.search(r"unknown type: <class '(?:.*\.)?(\w+)'>", text)
    known = (hint for end, hint in _RESULTS.items() if kind and re.search(f"({end})$", kind[1]))
    return next(known, _JSON)


def _await(_: re.Match[str], workflow: Workflow) -> str:
    begin = "write `await` before the call that made the coroutine"
    return begin if workflow.is_async else f"{begin}, and `async def` in place of `def` for {_place(workflow)}"


def _of_context(found: re.Match[str], workflow: Workflow) -> str:
    name = found[1]
    if name in ("body", "json", "data", "form"):
        return f"the body is the second parameter: write `{workflow.function.__name__}(ctx: Context, {name}: dict)`"
    if name in ("headers", "query", "method", "path", "cookies"):
        return f"write `ctx.request.{name}`" if name != "cookies" else 'write `ctx.request.headers["cookie"]`'
    known = [each for each in dir(Context) if not each.startswith("_")]
    meant = near(name, known)
    return f"write `ctx.{meant}`" if meant else f"the context has {', '.join(known)}"


def _place(workflow: Workflow) -> str:
    code: Any = workflow.function.__code__
    return f"{code.co_name}() at {code.co_filename}:{workflow.line}"


_TEXTS: Mapping[re.Pattern[str], Callable[[re.Match[str], Workflow], str]] = {
    re.compile(r"(?:^|[^\w])'?coroutine'?( object)?( has no| is not|$)"): _await,
    re.compile(r"can't be used in 'await' expression"): lambda *_: "leave out `await`: what follows it is no coroutine",
    re.compile(r"asyncio\.run\(\) cannot be called"): lambda *_: "write `await ...` in place of `asyncio.run(...)`",
    re.compile(r"^'Context' object has no attribute '(\w+)'"): _of_context,
    re.compile(r"does not support the (asynchronous )?context manager protocol"): lambda found, _: (
        "write `with` in place of `async with`" if found[1] else "write `async with` in place of `with`"
    ),
}
"""Texts of exceptions, and what to do."""
