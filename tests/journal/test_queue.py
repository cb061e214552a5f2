"""What waits for the writer is what is recorded, and none of it belongs to one caller alone."""

import asyncio
import pickle
import time
from functools import partial
from typing import Any

import pytest

from postern import Caller, Problem, Request, workflow
from postern.access import ANYONE
from postern.ids import new_id
from postern.journal.journal import Journal
from postern.journal.run import Outcome, Run, State
from postern.journal.writing.pending import Operation
from postern.journal.writing.queue import (
    BATCH_BYTES,
    LARGE_BYTES,
    MAX_QUEUED,
    MAX_QUEUED_BYTES,
    TURN_BYTES,
    TURN_SECONDS,
    Queue,
)
from postern.journal.writing.rows import MAX_KEPT_BYTES, MAX_MESSAGE, facts, kept_bytes, run_row
from postern.journal.writing.together import work_of

pytestmark = pytest.mark.slow

MEGABYTE = 1024 * 1024
ADA = Caller("user", object_id="ada", tenant_id="t")
BOB = Caller("user", object_id="bob", tenant_id="t")


@workflow
async def echo(ctx) -> None: ...


def run_of(size: int = 10, caller: Caller = ANYONE, address: str = "192.0.2.1", content: bytes | None = None) -> Run:
    request = Request("POST", "/triggers/echo", client_address=address, body=b"x" * size)
    run = Run(new_id(), echo, caller, request, time.time())
    run.outcome = Outcome(State.SUCCEEDED, 200, b"x" * size if content is None else content)
    run.ended_at = run.started_at
    return run


def end(queue: Queue, run: Run, along: Operation | None = None) -> asyncio.Future[None]:
    waiter = asyncio.Future[None](loop=LOOP)
    queue.end(run, waiter, along)
    return waiter


LOOP = asyncio.new_event_loop()
LOOP.close()


def operation(size: int = 0) -> Operation:
    return Operation(*work_of(partial(print, b"x" * size)), None, None)


def fill(queue: Queue, *callers: tuple[Caller, str], size: int) -> dict[tuple[Caller, str], int]:
    """Let these callers send until none of them is admitted. Returns how many runs each has."""
    held = dict.fromkeys(callers, 0)
    while admitted := [each for each in callers if queue.has_room(run_of(0, *each))]:
        for each in admitted:
            end(queue, run_of(size, *each))
            held[each] += 1
    return held


@pytest.mark.parametrize(
    "run",
    [
        run_of(MEGABYTE),
        run_of(MEGABYTE, content=b""),
        run_of(0, content=b"\xff" * MEGABYTE),
    ],
    ids=["echo", "inputs", "outputs"],
)
def test_of_a_large_body_only_what_is_recorded_is_queued(run):
    row = facts(run)
    assert kept_bytes(row) <= 2 * (MAX_KEPT_BYTES + 1)
    assert len(pickle.dumps(row)) < 2 * MAX_KEPT_BYTES + 2000
    whole = list(row)
    whole[3] = (*row[3][:2], run.request.body)
    whole[7] = (*row[7][:3], run.outcome.content, *row[7][4:])
    assert run_row(row, "node") == run_row(tuple(whole), "node")  # nothing else changes


