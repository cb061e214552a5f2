"""The note that an exception of a workflow gets."""

from typing import Any

from postern import Context, workflow
from postern.runs.hints import hint_of, note_hint
from postern.runs.tracebacks import traceback_of


@workflow
async def waits(ctx: Context) -> None: ...


@workflow
def works(ctx: Context) -> None: ...


def test_a_hint_depends_on_how_the_function_is_written():
    error = AttributeError("'coroutine' object has no attribute 'json'")
    assert hint_of(error, waits) == "write `await` before the call that made the coroutine"
    assert "`async def` in place of `def` for works()" in hint_of(error, works)


def test_an_unknown_error_gets_none():
    error = ValueError("coroutines of our choir")
    note_hint(error, waits)
    assert not hasattr(error, "__notes__")


def test_an_exception_that_refuses_notes_and_texts_stays_as_it_is():
    class Refuses(Exception):
        def __str__(self) -> str:
            raise SystemExit

        def add_note(self, note: str) -> None:
            raise SystemExit

    note_hint(Refuses(), waits)

    class NoNote(TypeError):
        def add_note(self, note: str) -> None:
            raise SystemExit

    note_hint(NoNote("object int can't be used in 'await' expression"), waits)


def test_the_note_is_no_part_of_a_traceback_without_messages():
    """Of a workflow whose bodies are secured."""
    error: Any = TypeError("object int can't be used in 'await' expression")
    note_hint(error, waits)
    assert "fix: leave out `await`" in traceback_of(error, __file__, messages=True)
    assert "fix" not in traceback_of(error, __file__, messages=False)
