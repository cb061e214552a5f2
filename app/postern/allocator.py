"""How the C library allocates large blocks: bodies, replies, rows of the database."""

import ctypes
from collections.abc import Callable
from typing import Any

LARGE_BYTES = 128 * 1024
"""Blocks from this size on get pages of their own, which go back to the system as soon as they are freed."""

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


def return_large_blocks(mallopt: Callable[[int, int], Any] | None = None) -> None:
    """Let large blocks always have pages of their own (mallopt(3)). Once glibc has freed such a block, it takes further
    ones up to that size, at most 32 MiB, from the heap. Small blocks that live longer then keep the pages around them,
    and the heap of a server with many large bodies becomes a multiple of what is in use. Other C libraries have no such
    option and need none."""
    if mallopt is None:
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)
        mallopt(_M_TRIM_THRESHOLD, LARGE_BYTES)
