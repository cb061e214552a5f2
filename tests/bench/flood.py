"""Valid callers beside a flood of refused requests: their rate with it and without it, and what it leaves on disk."""

import secrets
from base64 import urlsafe_b64encode
from statistics import median

from rich.console import Console

from tests.bench.databases import count_refusals, size
from tests.bench.load import Kind, ended, start_client, wrk

CONNECTIONS = 16


def measure_flood(
    kinds: list[Kind], token: str, *, requests: int, rounds: int, seconds: int, connections: int, console: Console
) -> None:
    """Print it. Half of the requests have a token with a forged signature, half have none, each half on as many
    connections as named. Valid callers are measured on one kind after the other while the flood lasts."""
    console.print(f"\nA flood of {requests:,} refused requests on {connections} + {connections} connections:")
    target = kinds[0].url
    before = [median([wrk(kind.url, CONNECTIONS, seconds, token) for _ in range(rounds)]) for kind in kinds]
    database = kinds[0].server.database
    size_before = size(database)
    half = requests // 2
    floods = [start_client(target, connections, bearer, requests=half) for bearer in (forged(token), "")]
    meanwhile: list[list[float]] = [[] for _ in kinds]
    for _ in range(rounds):
        for kind, rates in zip(kinds, meanwhile, strict=True):
            if all(flood.poll() is None for flood in floods):
                rates.append(wrk(kind.url, CONNECTIONS, seconds, token))
    for kind, undisturbed, rates in zip(kinds, before, meanwhile, strict=True):
        if rates:
            ratio = median(rates) / undisturbed
            console.print(
                f"  {kind.name}: {undisturbed:.0f}/s undisturbed, {median(rates):.0f}/s beside it: {ratio:.2f}"
            )
        else:
            console.print(f"  {kind.name}: the flood was over before it could be measured")
    for name, flood in zip(("forged tokens", "no token"), floods, strict=True):
        found = ended(flood)
        counts = ", ".join(f"{count:,} times {status}" for status, count in found.statuses.items())
        console.print(
            f"  {name}: {counts}, at {found.rate:.0f}/s, p99 {found.p99:.0f} ms, closed {found.closed:,} times"
        )
    grown = (size(database) - size_before) / 1024
    console.print(
        f"  refusals recorded: {count_refusals(database)} rows; the database grew by {grown:.0f} KiB, runs included"
    )


def forged(token: str) -> str:
    """The token with a signature that is none, so that it is refused after all the work that a token makes."""
    signature = urlsafe_b64encode(secrets.token_bytes(256)).rstrip(b"=").decode()
    return f"{token.rpartition('.')[0]}.{signature}"
