"""Logs: the form of a line, what never reaches it, and when it is written."""

import asyncio
import io
import json
import logging
import os
import re
import subprocess
import sys
import threading
import time
from types import MappingProxyType
from typing import Any

import pytest
import structlog
from pydantic import BaseModel

from postern.logs import BufferedSink, configure_logs, flush_logs, write_later
from postern.logs.bounds import MOST_OF_A_LINE
from postern.logs.line_shape import TEXT, LineShape
from tests.logs.in_memory import Log
from tests.table import table

pytestmark = pytest.mark.slow

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJvaWQiOiJwbGFudGVkIn0.c2lnbmF0dXJl-_planted"
PLANTED = "planted-s3cret"
INVISIBLE = ("\u061c", "\u200b", "\u2060", "\ufeff", "\u00ad", "\u3164", "\U000e0041")


@pytest.fixture(autouse=True)
def restored(restored_logs: None) -> None:
    """Logging is global."""


def raise_with(text: str) -> None:
    local_secret = PLANTED
    raise RuntimeError(text + local_secret[:0])


def test_a_json_line():
    """Time in UTC, level, event and logger come first; values keep their types."""
    log = Log("json")
    log.log.bind(run_id="r1").info("run-ended", status=200, ok=True, nothing=None, ratio=float("nan"))
    (line,) = log.lines
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("timestamp"))
    assert line == {
        "level": "info",
        "event": "run-ended",
        "logger": "app.test",
        "run_id": "r1",
        "status": 200,
        "ok": True,
        "nothing": None,
        "ratio": "NaN",
    }


@table("form", ["json", "console"])
@table("nasty", ["\r\n", "\n", "\x1b[2J", "\x00", "\x7f", "\x9b", "\u2028", "\u202e", "\x85", *INVISIBLE])
def test_no_value_breaks_or_forges_a_line(form, nasty):
    """Line breaks and terminal escapes are escaped wherever they stand (CWE-117)."""
    log = Log(form)
    event = f"event{nasty}forged"
    log.log.info(event, **{f"key{nasty}": 1}, value=f"x{nasty}forged", deep={f"k{nasty}": [nasty]})
    logging.getLogger(f"some{nasty}").warning("text%s", nasty)
    raw = log.stream.getvalue()
    assert raw.count(b"\n") == 2
    assert not set(log.text) & (set(nasty) - {"\n", "[", "2", "J"})
    if form == "json":
        assert raw.isascii()
        assert log.lines[0]["event"] == f"event{nasty}forged"


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_traceback_forges_no_line(form):
    """The text of an exception stays within its own record."""
    log = Log(form)
    try:
        raise_with("boom\n2026-01-01T00:00:00Z [info] forged \x1b[2J\u2028x")
    except RuntimeError:
        log.log.exception("failed")
    assert "boom" in log.text
    assert "\x1b" not in log.text
    assert [line for line in log.text.splitlines()[1:] if not line.startswith("    ")] == []


class Sign(BaseModel):
    password: str
    note: str


class Odd:
    """An object that shows a token."""

    def __str__(self):
        return f"Odd({JWT})"


class Broken:
    """An object that cannot be shown."""

    def __str__(self):
        raise RuntimeError(PLANTED)


class Named(str):
    """A text of another type."""

    __slots__ = ()


