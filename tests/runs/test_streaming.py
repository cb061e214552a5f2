"""Replies that are sent while their run goes on, without a server: what a run records of them, and how they end."""

import asyncio
from collections.abc import AsyncIterator
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import from_json

from postern import Context, Event, Reply, Request, anonymous, workflow
from postern.access import ANYONE, StartedBy
from postern.authoring.context import Services
from postern.authoring.stream_makers import makes_streams
from postern.authoring.streams import event_text, piece
from postern.errors import Problem
from postern.journal.run import Run, State
from postern.runs import streaming
from postern.runs.apart import apart
from postern.runs.outcomes import StreamOfAcceptedRun, StreamOfDurableRun, whole
from postern.runs.runner import Abandoned, Runner
from postern.runs.streaming import found_file
from tests.runs.records import Records

REQUEST = Request("POST", "/triggers/x")


class Writes(Records):
    async def write(self, operation: Any, undo: Any = None) -> Any:
        return None

    def write_soon(self, operation: Any) -> None: ...

    def end(self, run: Run, along: Any = None) -> Any:
        self.ended.append(run)
        written = asyncio.get_running_loop().create_future()
        written.set_result(None)
        return written


@pytest.fixture
def records() -> Writes:
    return Writes()


@pytest.fixture
def runner(records: Writes) -> Any:
    def nothing(*_: Any) -> Any:
        raise LookupError

    made = Runner(Services(nothing, nothing, structlog.get_logger("test")), records, lambda run: None)
    yield made
    made.close()


async def pieces(ended: list[str]) -> AsyncIterator[str]:
    try:
        yield "a"
        yield "bc"
    finally:
        ended.append("ended")


@pytest.mark.anyio
async def test_what_nobody_reads_runs_to_its_end_all_the_same(runner: Runner, records: Writes):
    ended: list[str] = []

    @workflow
    async def made(ctx: Context) -> Reply:
        return Reply.stream(pieces(ended))

    run = await runner.start(made, ANYONE, REQUEST, {}, "run-1")
    assert (run.outcome.state, from_json(run.outcome.content)) == (State.SUCCEEDED, {"bytes": 3, "ended": "complete"})
    again = await apart(runner.start)(made, ANYONE, REQUEST, {}, "run-2", None, "", "", StartedBy.UNKNOWN)
    assert from_json(again.outcome.content)["bytes"] == 3
    assert ended == ["ended", "ended"]
    assert records.ended == [run, again]


