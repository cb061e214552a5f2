"""The reply of a trigger as the result of a tool's call. Pure.

Source: Model Context Protocol, revision 2026-07-28, "Tools", CallToolResult.
"""

from typing import Any

from pydantic_core import to_json

from postern.errors import Problem
from postern.json_parser import parse
from postern.media_types import is_json

Json = dict[str, Any]

RUN_ID = "postern/run-id"
"""The member of `_meta` that has the id of the run."""
RESULT = "result"
"""The member that has a result which is no object."""

_NONE = b"null"
_NOT_JSON = object()


def tool_result(
    status: int,
    content_type: str,
    body: bytes,
    run_id: str | None,
    *,
    has_output_schema: bool,
    result_url: str,
) -> Json:
    """The members of CallToolResult for a reply of a trigger. JSON is `structuredContent`, and as text too. Other text
    is text alone. Anything else is a link to `result_url`, where the caller reads the recorded reply. A status from 400
    on is an error, with the reply as text, so that the agent can see what to do."""
    if status >= 400:
        return _result(_texts(body.decode("utf-8", "replace")), run_id, error=True)
    value = _json(content_type, body)
    if value is not _NOT_JSON:
        text = (body or _NONE).decode()
        if isinstance(value, dict):
            return _result(_texts(text), run_id, structured=value)
        return _result(_texts(f'{{"{RESULT}":{text}}}'), run_id, structured={RESULT: value})
    if has_output_schema:
        return _result(_texts("The reply is not of the tool's output schema: it is not JSON."), run_id, error=True)
    if content_type.lower().startswith("text/"):
        return _result(_texts(body.decode(_charset(content_type), "replace")), run_id)
    if run_id is None:
        kept = "it is not recorded, so there is no link to it"
        return _result(
            _texts(f"The result is {content_type or 'binary'}, {len(body)} bytes: {kept}."), run_id, error=True
        )
    link = {"type": "resource_link", "uri": result_url, "name": RESULT, "size": len(body)}
    media_type = content_type.partition(";")[0].strip()
    return _result([{**link, "mimeType": media_type} if media_type else link], run_id)


def problem_result(shown: Problem, request_id: str, run_id: str | None = None) -> Json:
    """The same for a problem: its document (RFC 9457) as text."""
    document = to_json(shown.document(request_id, run_id or ""), serialize_unknown=True)
    return _result(_texts(document.decode()), run_id, error=True)


def _result(content: list[Json], run_id: str | None, *, structured: Json | None = None, error: bool = False) -> Json:
    made: Json = {"content": content, "isError": error}
    if structured is not None:
        made["structuredContent"] = structured
    if run_id:
        made["_meta"] = {RUN_ID: run_id}
    return made


def _texts(text: str) -> list[Json]:
    return [{"type": "text", "text": text}]


def _json(content_type: str, body: bytes) -> Any:
    """The value of a body that is JSON; of an empty one null."""
    if not body:
        return None
    if not is_json(content_type.encode("latin-1", "replace")):
        return _NOT_JSON
    try:
        body.decode()
        return parse(body)
    except ValueError:
        return _NOT_JSON


def _charset(content_type: str) -> str:
    named = content_type.lower().partition("charset=")[2].partition(";")[0].strip(' "')
    try:
        "".encode(named or "utf-8")
    except (LookupError, ValueError):
        return "utf-8"
    return named or "utf-8"