@table("form", ["json", "console"])
@table(
    "fields",
    [
        {"value": JWT},
        {"value": f"Bearer {JWT}, and more"},
        {"value": f"x=1&token={JWT}&y"},
        {"value": f"\u00feyJ {JWT} \u00fe{JWT}"},
        {"value": "\\u00f" + JWT},
        {"value": JWT.encode()},
        {"value": Named(JWT)},
        {"value": Odd()},
        {"value": Broken()},
        {"value": {"deep": [{"er": (JWT, {JWT: 1})}]}},
        {"value": ValueError(JWT)},
        {"value": JWT.rpartition(".")[0] + "."},
        {"value": f"{JWT}.four.five"},
        {JWT: "as a name"},
        {"authorization": PLANTED},
        {"Authorization": PLANTED},
        {"set-cookie": PLANTED},
        {"client_secret": PLANTED},
        {"db-password": {"x": PLANTED}},
        {"api_key": PLANTED},
        {"X-API-Key": PLANTED},
        {"token": PLANTED},
        {"access_token": PLANTED},
        {"pin_secret": 12345678},
        {"value": {"a": [{"Cookie": PLANTED}]}},
        {"value": MappingProxyType({"Authorization": PLANTED})},
        {"value": [("authorization", PLANTED), (b"cookie", PLANTED.encode())]},
        {"value": Sign(password=PLANTED, note=JWT)},
    ],
    ids=lambda fields: ascii(fields)[:40] if isinstance(fields, dict) else fields,
)
def test_secrets_and_tokens_are_redacted(form, fields):
    """Whatever the place, the type and the form."""
    log = Log(form)
    log.log.info("event", **fields)
    log.log.bind(**fields).warning("bound")
    assert len(log.text.splitlines()) == 2
    for marker in (PLANTED, "planted", "eyJhbGci", "c2lnbmF0", "12345678"):
        assert marker not in log.text
    if form == "json":
        assert [line["event"] for line in log.lines] == ["event", "bound"], "still JSON"


@pytest.mark.parametrize("form", ["json", "console"])
def test_tokens_in_events_exceptions_and_the_standard_library(form):
    """Texts are searched too, with causes and groups of exceptions."""
    log = Log(form)
    log.log.info("got " + JWT)  # noqa: G003 - as an author might
    log.log.info("got %s", JWT)
    logging.getLogger("uvicorn.error").warning("got %s", JWT)
    try:
        try:
            raise_with(f"cause {JWT}")
        except RuntimeError as error:
            raise ExceptionGroup(f"group {JWT}", [ValueError(JWT)]) from error
    except ExceptionGroup as error:
        log.log.exception("failed")
        log.log.error("failed", exc_info=error)  # noqa: TRY400 - this way is tested too
        logging.getLogger("x").exception("failed")
    assert log.text.count("[token]") >= 3 + 3 * 3
    for marker in ("eyJhbGci", "c2lnbmF0", PLANTED):
        assert marker not in log.text, "no token, and no local variable"


def test_what_is_no_token_stays():
    """A text that only begins like a token, and harmless names, are kept."""
    log = Log("json")
    log.log.info("eyJust a word", cursor="eyJuZXh0IjoxfQ==", tokens=3, caller="ada")
    assert log.lines[0]["cursor"] == "eyJuZXh0IjoxfQ=="
    assert (log.lines[0]["event"], log.lines[0]["tokens"], log.lines[0]["caller"]) == ("eyJust a word", 3, "ada")


def test_a_long_hostile_text_is_read_once():
    """Looking for tokens takes time in proportion to the text."""
    log = Log("json")
    log.log.info("x", value="eyJ" * 200_000)
    [value] = [line["value"] for line in log.lines if line["event"] == "x"]
    assert value.startswith("eyJeyJ")


@table(
    "value",
    ["\ud800", {"a": "\ud800"}, b"\xff\xfe", 10**5000, {1, 2}, object, {(1, 2): 3}],
    ids=["surrogate", "deep surrogate", "bytes", "huge", "set", "type", "odd key"],
)
@table("form", ["json", "console"])
def test_odd_values_never_raise(form, value):
    """A log line must not end a request."""
    log = Log(form)
    log.log.info("event", value=value)
    knot: list[object] = []
    knot.append(knot)
    log.log.info("event", value=knot)
    assert len(log.text.splitlines()) == 2


class Evil:
    """A value whose text ends the process."""

    def __str__(self) -> str:
        raise SystemExit(3)


