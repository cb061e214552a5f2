"""Replies that are sent while their run goes on: a file, a table that is made line by line, and events."""

import asyncio
from collections.abc import AsyncIterator, Iterator

from postern import Context, Event, Reply, tenant_users, workflow


@workflow(access=tenant_users(), methods=["GET"], produces="text/plain")
async def handbook(ctx: Context) -> Reply:
    """Download the handbook."""
    return Reply.file("handbook.txt", filename="Handbook.txt")


@workflow(access=tenant_users(), methods=["GET"], produces="text/csv", timeout=600)
def export(ctx: Context) -> Reply:
    """Export all numbers as a table."""

    def lines() -> Iterator[str]:
        yield "number,square\r\n"
        for number in range(1000):
            yield f"{number},{number**2}\r\n"

    return Reply.stream(lines(), "text/csv; charset=utf-8")


@workflow(access=tenant_users(), methods=["GET"], produces="text/event-stream", timeout="8h", max_concurrency=100)
async def progress(ctx: Context) -> Reply:
    """Follow the progress of the work."""

    async def steps() -> AsyncIterator[Event]:
        for percent in (0, 50, 100):
            yield Event({"percent": percent}, event="progress", id=str(percent))
            await asyncio.sleep(0.01)

    return Reply.events(steps())
