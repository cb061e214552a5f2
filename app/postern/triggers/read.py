"""The fourth step: read the body within its limits and validate it against the parameters of the workflow's function.

Bytes are counted while they stream, before anything is parsed. An invalid body gets a list of what is wrong and where
(RFC 6901 pointers). The values that were sent are never echoed.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from functools import lru_cache
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from postern.authoring.workflow import Workflow
from postern.errors import Problem, problem
from postern.triggers.exchange import Exchange

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

_MOST_MISTAKES = 50
_RULE_BROKEN = "does not satisfy a rule of this workflow"
_SENTENCES = {
    # Messages of validators that authors write, and of tags, may hold what was sent.
    "value_error": _RULE_BROKEN,
    "assertion_error": _RULE_BROKEN,
    "union_tag_invalid": "has a tag that is none of those expected",
}


class Disconnected(Exception):
    """The client went away before its request was complete."""


def whole_body(exchange: Exchange | None, headers: Mapping[bytes, bytes], limit: int) -> bytes | None:
    """The body if it has arrived already, as most have, or None if it has to be awaited. Raises Problem 413 if it has
    more than `limit` bytes, and 415 if it is compressed."""
    if not _announced(headers, limit):
        return b""
    body = exchange.whole_body() if exchange is not None else None
    if body is not None and len(body) > limit:
        raise _too_large(limit)
    return body


def _announced(headers: Mapping[bytes, bytes], limit: int) -> bool:
    """Whether the headers say that a body comes."""
    if b"content-encoding" in headers and headers[b"content-encoding"].lower() != b"identity":
        raise problem("unsupported-media-type", detail="This server does not accept compressed bodies.")
    declared = headers.get(b"content-length")
    if declared is None:
        if b"transfer-encoding" not in headers:
            return False
    elif not declared.isdigit() or len(declared) > 18:
        raise problem("bad-request", headers={"Connection": "close"})
    elif int(declared) > limit:
        raise _too_large(limit)
    return True


async def read_body(receive: Receive, limit: int) -> bytes:
    """The whole body, at most `limit` bytes, counted as they come. Raises Problem 413, and Disconnected, which also
    covers a body so slow that the server's protocol timed it out."""
    pieces = bytearray()
    message = await receive()
    while message["type"] != "http.disconnect":
        pieces += message.get("body", b"")
        if len(pieces) > limit:
            raise _too_large(limit)
        if not message.get("more_body", False):
            return bytes(pieces)
        message = await receive()
    raise Disconnected


def arguments(
    workflow: Workflow, body: bytes, content_type: bytes | None, path_parameters: Mapping[str, str]
) -> dict[str, Any]:
    """The arguments of the workflow's function, after its context.

    Raises Problem 400 and 415. Raises Problem 500 if an author's validator raises an exception that validators may not
    raise. Its message is dropped, because it may hold what was sent."""
    try:
        return _fitted(workflow, body, content_type, path_parameters)
    except Problem:
        raise
    except BaseException as error:  # SystemExit too: it ends the request, never the server
        reason = f"{type(error).__name__} in a validator of the workflow"
        raise problem("workflow-failed", reason=reason) from None


def _fitted(
    workflow: Workflow, body: bytes, content_type: bytes | None, path_parameters: Mapping[str, str]
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    mistakes: list[dict[str, str]] = []
    for parameter in workflow.path_parameters:
        try:
            found[parameter.name] = parameter.adapter.validate_strings(path_parameters[parameter.name])
        except ValidationError as error:
            mistakes += _mistakes(error, ("path", parameter.name))
    if mistakes:
        raise problem("invalid-path", errors=mistakes)
    parameter_of_body = workflow.body
    if parameter_of_body is None or (not body and not parameter_of_body.required):
        return found
    if parameter_of_body.adapter is not None:
        if not is_json(content_type) and (body or content_type is not None):
            raise problem("unsupported-media-type", headers={"Accept": "application/json"})
        found[parameter_of_body.name] = _typed(parameter_of_body.adapter, body)
    else:
        found[parameter_of_body.name] = _untyped(body) if body and is_json(content_type) else None
    return found


@lru_cache(maxsize=256)
def is_json(content_type: bytes | None) -> bool:
    """Whether a Content-Type names JSON in UTF-8 (RFC 8259, section 11; RFC 6839, section 3.1)."""
    if content_type is None or len(content_type) > 200:
        return False
    media_type, *parameters = (part.strip().lower() for part in content_type.split(b";"))
    charsets = [part.removeprefix(b"charset=").strip(b'"') for part in parameters if part.startswith(b"charset=")]
    named = media_type == b"application/json" or (
        media_type.startswith(b"application/") and media_type.endswith(b"+json")
    )
    return named and all(charset in (b"utf-8", b"us-ascii") for charset in charsets)


def _typed(adapter: TypeAdapter[Any], body: bytes) -> Any:
    try:
        return adapter.validator.validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        if first["type"] == "json_invalid":
            raise _not_json(first["msg"].removeprefix("Invalid JSON: ") if body else "the body is empty") from None
        raise problem("invalid-body", errors=_mistakes(error)) from None


def _untyped(body: bytes) -> Any:
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise _not_json(str(error)) from None


def _not_json(message: str) -> Problem:
    return problem("invalid-json", errors=[{"where": "", "message": message}])


def _mistakes(error: ValidationError, before: Iterable[str] = ()) -> list[dict[str, str]]:
    """What is wrong and where, without the values that were sent."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    return [
        {
            "where": _pointer((*before, *mistake["loc"])),
            "message": _SENTENCES.get(mistake["type"], mistake["msg"]),
        }
        for mistake in found[:_MOST_MISTAKES]
    ]


def _pointer(location: Iterable[int | str]) -> str:
    """A JSON pointer (RFC 6901); a name that the caller made up is cut short."""
    return "".join("/" + str(part)[:64].replace("~", "~0").replace("/", "~1") for part in location)


def _too_large(limit: int) -> Problem:
    return problem("body-too-large", headers={"Connection": "close"}, limit_bytes=limit)
