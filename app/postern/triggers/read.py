"""The fourth step: read the body within its limits and validate it against the parameters of the workflow's function.

Bytes are counted while they stream, before anything is parsed. An invalid body gets a list of what is wrong and where
(RFC 6901 pointers). The values that were sent are never echoed.
"""

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from pydantic import ValidationError

from postern.authoring.colliding_keys import Colliding
from postern.authoring.first_mistakes import mistakes_in
from postern.authoring.form_type import FormType
from postern.authoring.json_in_texts import TooManyElements, most_elements
from postern.authoring.sent_form import SentForm
from postern.authoring.signature import BodyParameter
from postern.authoring.validators import Validators
from postern.authoring.workflow import Workflow
from postern.elements import has_more_elements
from postern.errors import Problem, problem
from postern.journal.secured import kept_type
from postern.media_types import is_json, is_plain, is_utf8
from postern.trace import SECURED
from postern.triggers.exchange import Exchange
from postern.triggers.json_body import not_json, read_typed, read_untyped
from postern.triggers.parameters import HeaderLines, read_parameters

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

_CONTENT_TYPE = re.compile(
    rb"[a-z]{1,20}/[\w.+-]{1,60}(?![^\s;])(\s*;\s*charset=\"?[\w-]{1,20}\"?)?", re.IGNORECASE | re.ASCII
)
"""What is repeated of a Content-Type: the media type and a charset, so that nothing else that was sent is echoed."""
_BEGINS_AS_JSON = re.compile(rb"(?:\xef\xbb\xbf)?[ \t\r\n]*[{\[]")

_MOST_MISTAKES = 50
_RULE_BROKEN = "does not satisfy a rule of this workflow"
_COLLIDING = "has many numbers with the same hash in a set or as names"
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
    if b"content-encoding" in headers and headers[b"content-encoding"].lower() != b"identity":
        raise problem("unsupported-media-type", detail="This server does not accept compressed bodies.")
    declared = headers.get(b"content-length")
    if declared is None:
        if b"transfer-encoding" not in headers:
            return b""
    elif not declared.isdigit() or len(declared) > 18:
        raise problem("bad-request", headers={"Connection": "close"})
    elif int(declared) > limit:
        raise _too_large(limit)
    body = exchange.whole_body() if exchange is not None else None
    if body is not None and len(body) > limit:
        raise _too_large(limit)
    return body


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


async def pieces_of(receive: Receive, limit: int) -> AsyncGenerator[bytes, None]:
    """The body as it comes, at most `limit` bytes. Raises Problem 413, and Disconnected."""
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        piece: bytes = message.get("body", b"")
        size += len(piece)
        if size > limit:
            raise _too_large(limit)
        more = message.get("more_body", False)
        if piece:
            yield piece


async def once(body: bytes) -> AsyncGenerator[bytes, None]:
    """A body that has arrived."""
    if body:
        yield body


def arguments(
    workflow: Workflow,
    body: bytes,
    content_type: bytes | None,
    path_parameters: Mapping[str, str],
    query: bytes = b"",
    headers: HeaderLines = (),
    form: SentForm | None = None,
) -> dict[str, Any]:
    """The arguments of the workflow's function, after its context. `form` is the body if it was read as a form already.

    Raises Problem 400, 413 and 415. Raises Problem 500 if an author's validator raises an exception that validators may
    not raise. That is its cause, for `postern dev` alone: its message may hold what was sent."""
    try:
        if workflow.secure_inputs or workflow.secure_outputs:
            return _unheard(partial(_given, workflow, body, content_type, path_parameters, query, headers, form))
        return _given(workflow, body, content_type, path_parameters, query, headers, form)
    except Problem:
        raise
    except BaseException as error:  # SystemExit too: it ends the request, never the server
        reason = f"{kept_type(error, secured=workflow.secures)} in a validator of the workflow"
        raise problem("workflow-failed", reason=reason) from error