LONG = "x" * 5_000_000
OUTSIZE: dict[str, Any] = {
    "event": lambda log: log.info(LONG),
    "field": lambda log: log.info("event", value=LONG),
    "deep": lambda log: log.info("event", value={"a": [LONG, {"b": LONG}]}),
    "many parts": lambda log: log.info("event", value=list(range(500_000))),
    "many fields": lambda log: log.info("event", **{f"field_{n}": "x" * 1000 for n in range(2000)}),
    "name": lambda log: log.info("event", **{LONG: 1}),
    "number": lambda log: log.info("event", value=10**4000),
    "bytes": lambda log: log.info("event", value=b"x" * 5_000_000),
    "bound": lambda log: log.bind(value=LONG).info("event"),
    "run id": lambda log: log.info("event", run_id=LONG, trace_id=LONG, exception=LONG),
    "library": lambda _: logging.getLogger("another.package").warning("event %s", LONG),
    "logger": lambda _: logging.getLogger(f"some.{LONG[:500_000]}").warning("event"),
    "later": lambda _: write_later(LineShape("event", {"path": TEXT}), 1.0, (LONG,)),
}


@table("form", ["json", "console"])
@table("write", OUTSIZE.values(), ids=OUTSIZE)
def test_a_line_has_a_greatest_length(form: Any, write: Any):
    """Whatever an author or a library logs. What was left out is said."""
    log = Log(form)
    write(log.log)
    flush_logs()
    assert 10 < len(log.stream.getvalue()) < 2 * MOST_OF_A_LINE
    assert "left out" in log.text or "left_out" in log.text or "bits" in log.text


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_traceback_has_a_greatest_length(form: Any):
    """Its calls and the type of the exception stay, and so do the ids that the line is found by."""
    log = Log(form)
    try:
        raise_with(f"first {LONG} last")
    except RuntimeError:
        log.log.exception("failed", run_id="r1", **{f"field_{n}": "x" * 1000 for n in range(100)})
    assert len(log.stream.getvalue()) < 2 * MOST_OF_A_LINE
    for kept in ("in raise_with", "RuntimeError: first", "x last", "r1", "left out"):
        assert kept in log.text


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_value_that_ends_the_process_does_not(form: Any):
    """The line says that it could not be written."""
    log = Log(form)
    log.log.info("event", value=Evil())
    assert len(log.text.splitlines()) == 1


def test_reserved_names_are_not_overwritten():
    """The time and the level of a line cannot be forged."""
    log = Log("json")
    log.log.info("event", level="critical", timestamp="never")
    assert (log.lines[0]["level"], log.lines[0]["level_"], log.lines[0]["timestamp_"]) == ("info", "critical", "never")


def test_levels_and_quiet_loggers():
    """What is below the level is not written, and libraries that write secrets are quiet."""
    log = Log("json", "info")
    log.log.debug("no")
    logging.getLogger("other").debug("no")
    for name in ("azure.core", "httpx2", "httpcore2.connection", "watchfiles.main", "uvicorn.access"):
        logging.getLogger(name).info("no")
    logging.getLogger("azure.identity.aio._internal").error("no")
    logging.getLogger("azure.core").warning("yes")
    logging.getLogger("own").info("yes %s", 1)
    logging.getLogger("other").info("bad %s %s", "arguments")  # noqa: PLE1206 - on purpose
    log.log.warning("yes")
    assert [(line["level"], line["event"]) for line in log.lines] == [
        ("warning", "yes"),
        ("info", "yes 1"),
        ("info", "bad %s %s"),
        ("warning", "yes"),
    ]


def test_a_used_logger_follows_a_new_configuration():
    """Loggers at module level are used before and after."""
    first = Log("json")
    first.log.info("one")
    second = Log("console")
    first.log.info("two")
    assert [line["event"] for line in first.lines] == ["one"]
    assert "two" in second.text


def test_console_has_no_colours_off_a_terminal():
    """Files and pipes get plain text."""
    log = Log("console")
    log.log.info("hello", name="ada")
    assert "\x1b" not in log.text
    assert re.search(r"info.*hello.*name=ada", log.text)


def test_a_text_stream_works_too():
    """A StringIO, as test runners put in place of standard error."""
    stream = io.StringIO()
    configure_logs("json", stream)
    structlog.get_logger().info("über")
    assert json.loads(stream.getvalue())["event"] == "über"


