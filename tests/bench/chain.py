"""A chain of three calls from workflow to workflow, against three single calls that one workflow makes one after the
other: as many calls and runs, so that the ratio says what it costs that each waits within the other.

It also prints the cost of the chain's last workflow when it is called from outside, by the same HTTP client with the
headers of a call.
"""

import asyncio
from collections import defaultdict
from statistics import median
from time import perf_counter

from rich.console import Console

from postern.call_chain import DEPTH
from postern.http_client import AsyncClient, http_client
from postern.ids import new_id
from postern.trace import traceparent
from tests.bench.client import BODY
from tests.bench.servers import Server

MOST = 3.5
"""What the ratio may be."""
CHAIN, THREE, ALONE = "chain", "three", "third"


def measure_chain(server: Server, token: str, *, rounds: int, requests: int, console: Console) -> float:
    """Print the times and their ratio, of the medians of alternating rounds. Gives the ratio of one at a time."""
    ratios = {}
    for at_a_time in (1, 16):
        found = asyncio.run(_compare(server, token, rounds, requests, at_a_time))
        single = found[THREE] / 3
        ratios[at_a_time] = found[CHAIN] / single
        console.print(
            f"chain of three calls, {at_a_time} at a time: {found[CHAIN] * 1000:.2f} ms, a single call "
            f"{single * 1000:.2f} ms: {ratios[at_a_time]:.2f} (at most {MOST}); called from outside, its last workflow "
            f"takes {found[ALONE] * 1000:.2f} ms"
        )
    return ratios[1]


async def _compare(server: Server, token: str, rounds: int, requests: int, at_a_time: int) -> dict[str, float]:
    """Seconds of a request to each workflow."""
    taken: dict[str, list[float]] = defaultdict(list)
    async with http_client() as client:
        for name in (CHAIN, THREE, ALONE):
            await _ask(client, server.url(name), token)  # signs in
        for _ in range(rounds):
            for name in (CHAIN, THREE, ALONE):
                began = perf_counter()
                share = requests // at_a_time
                await asyncio.gather(*(_several(client, server.url(name), token, share) for _ in range(at_a_time)))
                taken[name].append((perf_counter() - began) / share / at_a_time)
    return {name: median(seconds) for name, seconds in taken.items()}


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
