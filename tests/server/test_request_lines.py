"""The line that each request leaves in the log of `postern dev`."""

from pathlib import Path
from typing import Any, ClassVar

import pytest
import structlog
from structlog.testing import capture_logs

from postern.catalog import Fault
from postern.server.request_lines import RequestLines
from postern.triggers.exchange import EXCHANGE

pytestmark = pytest.mark.anyio


async def line_of(answer: list[dict[str, Any]], **scope: Any) -> dict[str, Any]:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert EXCHANGE not in scope
        for message in answer:
            await send(message)

    async def send(message: Any) -> None:
        seen.append(message)

    whole = {"type": "http", "method": "POST", "raw_path": b"/triggers/a", "query_string": b"", EXCHANGE: None, **scope}
    with capture_logs() as logs:
        await RequestLines(app, structlog.get_logger("test"))(whole, None, send)
    assert seen == answer
    (line,) = logs
    assert line.pop("duration_ms") >= 0
    return dict(line)


async def test_it_has_method_url_status_and_run():
    start = {"type": "http.response.start", "status": 201, "headers": [(b"x-run-id", b"0198")]}
    line = await line_of([start, {"type": "http.response.body"}], raw_path=b"/triggers/%61", query_string=b"a=1&sig=x")
    assert line == {
        "event": "request",
        "log_level": "info",
        "method": "POST",
        "url": "/triggers/%61?a=1&sig=%5Bredacted%5D",
        "status": 201,
        "run_id": "0198",
    }


@pytest.mark.parametrize(
    ("path", "query", "url"),
    [
        (b"/console/callback", b"code=marker&state=marker", "/console/callback"),
        (b"/connect/tickets/callback", b"code=marker&iss=marker", "/connect/tickets/callback"),
        (b"/connect/triggers.pay/callback", b"code=marker", "/connect/triggers.pay/callback"),
        (b"/base/connect/tickets/callback/", b"code=marker", "/base/connect/tickets/callback/"),
        (b"/connect/tickets/invitation/marker", b"", "/connect/tickets/invitation/..."),
        (b"/base/connect/tickets/invitation/marker%0A/marker", b"", "/base/connect/tickets/invitation/..."),
        (b"/connect/tickets", b"return_to=/connect", "/connect/tickets?return_to=/connect"),
    ],
)
async def test_no_line_has_a_code_or_the_secret_of_a_link(path: bytes, query: bytes, url: str):
    line = await line_of([], method="GET", raw_path=path, query_string=query)
    assert line["url"] == url


async def test_what_ends_a_stream_is_passed_on_and_every_answer_is_seen():
    class Wire:
        fields = None
        done: ClassVar[list[str]] = []

        def digest(self, authorization: bytes) -> bytes:
            return authorization

        def whole_body(self) -> bytes:
            return b"body"

        def answer_at_once(self, *_: Any) -> bool:
            raise AssertionError

        def unframed(self) -> None:
            self.done.append("unframed")

        def cut_off(self) -> None:
            self.done.append("cut off")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        exchange = scope[EXCHANGE]
        assert (exchange.fields, exchange.whole_body()) == (None, b"body")
        assert exchange.answer_at_once(200, b"", b"") is False
        exchange.unframed()
        exchange.cut_off()

    scope = {"type": "http", "method": "GET", "raw_path": b"/", "query_string": b"", EXCHANGE: Wire()}
    await RequestLines(app, structlog.get_logger("test"))(scope, None, None)
    assert Wire.done == ["unframed", "cut off"]


async def test_a_request_without_a_response_has_a_line_too():
    assert (await line_of([]))["status"] is None


async def test_a_failure_of_the_application_has_a_line_and_goes_on():
    async def fails(*_: Any) -> None:
        raise RuntimeError

    scope = {"type": "http", "method": "GET", "raw_path": b"/", "query_string": b""}
    with capture_logs() as logs, pytest.raises(RuntimeError):
        await RequestLines(fails, structlog.get_logger("test"))(scope, None, None)
    assert [line["event"] for line in logs] == ["request"]


async def test_the_lifespan_is_passed_on():
    called: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        called.append(scope["type"])

    await RequestLines(app, structlog.get_logger("test"))({"type": "lifespan"}, None, None)
    assert called == ["lifespan"]


def fault(file: str, line: int | None) -> Fault:
    return Fault(Path(file), line, "cause", "fix", ())


@pytest.mark.parametrize(
    ("faults", "path", "fix"),
    [
        ((), b"/triggers/helo", "call /triggers/hello, or rename the function"),
        ((), b"/triggers/other/x", "write a function with @workflow, whose name is the trigger's with _ in place of -"),
        (
            (fault("a.py", 3), fault("b.py", None)),
            b"/triggers/helo",
            "workflow-fault in this log, or `postern check`, says why these files have no workflow: a.py:3, b.py",
        ),
        ((), b"/runs/helo", None),
    ],
)
async def test_a_404_names_the_workflow_that_was_meant_or_the_files_with_faults(faults: Any, path: bytes, fix: str):
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 404, "headers": []})

    async def send(message: Any) -> None: ...

    triggers: Any = {"hello": None}
    scope = {"type": "http", "method": "POST", "raw_path": path, "query_string": b"", EXCHANGE: None}
    with capture_logs() as logs:
        lines = RequestLines(app, structlog.get_logger("test"), lambda: triggers, lambda: faults)
        await lines(scope, None, send)
    assert logs[0].get("fix") == fix
