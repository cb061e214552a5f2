"""A client that sends the next request of a connection when the answer to the last one has come, and notes how long
each took. It runs in a process of its own (`python -m tests.bench.client`) and prints a Summary as JSON.

Beside wrk, which gives the rates, it can send a fixed number of requests, connects again where the server closes, and
takes any status. SIGTERM ends it early.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from time import perf_counter
from urllib.parse import urlsplit

import uvloop

BODY = b'{"name": "Ada", "tags": ["a", "b"]}'
"""What every client and server of the benchmark is received."""

PATIENCE = 30.0
"""Seconds that the last answers may take."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What came of a load. `p50` and `p99` are milliseconds, `closed` how often a connection ended early."""

    requests: int
    seconds: float
    p50: float
    p99: float
    statuses: dict[str, int]
    closed: int

    @property
    def rate(self) -> float:
        """Answers in a second."""
        return self.requests / self.seconds


class Load:
    """All connections together: they stop when there were `most` requests, or when `stop` is called."""

    def __init__(self, host: str, port: int, request: bytes, most: float) -> None:
        self.host = host
        self.port = port
        self.request = request
        self.left = most
        self.open = 0
        self.closed = 0
        self.taken: list[float] = []
        self.statuses: Counter[bytes] = Counter()
        self.done = asyncio.get_running_loop().create_future()

    def stop(self) -> None:
        """Send no further request."""
        self.left = float("-inf")

    def ended(self) -> None:
        """A connection has no more to send."""
        self.open -= 1
        if self.open == 0 and not self.done.done():
            self.done.set_result(None)

    async def connect(self) -> None:
        """Open one more connection, or tell that it cannot be had."""
        try:
            await asyncio.get_running_loop().create_connection(lambda: Connection(self), self.host, self.port)
        except OSError as error:
            if not self.done.done():
                self.done.set_exception(error)


class Connection(asyncio.Protocol):
    """One connection, with one request under way at a time."""

    transport: asyncio.Transport

    def __init__(self, load: Load) -> None:
        self.load = load
        self.received = b""
        self.waiting = False
        self.ending = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Send the first request."""
        self.transport = transport
        self.send()

    def send(self) -> None:
        """Send a request, if there are any left."""
        if self.load.left > 0:
            self.load.left -= 1
            self.waiting = True
            self.began = perf_counter()
            self.transport.write(self.load.request)
        else:
            self.ending = True
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Take an answer, of which usually all comes at once."""
        self.received = received = self.received + data if self.received else data
        head = received.find(b"\r\n\r\n")
        if head < 0:
            return
        at = received.index(b"content-length: ") + 16
        if len(received) < head + 4 + int(received[at : received.index(b"\r", at)]):
            return
        self.load.taken.append(perf_counter() - self.began)
        self.load.statuses[received[9:12]] += 1
        self.received, self.waiting = b"", False
        if b"connection: close" not in received[:head]:
            self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        """Open another one where there is more to send. What had no answer is sent again."""
        if self.ending:
            self.load.ended()
            return
        self.load.closed += 1
        self.load.left += self.waiting
        if self.load.left > 0:
            self.task = asyncio.get_running_loop().create_task(self.load.connect())
        else:
            self.load.ended()


async def drive(url: str, token: str, connections: int, seconds: float | None, most: int | None) -> Summary:
    """Load the URL for so many seconds, or with so many requests. Raises OSError where no connection can be had."""
    parts = urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    lines = [f"POST {parts.path} HTTP/1.1", f"Host: {parts.netloc}", "Content-Type: application/json"]
    lines += [f"Authorization: Bearer {token}"] if token else []
    head = "\r\n".join([*lines, f"Content-Length: {len(BODY)}", "\r\n"])
    load = Load(host, port, head.encode() + BODY, float("inf") if most is None else most)
    load.open = connections
    began = perf_counter()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, load.stop)
    if seconds is not None:
        asyncio.get_running_loop().call_later(seconds, load.stop)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(connections):
            tasks.create_task(load.connect())
    async with asyncio.timeout(None if seconds is None else seconds + PATIENCE):
        await load.done
    statuses = {status.decode(): count for status, count in load.statuses.items()}
    return summary(load.taken, perf_counter() - began, statuses, load.closed)


def summary(taken: Sequence[float], seconds: float, statuses: dict[str, int], closed: int) -> Summary:
    """What came of requests that took so many seconds each."""
    ordered = sorted(taken) or [0.0]
    p50, p99 = (1000 * ordered[int(part * (len(ordered) - 1))] for part in (0.5, 0.99))
    return Summary(len(taken), seconds, p50, p99, statuses, closed)


def main() -> int:
    """The token is in the variable BENCH_TOKEN; with none, requests have no Authorization field."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.client", description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--requests", type=int)
    given = parser.parse_args()
    token = os.environ.get("BENCH_TOKEN", "")
    found = uvloop.run(drive(given.url, token, given.connections, given.seconds, given.requests))
    sys.stdout.write(json.dumps(asdict(found)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
