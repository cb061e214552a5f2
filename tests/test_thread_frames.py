import ast
import gc
import threading
from collections.abc import Iterator
from types import FrameType

import pytest

from postern.thread_frames import frame_of
from tests.test_structure import ROOT, sources

pytestmark = pytest.mark.slow

DEPTH = 50


class Cycle:
    """Garbage that only the collector frees."""

    def __init__(self, finalized: list[int]) -> None:
        self.itself = self
        self.finalized = finalized

    def __del__(self) -> None:
        self.finalized.append(threading.get_ident())


@pytest.fixture
def deep() -> Iterator[int]:
    """A thread that waits in a deep stack."""
    entered, leave = threading.Event(), threading.Event()

    def enter(depth: int) -> None:
        if depth:
            enter(depth - 1)
        else:
            entered.set()
            leave.wait()

    thread = threading.Thread(target=enter, args=(DEPTH,))
    thread.start()
    entered.wait()
    assert thread.ident is not None
    yield thread.ident
    leave.set()
    thread.join()


@pytest.fixture
def eager() -> Iterator[None]:
    """The collector runs at every chance."""
    before = gc.get_threshold()
    gc.set_threshold(1, 1, 1)
    yield
    gc.set_threshold(*before)


def outer(frame: FrameType | None) -> Iterator[str]:
    while frame is not None:
        yield frame.f_code.co_name
        frame = frame.f_back


def test_no_finalizer_runs_while_the_frames_of_another_thread_are_read(deep: int, eager: None) -> None:
    finalized: list[int] = []
    with frame_of(deep) as frame:
        for _ in range(100):
            Cycle(finalized)
        assert list(outer(frame)).count("enter") == DEPTH + 1
        assert finalized == []
    gc.collect()
    assert len(finalized) == 100


@pytest.mark.parametrize("collects", [True, False])
def test_garbage_is_collected_as_before_afterwards_also_after_an_error(collects: bool, deep: int) -> None:
    if not collects:
        gc.disable()
    try:
        with pytest.raises(ZeroDivisionError), frame_of(deep):
            _ = 1 / 0
        assert gc.isenabled() is collects
    finally:
        gc.enable()


def test_a_thread_that_has_ended_is_nowhere() -> None:
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
    with frame_of(thread.ident or 0) as frame:
        assert frame is None


def test_frames_of_other_threads_are_read_in_one_place() -> None:
    found = {
        str(path.relative_to(ROOT))
        for path in sources()
        if any(name in (text := path.read_text("utf-8")) for name in ("_current_frames", "_current_exceptions"))
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Attribute) and node.attr in ("_current_frames", "_current_exceptions")
    }
    assert found == {"app/postern/thread_frames.py"}
