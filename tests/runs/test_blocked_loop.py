"""Code of authors that blocks the event loop is reported with its workflow and line."""

import asyncio
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from pydantic import BaseModel, field_validator
from structlog.testing import capture_logs

from postern import Context, Request, workflow
from postern.access import ANYONE
from postern.authoring.context import Services
from postern.runs.blocked_loop import BlockedLoop, place_of, processor_time, workflow_of
from postern.runs.runner import Runner
from postern.triggers.read import arguments
from tests.runs.records import Records

pytestmark = pytest.mark.anyio

HERE = Path(__file__)
LINES = HERE.read_text("utf-8").splitlines()
FOUND = threading.Event()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _afresh() -> None:
    FOUND.clear()


class Watch(BlockedLoop):
    """Lets the blocking code go on as soon as it is found."""

    def _report(self, place: Any, workflow: str) -> None:
        super()._report(place, workflow)
        FOUND.set()


def blocks() -> int:
    FOUND.wait(10)
    return 1


class Slow(BaseModel):
    x: int

    @field_validator("x")
    @classmethod
    def reads(cls, value: int) -> int:
        return blocks()


@workflow
async def sleeper(ctx: Context) -> int:
    await asyncio.sleep(0)
    return blocks()


@workflow
async def typed(ctx: Context, body: Slow) -> None: ...


@workflow
async def child(ctx: Context) -> None:
    async def task() -> None:
        blocks()

    await asyncio.gather(task())


@pytest.fixture
def runner() -> Iterator[Runner]:
    runner = Runner(Services(None, None, None), Records(), lambda _: None)  # type: ignore[arg-type]
    yield runner
    runner.close()


async def run(runner: Runner, name: str) -> None:
    made = {"sleeper": sleeper, "typed": typed, "child": child}[name]
    given = arguments(typed, b'{"x": 1}', b"application/json", {}) if made is typed else {}
    await runner.start(made, ANYONE, Request("POST", "/"), given, "run-1")


@pytest.mark.parametrize(("name", "reported"), [("sleeper", "sleeper"), ("typed", "typed"), ("child", "here, there")])
async def test_code_that_blocks_the_loop_is_reported_once_with_workflow_and_line(runner: Runner, name, reported):
    watch = Watch(HERE.parent, lambda file: ["here", "there"], longest=0.03, every=0.01)
    with capture_logs() as logs:
        async with watch.watching():
            for _ in range(2):
                FOUND.clear()
                await run(runner, name)
                await asyncio.sleep(0)
    [line] = [line for line in logs if line["event"] == "event-loop-blocked"]
    assert (line["workflow"], line["file"], line["log_level"]) == (reported, str(HERE), "warning")
    assert LINES[line["line"] - 1].strip() == "FOUND.wait(10)"
    assert watch.counts == {reported: 2}


def a_wide_body() -> bytes:
    """A body that the types below take some tenths of a second for, in C, while no other thread can run."""
    return b"[" + b",".join([b'{"x":[1,2,3,4,5,6,7,8,9]}'] * 60_000) + b"]"


class Wide(BaseModel):
    x: list[int] | list[str] | list[bool]


@workflow(max_elements=10_000_000)
async def wide(ctx: Context, body: list[Wide]) -> list[Wide]:
    return body


@pytest.mark.slow
async def test_a_body_that_is_validated_for_long_is_reported_with_its_workflow(tmp_path: Path):
    watch = BlockedLoop(tmp_path, lambda file: [], longest=0.02, every=0.005)
    with capture_logs() as logs:
        async with watch.watching():
            await asyncio.sleep(0.01)
            arguments(wide, a_wide_body(), b"application/json", {})
            await asyncio.sleep(0.01)
    [line] = [line for line in logs if line["event"] == "event-loop-blocked"]
    assert (line["workflow"], line["file"], line["line"]) == ("wide", str(HERE), wide.line)
    assert "max_elements" in line["fix"]


def test_the_time_that_a_thread_waits_is_not_counted_as_computing():
    used = processor_time(threading.get_ident())
    threading.Event().wait(0.05)
    assert processor_time(threading.get_ident()) - used < 0.02


async def test_code_that_waits_or_is_not_the_authors_is_not_reported(tmp_path: Path):
    options: dict[str, Any] = {"longest": 0.03, "every": 0.01}
    elsewhere = BlockedLoop(tmp_path, lambda file: [], **options)
    here = BlockedLoop(HERE.parent, lambda file: [], **options)
    async with elsewhere.watching(), here.watching():
        for _ in range(20):
            await asyncio.sleep(0.005)
    assert (elsewhere.counts, here.counts) == ({}, {})


def frame_of(function: Any, *given: Any) -> FrameType:
    frames: list[FrameType] = []
    function(lambda: frames.append(sys._getframe()), *given)
    return frames[0]


def test_a_stack_without_a_file_of_the_folder_has_no_place(tmp_path: Path):
    frame = frame_of(lambda look: look())
    assert place_of(frame, f"{tmp_path}/") is None
    assert place_of(None, "/") is None
    assert workflow_of(frame) == ""
