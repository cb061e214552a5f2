"""How a file is sent, whole or in parts (RFC 9110, section 14). Starlette reads the ranges and sends the file; what it
says of ranges that cannot be sent is said here as everywhere else."""

from contextlib import suppress
from typing import Any

from pydantic_core import to_json
from starlette.responses import FileResponse

from postern.errors import Problem, header_lines, problem
from postern.runs.outcomes import PROBLEM_JSON
from postern.runs.streaming import WholeFile
from postern.triggers.reply import Answer, Receive, Send
from postern.triggers.secure_transport import Scope

MALFORMED, UNSATISFIABLE = 400, 416
"""The statuses of Starlette's own replies, of a file whose status is 200."""


async def send_file(file: WholeFile, run_id: str, scope: Scope, receive: Receive, send: Send) -> None:
    """Send the file, or the parts of it that the request names. A range that is not valid, or of another unit than
    bytes, is ignored (section 14.2). One that is not in the file gets 416 `range-not-satisfiable`."""
    given = dict(file.headers)
    kind = given.pop(b"content-type", b"").decode("latin-1")
    response = FileResponse(
        file.path,
        status_code=file.status,
        media_type=kind or None,
        filename=file.filename or None,
        stat_result=file.stat,
    )
    response.raw_headers += [field for field in file.headers if field[0] != b"content-type"]
    try:
        await _sent(response, scope, receive, send)
    except _NoRange as refused:
        if refused.status == UNSATISFIABLE:
            size = {"Content-Range": f"bytes */{file.stat.st_size}"}
            await _problem(problem("range-not-satisfiable", headers=size), run_id).send(
                send, head=scope["method"] == "HEAD"
            )
        else:
            await _sent(response, {**scope, "headers": _without_range(scope)}, receive, send)


def _problem(shown: Problem, run_id: str) -> Answer:
    """The answer that shows a problem. Who sends it adds the header fields of all replies."""
    content = to_json(shown.document(run_id, run_id))
    length = (b"content-length", str(len(content)).encode())
    return Answer(shown.status, [PROBLEM_JSON, *header_lines(shown.headers), length], content)


async def _sent(response: FileResponse, scope: Scope, receive: Receive, send: Send) -> None:
    with suppress(_Whole):
        await response(scope, receive, _Exact(response.status_code, send).send)


def _without_range(scope: Scope) -> list[tuple[bytes, bytes]]:
    return [field for field in scope["headers"] if field[0] != b"range"]


class _Whole(Exception):
    """As much was sent as was announced."""


class _NoRange(Exception):
    """The request's range cannot be sent. Nothing was sent."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class _Exact:
    """Sends what Content-Length says, of a file that grows meanwhile. Raises _NoRange in place of a reply that is not
    the file's."""

    def __init__(self, status: int, send: Send) -> None:
        self._status = status
        self._send = send
        self._left = 0

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            if message["status"] in (MALFORMED, UNSATISFIABLE) and message["status"] != self._status:
                raise _NoRange(message["status"])
            self._left = int(dict(message["headers"]).get(b"content-length", 0))
        elif len(body := message.get("body", b"")) > self._left or (message.get("more_body") and not self._left):
            await self._send({**message, "body": body[: self._left], "more_body": False})
            raise _Whole
        else:
            self._left -= len(body)
        await self._send(message)
