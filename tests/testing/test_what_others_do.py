"""Tests of an author whose project has schedules, streams and durable runs beside what a test is about."""

import pytest

from tests.testing.author_project import Outcome, run_tests

WORKFLOWS = """
from collections.abc import AsyncIterator

from postern import Context, Reply, anonymous, workflow


@workflow(access=anonymous(), schedule="0 7 * * *", connections=["shop"])
async def report(ctx: Context) -> None:
    await ctx.connection("shop").get("/orders")


@workflow(access=anonymous(), durable=True)
async def order(ctx: Context) -> str:
    await ctx.step(place)
    await ctx.sleep("2d")
    return "arrived"


async def place() -> None: ...


@workflow(access=anonymous(), methods=["GET"])
async def table(ctx: Context) -> Reply:
    async def lines() -> AsyncIterator[str]:
        yield "number"
        raise ValueError("no more numbers")

    return Reply.stream(lines(), "text/csv")
"""

TOML = """
[connections.shop]
base_url = "https://shop.example/v1"
auth = {type = "none"}
"""

TESTS = """
import pytest
from postern.testing import call, clock, crash_after, resume, runs


def test_time_without_schedules():
    placed = call("order")
    clock.advance("3d", schedules=False)
    assert placed.reply().json() == "arrived"
    assert runs("report") == []


def test_a_schedule_needs_its_stub():
    clock.advance("1d")


def test_a_crash():
    crash_after("place")
    placed = call("order")
    resume()
    clock.advance("2d", schedules=False)
    assert placed.reply().json() == "arrived"


def test_a_crash_without_its_end():
    crash_after("place")
    call("order")


def test_a_crash_after_a_step_that_is_not_there():
    crash_after("plaice")
    assert call("order").status == 202


def test_a_reply_that_is_cut_off():
    with pytest.raises(ConnectionResetError, match="GET /triggers/table was cut off after 6 bytes"):
        call("table")
    assert runs("table")[0].error["message"] == "no more numbers"
"""

FAIL = {
    "test_a_schedule_needs_its_stub": 'connections["shop"].get("/orders").replies({...})',
    "test_a_crash_after_a_step_that_is_not_there": 'crash_after("plaice"): no step of this name was done',
}

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """The project's tests."""
    folder = tmp_path_factory.mktemp("author")
    for name, text in {"workflows/shop.py": WORKFLOWS, "postern.toml": TOML, "tests/test_shop.py": TESTS}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, "utf-8")
    return run_tests(folder)


def test_only_what_is_wrong_fails(outcome: Outcome):
    assert set(outcome.failed) == set(FAIL), outcome.printed


@pytest.mark.parametrize("name", FAIL)
def test_a_failure_says_what_is_wrong(outcome: Outcome, name: str):
    assert FAIL[name] in outcome.tests[name]
