"""Operations of one kind are done together, in their places."""

import pickle
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from sqlalchemy import Connection

from postern.journal.writing.together import results, with_together, work_of

DONE: list[Any] = []


def all_at_once(_: Connection, given: Sequence[Mapping[str, Any]]) -> list[str]:
    DONE.append([each["number"] for each in given])
    return [f"together {each['number']}" for each in given]


@with_together(all_at_once, lambda given: 100 + given["number"])
def many(_: Connection, number: int) -> str:
    raise AssertionError(number)


def one(_: Connection, number: int) -> str:
    DONE.append(number)
    return f"alone {number}"


def test_neighbours_are_done_together_and_each_has_its_result():
    DONE.clear()
    operations = [partial(many, number=1), partial(many, number=2), partial(one, number=3), partial(many, number=4)]
    begun: list[int] = []
    found = list(results(None, operations, lambda: begun.append(len(DONE))))  # type: ignore[arg-type]
    assert found == ["together 1", "together 2", "alone 3", "together 4"]
    assert DONE == [[1, 2], 3, [4]]
    assert len(begun) == 3


def test_what_is_done_together_is_pickled_with_its_batch_and_others_alone():
    together, alone = partial(many, number=1), partial(one, number=3)
    assert work_of(together) == (together, 101)
    pickled, size = work_of(alone)
    assert (type(pickled), size) == (bytes, len(pickle.dumps(alone)))
