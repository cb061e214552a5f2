"""Errors of steps and calls as values of JSON: the code of a workflow gets the same error in each execution.

| the step raises | the workflow gets |
|---|---|
| a Problem | a Problem with the same members |
| a CallError, CallMistake, ConsentRequired or SignInRequired | the same |
| an exception of Python's own, made of texts, numbers, bools and None | the same type with the same arguments |
| any other | a StepError with the name of its type and its text |
"""

import builtins
import json
from collections.abc import Callable, Mapping
from typing import Any

from postern.authoring.call_result import CallError, CallMistake
from postern.authoring.consent import ConsentRequired
from postern.authoring.plain import plain_headers, plain_problem, plain_text, text_of
from postern.authoring.sign_in_required import SignInRequired
from postern.authoring.waits import StepError
from postern.errors import Problem
from postern.journal.secured import kept_type

MAX_TEXT = 1000
"""Characters of a text that are kept of an error."""
_PLAIN = (str, int, float, bool, type(None))
_BUILTIN: Mapping[str, type[Exception]] = {
    name: kind
    for name, kind in vars(builtins).items()
    if isinstance(kind, type) and issubclass(kind, Exception) and not issubclass(kind, ExceptionGroup | Warning)
}


def value_of(error: BaseException, *, secured: bool) -> dict[str, Any]:
    """The error as JSON. It never raises, whatever the error's own code does. The type of a secured run's error is the
    one that its record shows."""
    kind = kept_type(error, secured=secured)
    try:
        value = _value_of(error, kind)
        json.dumps(value)
    except BaseException:
        value = {"type": kind, "text": text_of(error)[:MAX_TEXT]}
    return value


def error_of(value: Mapping[str, Any]) -> Exception:
    """The error that `value_of` wrote."""
    if "problem" in value:
        return _problem_of(value["problem"])
    if "call" in value:
        return _call_error_of(value["call"])
    if "args" in value:
        return _BUILTIN[value["type"]](*value["args"])
    return StepError(value["type"], value["text"])


def _value_of(error: BaseException, kind: str) -> dict[str, Any]:
    if isinstance(error, Problem):
        shown = plain_problem(error)
        names = ("status", "detail", "code", "title", "members", "reason")
        headers = plain_headers({name: value for name, value in shown.headers.items() if name != "Connection"})
        return {"problem": {name: getattr(shown, name) for name in names} | {"headers": headers}}
    if isinstance(error, CallError):
        return {"call": _call_error(error)}
    if _BUILTIN.get(kind) is type(error) and len(repr(error.args)) <= MAX_TEXT and _is_plain(error.args):
        return {"type": kind, "args": list(error.args)}
    return {"type": kind, "text": text_of(error)[:MAX_TEXT]}


def _is_plain(values: tuple[Any, ...]) -> bool:
    return all(type(value) in _PLAIN for value in values)


def _problem_of(value: Mapping[str, Any]) -> Problem:
    made = Problem(
        value["status"],
        value["detail"],
        code=value["code"],
        headers=value["headers"],
        members=value["members"],
        reason=value["reason"],
    )
    made.title = value["title"]
    return made


_OWN: Mapping[type[CallError], tuple[str, tuple[str, ...]]] = {
    ConsentRequired: ("consent", ("reason", "connect_path")),
    SignInRequired: ("sign-in", ("claims",)),
    CallMistake: ("mistake", ()),
}
_MAKE: Mapping[str, Callable[..., CallError]] = {name: kind for kind, (name, _) in _OWN.items()}


def _call_error(error: CallError) -> dict[str, Any]:
    """A CallError, without anything that its class has beside Postern's own."""
    base = next((kind for kind in _OWN if isinstance(error, kind)), CallError)
    name, own = _OWN.get(base, ("", ()))
    value: dict[str, Any] = {"kind": name, "trigger": plain_text(error.trigger), "text": text_of(error)}
    if base is not CallError:
        return value | {"own": [plain_text(getattr(error, each)) for each in own]}
    return value | {
        "status": error.status,
        "problem": error.problem,
        "run_id": plain_text(error.run_id),
        "headers": {plain_text(each): plain_text(value) for each, value in error.headers.items()},
        "ran": bool(error.ran),
        "sent": bool(error.sent),
        "final": bool(error.final),
    }


def _call_error_of(value: Mapping[str, Any]) -> CallError:
    if value["kind"]:
        return _MAKE[value["kind"]](value["trigger"], value["text"], *value["own"])
    names = ("status", "problem", "run_id", "headers", "ran", "sent", "final")
    return CallError(value["trigger"], value["text"], **{name: value[name] for name in names})