@pytest.mark.anyio
@pytest.mark.parametrize("begins", ["before", "after"])
async def test_a_stop_ends_streams_of_events_when_it_begins_and_says_why(
    runner: Runner, records: Writes, begins: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(streaming, "LOOK_AGAIN", 0.01)
    ended: list[str] = []
    sent = asyncio.Event()

    async def endless() -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            ended.append("ended")

    @workflow
    async def made(ctx: Context) -> Reply:
        return Reply.events(endless())

    async def late(run: Run | Problem) -> None:
        assert isinstance(run, Run)
        run.sending.head_sent = True
        while (found := await run.sending.next()) is not None:
            run.sending.sent += len(found)
            sent.set()

    if begins == "after":
        runner.end_events()
    running = asyncio.create_task(runner.start(made, ANYONE, REQUEST, {}, "run-1", None, late))
    await sent.wait()
    if begins == "before":
        runner.end_events()
    with pytest.raises(Abandoned):
        await running
    (run,) = records.ended
    assert run.outcome.state is State.INTERRUPTED
    assert run.outcome.error_type == "shutting-down"
    assert from_json(run.outcome.content) == {"bytes": 9, "ended": "shutting-down"}
    assert ended == ["ended"]
    runner.drain()


@pytest.mark.anyio
async def test_a_cancelled_run_says_so_on_its_record(runner: Runner, records: Writes):
    begun = asyncio.Event()

    async def endless() -> AsyncIterator[str]:
        yield "a"
        begun.set()
        await asyncio.Event().wait()

    @workflow
    async def made(ctx: Context) -> Reply:
        return Reply.stream(endless())

    running = asyncio.create_task(runner.start(made, ANYONE, REQUEST, {}, "run-1"))
    await begun.wait()
    assert await runner.cancel("run-1")
    run = await running
    assert (run.outcome.state, from_json(run.outcome.content)["ended"]) == (State.CANCELLED, "cancelled")


async def nothing(ctx: Context) -> Any:
    """It is never called."""


def test_a_durable_workflow_cannot_return_one():
    for reply in (Reply.stream(iter("a")), Reply.events(iter("a")), Reply.file("a.txt")):
        with pytest.raises(StreamOfDurableRun, match="durable workflow"):
            whole(reply, workflow(durable=True, access=anonymous())(nothing))


def test_a_workflow_that_returned_a_stream_once_is_known_to_do_so():
    """Its code does not show it: what it returns comes from elsewhere."""
    made: Any = workflow(access=anonymous())(nothing)
    assert not makes_streams(nothing)
    with pytest.raises(StreamOfAcceptedRun, match="send the request again"):
        whole(Reply.stream(iter("a")), made)
    assert makes_streams(nothing)


def read_events(text: str) -> list[tuple[str, str]]:
    """Events as a browser reads them (HTML, section 9.2.6): their types and data."""
    found: list[tuple[str, str]] = []
    data: list[str] = []
    kind = ""
    for line in text.split("\n"):
        if not line:
            if data:
                found.append((kind, "\n".join(data)))
            kind, data = "", []
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            data.append(value)
        elif name == "event":
            kind = value
    return found


@given(st.text())
def test_text_is_the_data_of_one_event_whatever_it_holds(text: str):
    sent = event_text(text).decode("utf-8", "surrogatepass") if "\ud800" <= max(text, default="") <= "\udfff" else None
    sent = sent or event_text(text).decode()
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    assert read_events(sent) == [("", lines)]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": [1]}, 'data: {"a":[1]}\n\n'),
        (None, "data: null\n\n"),
        (Event(comment="still\nhere"), ": still\n: here\n\n"),
        (Event({"a": 1}, event="x", id="7", retry=1.5), 'id: 7\nevent: x\nretry: 1500\ndata: {"a":1}\n\n'),
        (Event("", id=""), "id: \ndata: \n\n"),
    ],
)
def test_an_event_is_written_in_its_fields(value: object, expected: str):
    assert event_text(value) == expected.encode()


@pytest.mark.parametrize("event", [Event("x", event="a\ndata: b"), Event("x", id="a\r"), Event("x", id="a\x00")])
def test_data_cannot_become_an_event(event: Event):
    with pytest.raises(ValueError, match="one line"):
        event_text(event)


def test_only_bytes_and_text_are_pieces():
    assert [piece("ä"), piece(b"a"), piece(bytearray(b"b")), piece(memoryview(b"c"))] == [
        "ä".encode(),
        b"a",
        b"b",
        b"c",
    ]
    with pytest.raises(TypeError, match="gave dict"):
        piece({})


def test_a_file_is_looked_for_beside_the_workflow_whatever_decorates_it(tmp_path: Path):
    (tmp_path / "page.txt").write_text("page")
    given: dict[str, Any] = {"wraps": wraps}
    source = """
def deco(function):
    @wraps(function)
    async def wrapped(ctx):
        return await function(ctx)
    return wrapped
"""
    exec(compile(source, str(tmp_path / "elsewhere" / "library.py"), "exec"), given)
    exec(compile("async def pages(ctx): ...", str(tmp_path / "pages.py"), "exec"), given)
    made: Any = workflow(given["deco"](given["pages"]))
    assert found_file("page.txt", made)[0] == (tmp_path / "page.txt").resolve()