@pytest.mark.anyio
async def test_one_write_a_tick():
    """Inside an event loop lines wait for the end of the tick, and keep their order."""
    writes: list[bytes] = []
    sink = BufferedSink(writes.append)
    for line in (b"a\n", b"b\n", b"c\n"):
        sink.write(line)
    assert writes == []
    await asyncio.sleep(0)
    assert writes == [b"a\nb\nc\n"]
    sink.write(b"d\n")
    sink.flush()
    await asyncio.sleep(0)
    assert writes[1:] == [b"d\n"]


@pytest.mark.anyio
async def test_a_long_tick_is_bounded():
    """A loop that logs without end does not hold everything in memory."""
    writes: list[bytes] = []
    sink = BufferedSink(writes.append)
    for _ in range(2000):
        sink.write(b"x\n")
    assert writes
    await asyncio.sleep(0)
    assert b"".join(writes) == b"x\n" * 2000


def test_lines_of_a_stopped_loop_are_kept():
    """A loop that stops before its flush loses nothing: the next line of the thread brings them along."""
    writes: list[bytes] = []
    sink = BufferedSink(writes.append)
    loop = asyncio.new_event_loop()

    def last():
        sink.write(b"a\n")
        loop.stop()

    loop.call_soon(last)
    loop.run_forever()
    loop.close()
    assert writes == []

    async def next_loop() -> None:
        sink.write(b"b\n")

    asyncio.run(next_loop())
    sink.write(b"c\n")
    assert b"".join(writes) == b"a\nb\nc\n"


@pytest.mark.anyio
async def test_threads_write_whole_lines():
    """Lines of several threads and of a loop are never mixed, and none is lost."""
    stream = io.BytesIO()
    sink = BufferedSink(stream.write)

    def work(name):
        for n in range(300):
            sink.write(f"{name}-{n}-{'x' * 50}\n".encode())

    threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for n in range(300):
        sink.write(f"loop-{n}-{'x' * 50}\n".encode())
        await asyncio.sleep(0)
    for thread in threads:
        thread.join()
    sink.flush()
    lines = stream.getvalue().decode().splitlines()
    assert len(lines) == 1200
    assert all(re.fullmatch(r"\w+-\d+-x{50}", line) for line in lines)
    for name in ("a", "b", "c", "loop"):
        assert [int(line.split("-")[1]) for line in lines if line.startswith(name + "-")] == list(range(300))


def test_a_broken_stream_never_raises():
    """EPIPE and a closed stream lose lines, not requests."""
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb", buffering=0) as stream:
        configure_logs("json", stream)
        os.close(reader)
        structlog.get_logger().info("lost")
    structlog.get_logger().info("lost too")
    closed = io.BytesIO()
    configure_logs("json", closed)
    closed.close()
    structlog.get_logger().info("lost")


@pytest.mark.process
def test_what_waits_is_written_at_exit():
    """A process that ends within a tick has written its last line."""
    program = (
        "import asyncio, structlog\n"
        "from postern.logs import configure_logs\n"
        "configure_logs('json')\n"
        "loop = asyncio.new_event_loop()\n"
        "loop.call_soon(lambda: (structlog.get_logger().info('last'), loop.stop()))\n"
        "loop.run_forever(); loop.close()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert json.loads(done.stderr)["event"] == "last"


@table("before", [0, 20_000, 60_000, 70_000])
@table("secret", ["'password': 'hunter2 {}'", "url //ada:{}", "-----BEGIN PRIVATE KEY-----\n{}"])
def test_a_secret_that_is_cut_in_two_is_not_shown(before: int, secret: str):
    """In an event, a field or an exception: each part of it would have no name."""
    log = Log("json")
    text = "a " * (before // 2) + secret.format("hunter2 " * 4000)
    if "//" in secret:
        text = "a " * (before // 2) + "postgresql://ada:" + "hunter2" * 28 + "@h/db " + "b " * 10_000
    log.log.error(text, field=text, exc_info=ValueError(text))
    assert "hunter2" not in log.text


def test_a_long_text_is_not_read_to_its_end():
    """Looking for secrets in it takes time, and its end is not shown."""

    def work(size: int) -> float:
        log = Log("json")
        began = time.process_time()
        log.log.info("e", value="password=x " * size)
        return time.process_time() - began

    small = min(work(6_000) for _ in range(3))
    assert work(600_000) < 20 * small + 0.05