def _unheard(given: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The same for a secured workflow: what its validators print and log is not written anywhere."""
    before = SECURED.set(True)
    try:
        return given()
    finally:
        SECURED.reset(before)


def _given(
    workflow: Workflow,
    body: bytes,
    content_type: bytes | None,
    path_parameters: Mapping[str, str],
    query: bytes,
    headers: HeaderLines,
    form: SentForm | None,
) -> dict[str, Any]:
    found = _of_path(workflow, path_parameters) if workflow.path_parameters else {}
    if workflow.parameters:
        _add_parameters(workflow, query, headers, found)
    if workflow.form is not None:
        return found | _of_form(workflow, workflow.form, body, content_type, form)
    parameter = workflow.body
    if parameter is None or not (body or parameter.required):
        return found
    given = _of_body(parameter, body, content_type, workflow.max_elements)
    return found | given if found else given


def _of_path(workflow: Workflow, path_parameters: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    mistakes: list[dict[str, str]] = []
    for parameter in workflow.path_parameters:
        if parameter.name not in path_parameters:  # the server itself starts the run: the default stands for it
            continue
        try:
            text: Any = path_parameters[parameter.name]
            found[parameter.name] = parameter.validators.usual.validate_strings(text)
        except ValidationError as error:
            mistakes += _mistakes(error, ("path", parameter.name))
    if mistakes:
        raise problem("invalid-path", errors=mistakes)
    return found


def _add_parameters(workflow: Workflow, query: bytes, headers: HeaderLines, found: dict[str, Any]) -> None:
    """Add the values of the query and the header. Those of the query are looked at first."""
    mistakes: dict[str, list[dict[str, str]]] = {"query": [], "header": []}
    try:
        for parameter, error in read_parameters(workflow.parameters, query, headers, found):
            where = (parameter.place, parameter.sent)
            named = [{"where": _pointer(where), "message": str(error)}]
            mistakes[parameter.place] += named if isinstance(error, str) else _mistakes(error, where)
    except Colliding:
        raise problem("invalid-query", errors=[{"where": "/query", "message": _COLLIDING}]) from None
    for place, wrong in mistakes.items():
        if wrong:
            raise problem(f"invalid-{place}", errors=wrong[:_MOST_MISTAKES])


def _of_form(
    workflow: Workflow, form: FormType, body: bytes, content_type: bytes | None, sent: SentForm | None
) -> dict[str, Any]:
    """The argument that a form is. Nothing if no body was sent, and the parameter has a default."""
    from postern.triggers.forms import form_in, values_of

    parameter = workflow.body
    if parameter is None or parameter.validators is None:
        raise RuntimeError("a form has a parameter and a type")
    if sent is None and not body and not parameter.required and content_type is None:
        return {}
    sent = sent or form_in(form, content_type, body)
    try:
        return {parameter.name: parameter.validators.usual.validate_values(values_of(form, sent))}
    except Colliding:
        raise problem("invalid-body", errors=[{"where": "", "message": _COLLIDING}]) from None
    except ValidationError as error:
        raise problem("invalid-body", errors=_mistakes(error)) from None


def _not_called_json(content_type: bytes | None) -> Problem:
    """What came, and what to send. `curl -d` names a form if it is not told otherwise."""
    found = None if content_type is None else _CONTENT_TYPE.match(content_type[:200])
    came = "has no Content-Type" if content_type is None else "has another Content-Type"
    if found:
        came = f"has the Content-Type {found[0].decode('ascii')}"
    return problem(
        "unsupported-media-type",
        detail=f"This trigger accepts JSON in UTF-8 only, and the request {came}. "
        "Send the header Content-Type: application/json.",
        headers={"Accept": "application/json"},
    )


def _of_body(parameter: BodyParameter, body: bytes, content_type: bytes | None, most: int) -> dict[str, Any]:
    """The argument that the body is. Nothing if the body is not JSON, is not called JSON, and the untyped parameter has
    a default that stands for it."""
    validators = parameter.validators
    if not body and validators is None:
        return {parameter.name: None}
    if validators is not None or parameter.required or is_json(content_type):
        if not _is_to_be_read(body, content_type):
            raise _not_called_json(content_type)
        if len(body) > most:
            _check_elements(body, most)
            with _counted(most):
                return {parameter.name: read_untyped(body) if validators is None else _typed(validators, body)}
        return {parameter.name: read_untyped(body) if validators is None else _typed(validators, body)}
    if not _is_to_be_read(body, content_type):
        return {}
    _check_elements(body, most)
    try:
        return {parameter.name: read_untyped(body)}
    except Problem:
        return {}


def _check_elements(body: bytes, most: int) -> None:
    if has_more_elements(body, most):
        raise _too_many(most)


@contextmanager
def _counted(most: int) -> Iterator[None]:
    """Count the elements of JSON in texts too."""
    try:
        with most_elements(most):
            yield
    except TooManyElements:
        raise _too_many(most) from None


def _too_many(most: int) -> Problem:
    return problem(
        "too-many-elements",
        detail=f"The body has more than {most} elements, the limit of this trigger. Send it in parts. "
        "The workflow's author can raise the limit with the option max_elements.",
        limit_elements=most,
    )


def _is_to_be_read(body: bytes, content_type: bytes | None) -> bool:
    """Whether a body is parsed: it is called JSON in UTF-8, or its type leaves open what it is and it begins as JSON
    objects and arrays do (Amazon SNS sends them as text/plain). An empty body without a type is invalid JSON."""
    if is_json(content_type):
        return is_utf8(content_type)
    if not body:
        return content_type is None
    return is_plain(content_type) and is_utf8(content_type) and _BEGINS_AS_JSON.match(body) is not None


def _typed(validators: Validators, body: bytes) -> Any:
    try:
        return read_typed(validators, body)
    except Colliding:
        raise problem("invalid-body", errors=[{"where": "", "message": _COLLIDING}]) from None
    except ValidationError as error:
        first = mistakes_in(error)[0]
        if first["type"] == "json_invalid":
            raise not_json(first["msg"].removeprefix("Invalid JSON: ") if body else "the body is empty") from None
        raise problem("invalid-body", errors=_mistakes(error)) from None


def _mistakes(error: ValidationError, before: Iterable[str] = ()) -> list[dict[str, str]]:
    """What is wrong and where, without the values that were sent."""
    return [
        {
            "where": _pointer((*before, *mistake["loc"])),
            "message": _SENTENCES.get(mistake["type"], mistake["msg"]),
        }
        for mistake in mistakes_in(error)[:_MOST_MISTAKES]
    ]


def _pointer(location: Iterable[int | str]) -> str:
    """A JSON pointer (RFC 6901); a name that the caller made up is cut short."""
    return "".join("/" + str(part)[:64].replace("~", "~0").replace("/", "~1") for part in location)


def _too_large(limit: int) -> Problem:
    return problem("body-too-large", headers={"Connection": "close"}, limit_bytes=limit)
