"""Clients that do all they can to a server without a token, at once and from several addresses.

They run in a process of their own (`python -m tests.process.hostile PORT`), so that they take no time from the one that
measures, until its standard input ends. It prints what each kind of them got, as JSON.
"""

import asyncio
import itertools
import json
import random
import socket
import struct
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from tests.heavy.bodies import MOST_BYTES, bodies
from tests.process.honest import get, replied, request
from tests.process.odd_requests import odd_request

WORKFLOWS = """
import asyncio, time
from typing import Any
from postern import Context, anonymous, tenant_users, workflow
from tests import garbage

@workflow(access=anonymous(), stateless=True)
async def collector_rests(ctx: Context) -> None:
    garbage.rest()

@workflow(access=anonymous(), stateless=True)
async def garbage_left(ctx: Context) -> Any:
    return garbage.left()

@workflow(access=tenant_users())
async def hello_member(ctx: Context) -> str:
    return "hello"

@workflow(access=anonymous())
async def echo(ctx: Context, body: Any) -> Any:
    return body

@workflow(access=anonymous(), timeout=5)
def sleeps(ctx: Context) -> int:
    time.sleep(1)
    return 1

@workflow(access=anonymous(), timeout=5)
async def forks(ctx: Context) -> Any:
    depth = ctx.request.chain.depth if ctx.request.chain else 0
    return await asyncio.gather(ctx.call("forks"), ctx.call("forks")) if depth < 3 else depth

@workflow(access=anonymous(), timeout=5)
async def circles(ctx: Context) -> Any:
    return await ctx.call("circles")
"""
"""What they call, beside the workflows of `tests/heavy/`."""

LARGE = b'"' + b"x" * (MOST_BYTES - 2) + b'"'
PAGES = ("/runs?limit=100", "/openapi.json", "/docs", "/healthz", "/metrics", "/nowhere")
PATIENCE = 60.0
"""Seconds that a reply may take."""

Port = int
Attack = Callable[[Port, "Client"], Awaitable[None]]


class Client:
    """One of them: its address, and its source of chance."""

    def __init__(self, number: int, seen: Counter[str]) -> None:
        self.address = f"127.0.0.{2 + number % 8}"
        self.chance = random.Random(number)
        self.number = number
        self.seen = seen

    @asynccontextmanager
    async def connected(self, port: Port) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """A connection, which is aborted at the end."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(self.address, 0))
        try:
            yield reader, writer
        finally:
            writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()

    async def asks(self, port: Port, *requests: bytes) -> None:
        """Send requests one after the other, and take the replies."""
        async with self.connected(port) as (reader, writer):
            for sent in requests:
                writer.write(sent)
                async with asyncio.timeout(PATIENCE):
                    status, _ = await replied(reader)
                self.seen[str(status)] += 1

    async def leaves(self, port: Port, sent: bytes) -> None:
        """Send something and go away, half of the times without a word."""
        async with self.connected(port) as (_, writer):
            writer.write(sent)
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await writer.drain()
            await asyncio.sleep(self.chance.random() / 20)
            if self.chance.random() < 0.5:
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.seen["left"] += 1


HEAVY = [request("POST", f"/triggers/{name}", body) for _, name, body in bodies()]
KEYS = (f"key-{random.randrange(2**64):x}-{number}" for number in itertools.count())


async def heavy(port: Port, client: Client) -> None:
    """Bodies within the limits that take long."""
    await client.asks(port, client.chance.choice(HEAVY))


async def keys(port: Port, client: Client) -> None:
    """A new key each time, for a large reply that is kept."""
    await client.asks(port, *(request("POST", "/triggers/echo", LARGE, next(KEYS)) for _ in range(5)))


async def echoes(port: Port, client: Client) -> None:
    """Large requests and replies."""
    await client.asks(port, *[request("POST", "/triggers/echo", LARGE)] * 5)


async def slow(port: Port, client: Client) -> None:
    """A `def` that holds its thread."""
    await client.asks(port, request("POST", "/triggers/sleeps"))


async def chains(port: Port, client: Client) -> None:
    """Workflows that call themselves."""
    await client.asks(port, request("POST", client.chance.choice(["/triggers/forks", "/triggers/circles"])))


async def unread(port: Port, client: Client) -> None:
    """A pipeline of large replies that are not read for a while."""
    loop = asyncio.get_running_loop()
    with socket.socket() as silent:
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        silent.setblocking(False)
        silent.bind((client.address, 0))
        await loop.sock_connect(silent, ("127.0.0.1", port))
        with suppress(TimeoutError):
            async with asyncio.timeout(client.chance.uniform(5, 45)):
                await loop.sock_sendall(silent, request("POST", "/triggers/echo", LARGE) * 3)
                await asyncio.sleep(PATIENCE)


async def away(port: Port, client: Client) -> None:
    """Pipelines of pages, runs and half bodies whose client does not wait for the replies."""
    page = get(client.chance.choice(PAGES)) * client.chance.randint(1, 20)
    half = request("POST", "/triggers/echo", LARGE)[: client.chance.randrange(MOST_BYTES)]
    call = request("POST", "/triggers/sleeps")
    await client.leaves(port, client.chance.choice([page, page, half, call]))


async def malformed(port: Port, client: Client) -> None:
    """What no client would send."""
    await client.leaves(port, odd_request(client.chance))


ATTACKS: dict[Attack, int] = {heavy: 10, slow: 10, keys: 6, chains: 6, away: 6, echoes: 6, malformed: 6, unread: 40}
"""How many of each there are: fifty that have requests under way, and forty that read nothing."""


async def repeat(attack: Attack, port: Port, client: Client) -> None:
    """One client's work. The server may close any of its connections."""
    while True:
        client.seen["begun"] += 1
        try:
            await attack(port, client)
        except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
            client.seen[type(error).__name__] += 1
            await asyncio.sleep(0.05)


async def main(port: Port) -> None:
    seen: dict[str, Counter[str]] = defaultdict(Counter)
    kinds = [attack for attack, count in ATTACKS.items() for _ in range(count)]
    clients = [Client(number, seen[attack.__name__]) for number, attack in enumerate(kinds)]
    work = [asyncio.create_task(repeat(*each)) for each in zip(kinds, itertools.repeat(port), clients, strict=False)]
    await asyncio.to_thread(sys.stdin.read)
    for task in work:
        task.cancel()
    for ended in await asyncio.gather(*work, return_exceptions=True):
        if not isinstance(ended, asyncio.CancelledError):
            raise ended if isinstance(ended, Exception) else AssertionError(ended)
    print(json.dumps(seen))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
