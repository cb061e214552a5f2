"""A chain of three workflows that call one another, against one call of the last of them.

Both are asked by the HTTP client that workflows call with, with the headers of a call, so that the ratio says what the
two calls from workflow to workflow cost beside the calls themselves: 3 where they cost nothing.
"""

import asyncio
from collections import defaultdict
from statistics import median
from time import perf_counter

from rich.console import Console

from app.chain import DEPTH
from app.http_client import AsyncClient, http_client
from app.ids import new_id
from app.trace import traceparent
from tests.bench.client import BODY
from tests.bench.servers import Server

MOST = 3.5
"""What the ratio may be."""
ALONE, CHAIN = "third", "first"


def measure_chain(server: Server, token: str, *, rounds: int, requests: int, console: Console) -> float:
    """Print the times and their ratio, of the medians of alternating rounds. Gives the ratio of one at a time."""
    found = {at_a_time: asyncio.run(_compare(server, token, rounds, requests, at_a_time)) for at_a_time in (1, 16)}
    for at_a_time, (alone, chain) in found.items():
        ratio = chain / alone
        console.print(
            f"chain of three, {at_a_time} at a time: {chain * 1000:.2f} ms, one call {alone * 1000:.2f} ms: "
            f"{ratio:.2f} times one call (at most {MOST}), {ratio / 3:.2f} times three calls"
        )
    alone, chain = found[1]
    return chain / alone


async def _compare(server: Server, token: str, rounds: int, requests: int, at_a_time: int) -> tuple[float, float]:
    """Seconds of one call, and of the chain."""
    taken: dict[str, list[float]] = defaultdict(list)
    async with http_client() as client:
        for name in (ALONE, CHAIN):
            await _ask(client, server.url(name), token)  # signs in
        for _ in range(rounds):
            for name in (ALONE, CHAIN):
                began = perf_counter()
                share = requests // at_a_time
                await asyncio.gather(*(_several(client, server.url(name), token, share) for _ in range(at_a_time)))
                taken[name].append((perf_counter() - began) / share / at_a_time)
    return median(taken[ALONE]), median(taken[CHAIN])


async def _several(client: AsyncClient, url: str, token: str, requests: int) -> None:
    for _ in range(requests):
        await _ask(client, url, token)


async def _ask(client: AsyncClient, url: str, token: str) -> None:
    run_id = new_id()
    headers = {
        "Authorization": f"Bearer {token}",
        "Content-Type": "application/json",
        "Idempotency-Key": run_id,
        "traceparent": traceparent(run_id),
        DEPTH: "1",
    }
    answer = await client.post(url, content=BODY, headers=headers)
    if answer.status_code != 200:
        raise SystemExit(f"{url} answered {answer.status_code}: {answer.text}")
