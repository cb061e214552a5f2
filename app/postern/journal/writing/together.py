"""Operations of one kind that one batch does together, with one statement for all of them in place of one for each.

An operation is a function of a module with its arguments as `functools.partial`. One that has `together` is done with
its neighbours of the same kind: `together(connection, given)` gets the arguments of each, and returns the results.
Its arguments are plain values, so it is pickled with its whole batch, which costs less.
"""

import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import Any, TypeVar

from sqlalchemy import Connection

Operation = Callable[[Connection], Any]
Many = Callable[[Connection, Sequence[Mapping[str, Any]]], Sequence[Any]]
Size = Callable[[Mapping[str, Any]], int]
F = TypeVar("F", bound=Callable[..., Any])


def with_together(many: Many, size: Size) -> Callable[[F], F]:
    """A decorator: the function can be done for many at once. All its arguments are passed by their names, and have
    about `size` bytes."""

    def mark(function: F) -> F:
        function.together = many  # type: ignore[attr-defined]
        function.size = size  # type: ignore[attr-defined]
        return function

    return mark


def work_of(operation: Operation) -> tuple[Operation | bytes, int]:
    """An operation as it is sent to the writer, and its bytes. It raises what pickling it raises."""
    if _together(operation) is not None:
        size: Size = operation.func.size  # type: ignore[attr-defined]
        return operation, size(operation.keywords)  # type: ignore[attr-defined]
    pickled = pickle.dumps(operation)
    return pickled, len(pickled)


def results(connection: Connection, operations: Sequence[Operation], begins: Callable[[], None]) -> Iterator[Any]:
    """The results of the operations, in their order. `begins` is called before each statement or operation."""
    for many, group in groupby(operations, _together):
        if many is not None:
            begins()
            yield from many(connection, [operation.keywords for operation in group])  # type: ignore[attr-defined]
            continue
        for operation in group:
            begins()
            yield operation(connection)


def _together(operation: Operation) -> Many | None:
    if not isinstance(operation, partial) or operation.args:
        return None
    many: Many | None = getattr(operation.func, "together", None)
    return many
