"""A page of a list with enough rows. A page of the journal may be short, or empty, and have a cursor: few rows matched
among those that it may look at."""

from collections.abc import Awaitable, Callable
from math import inf
from time import perf_counter
from typing import TypeVar

from postern.journal.reading.queries import Page

T = TypeVar("T")

MOST_PAGES = 5
"""Pages of the journal that are read for one page of the console."""


async def look_on(
    read: Callable[[str | None, int], Awaitable[Page[T]]], cursor: str | None, limit: int, seconds: float = inf
) -> Page[T]:
    """Read on until there are `limit` rows, the list ends, or MOST_PAGES were read. After so many `seconds` no further
    page is begun. `read` gets the cursor and how many rows are wanted."""
    items: tuple[T, ...] = ()
    until = perf_counter() + seconds
    for _ in range(MOST_PAGES):
        page = await read(cursor, limit - len(items))
        items, cursor = items + page.items, page.next
        if cursor is None or len(items) >= limit or perf_counter() >= until:
            break
    return Page(items, cursor)
