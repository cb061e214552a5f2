"""Where another thread is, while it runs."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def frame_of(thread: int) -> Iterator[FrameType | None]:
    """The innermost frame of a thread, by its identifier; None if it has ended. Read it and those outside it within the
    block only.

    No garbage is collected meanwhile. Python makes the object of a frame when it is read, and Python 3.11 may collect
    garbage in the middle of that. A finalizer then lets the other thread go on, the frame ends, and its object names
    memory that has another content: the process crashes. Since Python 3.12 garbage is collected between two
    instructions only.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield sys._current_frames().get(thread)
    finally:
        if collects:
            gc.enable()
