"""The JSON object in the body of a request to the API.

A body may arrive slowly: who reads one identifies the caller again after it, because access may have ended meanwhile.
"""

from typing import Any

from starlette.requests import Request

from postern.errors import Problem, problem
from postern.json_parser import parse
from postern.media_types import is_json

MOST_BYTES = 4096


async def sent_json(request: Request, most_bytes: int = MOST_BYTES, *, may_be_empty: bool = False) -> bytes:
    """The body as it was sent, of at most so many bytes. Raises Problem if it is larger, or named as another type. One
    that may be empty needs no type then."""
    named = is_json(request.headers.get("content-type", "").encode("latin-1"))
    if not named and not may_be_empty:
        raise _not_json()
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > most_bytes:
            raise problem("body-too-large", detail=f"The body has at most {most_bytes} bytes.")
    if content and not named:
        raise _not_json()
    return bytes(content)


def _not_json() -> Problem:
    return problem("unsupported-media-type", detail="Send JSON, with the header Content-Type: application/json.")


async def sent_object(request: Request, most_bytes: int = MOST_BYTES) -> dict[str, Any]:
    """The members of the object. Raises Problem. No error repeats what was sent."""
    try:
        found = parse(await sent_json(request, most_bytes))
    except ValueError:
        raise problem("invalid-json") from None
    if not isinstance(found, dict):
        raise problem("invalid-body", detail="The body is not a JSON object.")
    return found
