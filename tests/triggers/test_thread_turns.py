"""Threads compute one at a time, and code of an author that waits in a thread keeps no other thread from its turn."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import thread_time

import pytest

from postern.triggers import thread_turns
from postern.triggers.thread_turns import ThreadTurns

pytestmark = pytest.mark.slow


def compute(seconds: float) -> None:
    until = thread_time() + seconds
    while thread_time() < until:
        pass


def inside(turns: ThreadTurns, functions: list[Callable[[], object]]) -> int:
    """How many were in their turns at once."""
    lock, now, most = threading.Lock(), [0], [0]

    def counted(function: Callable[[], object]) -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        function()
        with lock:
            now[0] -= 1

    with ThreadPoolExecutor(len(functions)) as pool:
        for each in [pool.submit(turns.call, lambda function=function: counted(function)) for function in functions]:
            each.result(30)
    return most[0]


def test_threads_compute_one_at_a_time():
    assert inside(ThreadTurns(), [lambda: compute(0.001)] * 8) == 1


def test_a_thread_that_computes_for_long_keeps_its_turn(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(thread_turns, "WAITS", 0.001)  # also where other programs take most of the processor
    assert inside(ThreadTurns(), [lambda: compute(3 * thread_turns.LOOK_SECONDS)] * 2) == 1


@pytest.mark.parametrize("stuck", [1, 3])
def test_threads_that_wait_for_ever_do_not_keep_their_turns(stuck: int):
    turns, let_go = ThreadTurns(), threading.Event()
    with ThreadPoolExecutor(stuck + 8) as pool:
        try:
            waiting = [pool.submit(turns.call, lambda: let_go.wait(60)) for _ in range(stuck)]
            done = [pool.submit(turns.call, lambda: 7) for _ in range(8)]
            assert [each.result(20) for each in done] == [7] * 8
            assert not any(each.done() for each in waiting)
        finally:
            let_go.set()
        assert all(each.result(20) for each in waiting)
    assert turns.call(lambda: 8) == 8


def test_one_that_lost_its_turn_does_not_end_that_of_another():
    turns, holds, let_go = ThreadTurns(), threading.Event(), threading.Event()
    computing, ended = threading.Event(), threading.Event()

    def waits() -> None:
        holds.set()
        let_go.wait(60)

    def computes() -> bool:
        computing.set()
        while not ended.is_set():
            pass
        return turns._holder == threading.get_ident()

    with ThreadPoolExecutor(2) as pool:
        lost = pool.submit(turns.call, waits)
        assert holds.wait(20)
        taken = pool.submit(turns.call, computes)
        assert computing.wait(20)
        let_go.set()
        lost.result(20)
        ended.set()
        assert taken.result(20)


def test_the_next_one_waits_as_long_as_was_computed_and_not_as_long_as_was_waited(monkeypatch: pytest.MonkeyPatch):
    turns, now = ThreadTurns(), [100.0]
    monkeypatch.setattr(thread_turns, "monotonic", lambda: now[0])
    used = iter([1.0, 1.25])
    monkeypatch.setattr(thread_turns, "thread_time", lambda: next(used))

    def waits() -> None:
        now[0] += 60

    turns.call(waits)
    assert turns._rests_until == 160.25


def test_what_a_function_raises_ends_its_turn():
    turns = ThreadTurns()
    for error in (ValueError, SystemExit):

        def fails(error: type[BaseException] = error) -> None:
            raise error

        with pytest.raises(error):
            turns.call(fails)
    assert turns.call(lambda: 7) == 7
