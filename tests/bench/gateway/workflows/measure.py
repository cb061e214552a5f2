"""What is measured runs in the server process itself: its workflows call the private system, and say what they saw."""

import asyncio
import time
from collections import Counter
from statistics import quantiles
from typing import Any

from pydantic import BaseModel

from postern import Context, anonymous, workflow


class Load(BaseModel):
    """`count` calls, or calls for `seconds`, or else until `stop`; `at_once` at a time, over the entries in turn."""

    entries: list[str]
    path: str = "/items"
    method: str = "GET"
    count: int = 0
    seconds: float = 0.0
    at_once: int = 1


class Stream(BaseModel):
    """A body of `size` bytes. `pace` is how many bytes are read a second; 0: as fast as they come."""

    entry: str
    size: int
    pace: float = 0.0


class Hold(BaseModel):
    """`count` bodies that are begun and not read, for `seconds`."""

    entries: list[str]
    size: int
    count: int
    seconds: float


stopped = asyncio.Event()


@workflow(access=anonymous())
async def stop(ctx: Context) -> None:
    """End the calls of `load`."""
    stopped.set()


@workflow(access=anonymous(), timeout=600)
async def load(ctx: Context, body: Load) -> dict[str, Any]:
    """Milliseconds of calls that succeeded, processor milliseconds of this process for each call, and what failed."""
    clients = [ctx.connection(entry) for entry in body.entries]
    taken: list[float] = []
    failed: Counter[str] = Counter()
    failed_at: list[float] = []
    left = body.count or float("inf")
    until = time.monotonic() + body.seconds if body.seconds else float("inf")

    async def caller(number: int) -> None:
        nonlocal left
        client = clients[number % len(clients)]
        while left > 0 and time.monotonic() < until and not stopped.is_set():
            left -= 1
            began = time.perf_counter()
            try:
                (await client.request(body.method, body.path)).raise_for_status()
            except Exception as error:
                failed[type(error).__name__] += 1
                failed_at.append(time.time())
            else:
                taken.append(time.perf_counter() - began)

    stopped.clear()
    processor = time.process_time()
    await asyncio.gather(*[caller(number) for number in range(body.at_once)])
    spent = time.process_time() - processor
    parts = quantiles(taken, n=20) if len(taken) > 1 else [0.0] * 19
    return {
        "calls": len(taken),
        "p50": 1000 * parts[9],
        "p95": 1000 * parts[18],
        "processor": 1000 * spent / max(1, len(taken)),
        "failed": failed,
        "failed_at": failed_at,
    }


@workflow(access=anonymous(), timeout=600)
async def stream(ctx: Context, body: Stream) -> dict[str, float]:
    """Megabytes a second of one body, and processor milliseconds of this process for each of them."""
    began, processor, got = time.perf_counter(), time.process_time(), 0
    async with ctx.connection(body.entry).stream("GET", f"/bytes/{body.size}") as response:
        async for part in response.aiter_bytes():
            got += len(part)
            if body.pace:
                await asyncio.sleep(max(0.0, began + got / body.pace - time.perf_counter()))
    spent = time.process_time() - processor
    return {"rate": got / 1e6 / (time.perf_counter() - began), "processor": 1000 * spent / (got / 1e6)}


@workflow(access=anonymous(), timeout=600)
async def hold(ctx: Context, body: Hold) -> int:
    """How many bodies were begun."""
    begun = 0

    async def one(number: int) -> None:
        nonlocal begun
        client = ctx.connection(body.entries[number % len(body.entries)])
        async with client.stream("GET", f"/bytes/{body.size}"):
            begun += 1
            await asyncio.sleep(body.seconds)

    await asyncio.gather(*[one(number) for number in range(body.count)])
    return begun
