"""Tests of tables: one test checks all rows, and reports every row that fails. A row that is a test of its own costs
more in fixtures, reports and messages between processes than most rows take to check."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any

import pytest
from _pytest._io.saferepr import saferepr
from _pytest.mark import ParameterSet

Test = Callable[..., Any]
Row = tuple[str, dict[str, Any]]

LONGEST = 300
"""Characters of a value in the name of a row."""


def table(
    names: str | Sequence[str], rows: Iterable[Any], *, ids: Iterable[str] | Callable[[Any], object] = repr
) -> Callable[[Test], Test]:
    """Takes the arguments of `pytest.mark.parametrize`, and replaces it where rows need no fixtures of their own. The
    other parameters of the test are fixtures, the same for all rows. Tables above each other are multiplied."""
    named = list(_named(names, list(rows), ids))
    assert named, "a table without rows asserts nothing"

    def decorated(test: Test) -> Test:
        @wraps(test)
        def check(**fixtures: Any) -> None:
            failed: list[BaseException] = []
            for number, row in enumerate(named):
                with _failures(failed, number, row):
                    test(**fixtures, **row[1])
            _report(failed, len(named))

        @wraps(test)
        async def check_async(**fixtures: Any) -> None:
            failed: list[BaseException] = []
            for number, row in enumerate(named):
                with _failures(failed, number, row):
                    await test(**fixtures, **row[1])
            _report(failed, len(named))

        chosen: Any = check_async if inspect.iscoroutinefunction(test) else check
        signature = inspect.signature(test)
        others = [each for name, each in signature.parameters.items() if name not in named[0][1]]
        chosen.__signature__ = signature.replace(parameters=others)
        return chosen  # type: ignore[no-any-return]

    return decorated


def _named(
    names: str | Sequence[str], rows: Sequence[Any], ids: Iterable[str] | Callable[[Any], object]
) -> Iterator[Row]:
    listed = [each.strip() for each in names.split(",")] if isinstance(names, str) else list(names)
    labels = None if callable(ids) else list(ids)
    assert labels is None or len(labels) == len(rows), "as many ids as rows"
    for number, row in enumerate(rows):
        found = ParameterSet.extract_from(row, force_tuple=len(listed) == 1)
        assert not found.marks, "a row with a mark is a test of its own"
        values = dict(zip(listed, found.values, strict=True))
        yield str(found.id or (labels[number] if labels else "")), values


@contextmanager
def _failures(failed: list[BaseException], number: int, row: Row) -> Iterator[None]:
    """Keep what fails while the block runs, and go on."""
    try:
        yield
    except (Exception, pytest.fail.Exception, BaseExceptionGroup) as failure:
        shown = row[0] or ", ".join(f"{name}={saferepr(value, LONGEST)}" for name, value in row[1].items())
        failure.add_note(f"row {number}: {shown}")
        failed.append(failure)


def _report(failed: list[BaseException], rows: int) -> None:
    if failed:
        raise BaseExceptionGroup(f"{len(failed)} of {rows} rows fail", failed)
