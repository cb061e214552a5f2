"""Callers who do nothing wrong, at a steady rate, and what they get."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field

RATE = 20
"""Requests of a caller in a second."""

CONNECTIONS = 4
"""Of a caller, who uses them in turn: a reply that is late delays few of the next requests."""

PATIENCE = 30.0
"""Seconds that a reply may take."""


@dataclass
class Caller:
    """One of them. `times`: how long each reply took in milliseconds, counted from when the
    request was due, so that a pause of the server counts for all requests that waited for its end. `unasked`: the
    statuses that had no `Retry-After`."""

    name: str
    request: bytes
    times: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    unasked: Counter[int] = field(default_factory=Counter)

    def percentile(self, part: float) -> float:
        return sorted(self.times)[int(len(self.times) * part)]

    async def calls(self, port: int, over: asyncio.Event) -> None:
        """Call until it is over. Raises if a connection breaks."""
        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(CONNECTIONS):
                group.create_task(self._calls(port, over, began + number / RATE))

    async def _calls(self, port: int, over: asyncio.Event, due: float) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while not over.is_set():
            await asyncio.sleep(due - time.perf_counter())
            async with asyncio.timeout(PATIENCE):
                writer.write(self.request)
                status, head = await replied(reader)
            self.times.append((time.perf_counter() - due) * 1000)
            self.statuses[status] += 1
            if b"\r\nretry-after: " not in head:
                self.unasked[status] += 1
            due += CONNECTIONS / RATE
        writer.close()
        await writer.wait_closed()


async def replied(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """The status and the head of a reply, whose content is read and left."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
    await reader.readexactly(length)
    return int(head[9:12]), head


def get(target: str, token: str = "") -> bytes:
    """A request without a body."""
    return request("GET", target, token=token)


def request(method: str, target: str, body: bytes = b"", key: str = "", token: str = "") -> bytes:
    """A request with JSON, or without a body."""
    headers = [f"{method} {target} HTTP/1.1", "Host: 127.0.0.1"]
    if body:
        headers += ["Content-Type: application/json"]
    if method == "POST":
        headers += [f"Content-Length: {len(body)}"]
    headers += [f"Idempotency-Key: {key}"] if key else []
    headers += [f"Authorization: Bearer {token}"] if token else []
    return "\r\n".join([*headers, "", ""]).encode() + body