def test_of_a_long_error_only_what_can_be_recorded_is_queued():
    run = run_of()
    secret = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.c2lnbmF0dXJlLXNpZ25hdHVyZQ"
    for place in (0, MAX_KEPT_BYTES // 2 - 20, MAX_KEPT_BYTES, MEGABYTE - MAX_KEPT_BYTES // 2 - 20):
        text = f"{'line ' * (place // 5)}{secret} {'line ' * ((MEGABYTE - place) // 5)}"
        run.outcome.error_type, run.outcome.error_message, run.outcome.error_traceback = "ValueError", text, text
        row = facts(run)
        assert len(pickle.dumps(row)) < 2 * MAX_KEPT_BYTES + 2000
        written = [each for each in run_row(row, "node") if isinstance(each, str)]
        assert any(len(each) == MAX_MESSAGE for each in written)
        assert not any("eyJ" in each or "c2lnbmF0" in each for each in written)


def test_large_echoes_of_a_hundred_connections_leave_room_for_all_others():
    queue = Queue()
    for _ in range(100):
        assert queue.has_room(run_of())
        end(queue, run_of(MEGABYTE))
    assert queue.bytes < MAX_QUEUED_BYTES // 4
    for other in (run_of(caller=ADA), run_of(address="192.0.2.2"), run_of()):
        assert queue.has_room(other)


@pytest.mark.parametrize("size", [0, 100, LARGE_BYTES // 2, LARGE_BYTES, MEGABYTE])
def test_anonymous_callers_take_at_most_half_and_one_address_at_most_a_quarter(size):
    queue = Queue()
    attacker, other = (ANYONE, "192.0.2.66"), (ANYONE, "192.0.2.2")
    size_of = kept_bytes(facts(run_of(size)))
    most = min(MAX_QUEUED, MAX_QUEUED_BYTES // size_of if size else MAX_QUEUED)
    assert fill(queue, attacker, size=size)[attacker] == pytest.approx(most / 4, abs=2)
    assert queue.has_room(run_of(0, *other))
    fill(queue, *((ANYONE, f"192.0.2.{number}") for number in range(100, 130)), size=size)
    assert len(queue) <= most / 2 + 31
    assert queue.has_room(run_of(caller=ADA))


def test_one_caller_with_a_token_takes_at_most_half():
    queue = Queue()
    assert fill(queue, (ADA, "192.0.2.1"), size=10) == {(ADA, "192.0.2.1"): MAX_QUEUED // 2 + 1}
    assert queue.has_room(run_of(caller=BOB))


def test_no_caller_is_admitted_when_it_is_full():
    queue = Queue()
    for number in range(MAX_QUEUED):
        end(queue, run_of(1, Caller("application", object_id=str(number), tenant_id="t")))
    assert not queue.has_room(run_of(caller=BOB))


def test_shares_are_free_again_when_a_batch_is_taken():
    queue = Queue()
    fill(queue, (ANYONE, "192.0.2.1"), size=LARGE_BYTES)
    fill(queue, (ANYONE, "192.0.2.1"), size=0)
    while queue:
        queue.take(begun=False)
    assert queue.bytes == len(queue) == 0
    assert (queue._large_held.runs, queue._large_held.bytes, queue._small_held.runs) == ({}, {}, {})
    assert queue.has_room(run_of())


def test_small_runs_do_not_wait_for_large_ones_and_each_batch_has_some_of_those():
    queue = Queue()
    large = [run_of(MEGABYTE) for _ in range(50)]
    for run in large:
        end(queue, run)
    small = run_of()
    end(queue, small)
    batches = []
    while (taken := queue.take(begun=False)) is not None:
        assert sum(map(kept_bytes, taken.runs)) <= TURN_BYTES + LARGE_BYTES
        assert len(taken.runs) == len(taken.waiters)
        batches.append([row[0] for row in taken.runs])
    assert batches[0][0] == small.id
    assert [each for batch in batches for each in batch if each != small.id] == [run.id for run in large]


@pytest.mark.parametrize("megabytes_a_second", [0.01, 1, 10, 1000])
def test_the_bytes_of_a_turn_follow_what_the_last_turns_took(megabytes_a_second: float):
    queue = Queue()
    for _ in range(1000):
        end(queue, run_of(LARGE_BYTES))
    least = kept_bytes(facts(run_of(LARGE_BYTES)))
    turns = []
    while (taken := queue.take(begun=False)) is not None:
        seconds = taken.large_bytes / MEGABYTE / megabytes_a_second
        queue.committed(taken.large_bytes, seconds)
        turns.append((taken.large_bytes, seconds))
    possible = min(TURN_BYTES, TURN_SECONDS * megabytes_a_second * MEGABYTE)
    assert len(turns) > 10
    for large_bytes, seconds in turns[5:-1]:
        assert seconds <= 1.01 * TURN_SECONDS or large_bytes == least
        assert large_bytes > possible - 2 * least


def test_a_batch_of_small_runs_does_not_change_the_turns_of_large_ones():
    queue = Queue()
    queue.committed(0, 60.0)
    for _ in range(100):
        end(queue, run_of(LARGE_BYTES))
    taken = queue.take(begun=False)
    assert taken is not None
    assert len(taken.runs) > 1


@pytest.mark.parametrize("each_has", ["nothing", "an operation", "an operation before it"])
def test_many_small_runs_share_their_batches_in_the_order_in_which_they_came(each_has):
    """Callers choose bodies that take the writer long: a batch of many MiB would hold up everybody's records."""
    queue = Queue()
    runs, along, before = [run_of(LARGE_BYTES // 3) for _ in range(2000)], [], []
    for run in runs:
        if each_has == "an operation before it":
            before.append(operation(LARGE_BYTES // 3))
            queue.operate(before[-1])
        along.append(operation() if each_has == "an operation" else None)
        end(queue, run, along[-1])
    found, operations, batches = [], [], 0
    while (taken := queue.take(begun=False)) is not None:
        batches += 1
        size = sum(map(kept_bytes, taken.runs)) + sum(each.size for each in taken.operations)
        assert size <= BATCH_BYTES + LARGE_BYTES
        assert len(taken.runs) == len(taken.waiters)
        found += [row[0] for row in taken.runs]
        operations += taken.operations
        if each_has == "an operation":
            assert operations == along[: len(found)]
        elif before:
            assert operations in (before[: len(found)], before[: len(found) + 1])
        assert queue.bytes == queue._small_bytes()
    assert (found, queue.bytes, batches > 9) == ([run.id for run in runs], 0, True)
    assert operations in (before, along)


def test_large_runs_that_have_begun_share_their_batches():
    queue = Queue()
    begun = [run_of(MEGABYTE) for _ in range(100)]
    for run in begun:
        run.ended_at = 0.0
        queue.begun[run.id] = run
    begun[-1].ended_at = 1.0
    end(queue, begun[-1])  # it is recorded with its end only
    found = []
    while (taken := queue.take(begun=True)) is not None:
        rows = [row for row in taken.runs if row[6] is None]
        assert sum(map(kept_bytes, rows)) <= TURN_BYTES + MAX_KEPT_BYTES + 1
        found += [row[0] for row in rows]
    assert found == [run.id for run in begun[:-1]]


def test_one_that_is_larger_than_a_turn_gets_a_batch():
    queue = Queue()
    queue.operate(operation(3 * TURN_BYTES))
    queue.operate(operation(3 * TURN_BYTES))
    assert [len(queue.take(begun=False).operations) for _ in range(2)] == [1, 1]  # type: ignore[union-attr]
    assert queue.take(begun=False) is None


@pytest.mark.parametrize("size", [10, LARGE_BYTES, MEGABYTE])
@pytest.mark.parametrize("reply", [10, MEGABYTE])
def test_the_operation_of_a_run_is_in_its_batch(size, reply):
    queue = Queue()
    for _ in range(20):
        end(queue, run_of(MEGABYTE))
    run, settling = run_of(size), operation(reply)
    end(queue, run, settling)
    while (taken := queue.take(begun=False)) is not None:
        assert (run.id in [row[0] for row in taken.runs]) == (settling in taken.operations)
    assert not queue


def test_operations_count_as_bytes():
    queue = Queue()
    while queue.has_room(run_of()):
        queue.operate(operation(MEGABYTE))
    assert queue.bytes < MAX_QUEUED_BYTES + 2 * MEGABYTE


def test_what_callers_no_longer_wait_for_leaves_the_runs_queued():
    queue = Queue()
    for size in (10, MEGABYTE):
        end(queue, run_of(size), operation())
        queue.operate(Operation(*work_of(partial(print, b"x" * size)), asyncio.Future(loop=LOOP), None))
    waiters, operations = queue.abandoned()
    assert (len(waiters), len(operations)) == (2, 4)
    taken = queue.take(begun=False)
    assert taken is not None
    assert (len(taken.runs), len(taken.operations), queue.bytes) == (2, 2, 0)


def test_a_run_whose_caller_has_a_full_share_is_not_started():
    journal: Any = Journal("sqlite:///unused.db")
    journal.available = True
    fill(journal.queue, (ANYONE, "192.0.2.1"), size=10)
    for start in (journal.begin, journal.admit):  # the second one is for runs with an Idempotency-Key
        with pytest.raises(Problem) as caught:
            start(run_of())
        assert (caught.value.code, caught.value.status) == ("journal-unavailable", 503)
        start(run_of(caller=ADA))
        start(run_of(address="192.0.2.2"))
