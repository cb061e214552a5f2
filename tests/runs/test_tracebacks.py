"""What operators read of an author's exception."""

from typing import Any

import pytest

from postern.runs.steps import Steps
from postern.runs.tracebacks import MOST_FRAMES, MOST_LINES, MOST_OF_A_LINE, traceback_of
from tests.runs.contexts import context

LOCAL = "VALUE-OF-A-LOCAL"
PRICES: dict[str, int] = {}


def pay(amount: str) -> None:
    local = LOCAL
    try:
        PRICES[amount]
    except KeyError as error:
        raise ValueError(f"MESSAGE {amount}") from error if local else None


def deep(depth: int) -> None:
    if depth == 0:
        raise RuntimeError("at the bottom")
    (deep if depth % 2 else deeper)(depth - 1)


def deeper(depth: int) -> None:
    deep(depth)


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def caught(function: Any, *arguments: Any) -> BaseException:
    try:
        eval("function(*arguments)", {"function": function, "arguments": arguments})  # a frame that is not the author's
    except BaseException as error:
        return error
    raise AssertionError


def test_it_has_the_message_the_causes_and_the_authors_lines_and_no_local_variable():
    text = traceback_of(caught(pay, "12"), __file__, messages=True)
    assert "KeyError: '12'" in text
    assert text.endswith("ValueError: MESSAGE 12")
    assert 'in pay\n    raise ValueError(f"MESSAGE {amount}")' in text
    assert LOCAL not in text


def test_it_begins_in_the_authors_file():
    found: dict[str, Any] = {}
    exec(compile("def fails():\n    pay('12')", "/author.py", "exec"), {"pay": pay}, found)
    error = caught(found["fails"])
    files = [
        [line.split('"')[1] for line in traceback_of(error, file, messages=True).splitlines() if line[:6] == "  File"]
        for file in ("/elsewhere.py", "/author.py")
    ]
    assert files[0][-4:] == [__file__, "<string>", "/author.py", __file__]
    assert files[1][-2:] == ["/author.py", __file__]
    assert "<string>" not in files[1]


def test_without_messages_it_has_the_lines_and_the_type():
    text = traceback_of(caught(pay, "12"), __file__, messages=False)
    assert text.endswith("\nValueError")
    assert "in pay" in text
    assert "MESSAGE 12" not in text


@pytest.mark.parametrize(
    "error",
    [caught(deep, 400), caught(pay, "x" * 100_000), caught(pay, "x\n" * 10_000)],
    ids=["deep", "a long line", "many lines"],
)
def test_it_is_bounded(error: BaseException):
    lines = traceback_of(error, __file__, messages=True).splitlines()
    assert len(lines) <= MOST_LINES
    assert max(map(len, lines)) <= MOST_OF_A_LINE
    assert sum("  File " in line for line in lines) <= 2 * MOST_FRAMES


def test_an_exception_that_cannot_describe_itself_has_one_too():
    def fails() -> None:
        raise Unspeakable

    assert "in fails" in traceback_of(caught(fails), __file__, messages=True)


def test_a_secret_of_many_lines_is_not_shown_by_its_end():
    text = "-----BEGIN PRIVATE KEY-----\n" + "hunter2\n" * 2 * MOST_LINES + "-----END PRIVATE KEY-----"
    assert "hunter2" not in traceback_of(caught(pay, text), __file__, messages=True)


@pytest.mark.anyio
async def test_calls_of_the_server_between_those_of_the_author_are_left_out():
    """A step is called by several functions of the server, and what it raises is the author's."""
    ctx = context(Steps(note=lambda run_id, step: None).run)

    async def fails() -> None:
        raise ValueError("no seat")

    async def author() -> None:
        await ctx.step(fails)

    found: BaseException = AssertionError()
    try:
        await author()
    except ValueError as error:
        found = error
    text = traceback_of(found, __file__, messages=True)
    names = [line.rpartition(" in ")[2] for line in text.splitlines() if line.startswith("  File")]
    assert names[-2:] == ["author", "fails"]
    assert {line.split('"')[1] for line in text.splitlines() if line.startswith("  File")} == {__file__}
