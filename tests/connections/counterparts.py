"""The other side of calls out: small servers on loopback that record what arrives and answer as a test says, and a way
of signing in whose credentials are easy to find."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from postern.connections.allowed_urls import AllowedUrls
from postern.connections.auth.sign_in import SignIn
from postern.connections.entry_client import EntryClient
from postern.connections.entry_transport import Caps, EntryTransport
from postern.connections.retry_transport import Retries
from postern.connections.stage import Stage
from postern.http_client import URL, AsyncBaseTransport, Request, pool

SECRET = "marker-of-the-credential"


@dataclass
class Received:
    """A request as it arrived."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes
    reader: asyncio.StreamReader = field(repr=False)

    def header(self, name: str) -> str:
        return ", ".join(value for key, value in self.headers if key == name)


Answer = Callable[[Received, asyncio.StreamWriter], Awaitable[bytes | None]]


@dataclass
class Counterpart:
    """A server that answers every request by `answer`: it gives the bytes to send, or None when it has sent something
    itself and the connection is to be closed."""

    answer: Answer
    received: list[Received] = field(default_factory=list)
    connections: int = 0
    open_now: int = 0
    most_open: int = 0
    port: int = 0
    scheme: str = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def targets(self) -> list[str]:
        return [each.target for each in self.received]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open_now += 1
        self.most_open = max(self.most_open, self.open_now)
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                while await self._one(reader, writer):
                    pass
        finally:
            self.open_now -= 1
            writer.transport.abort()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        line, *fields = head.decode("latin-1").split("\r\n")[:-2]
        method, target, _ = line.split(" ")
        headers = [(name.lower(), value.strip()) for name, _, value in (each.partition(":") for each in fields)]
        length = int(dict(headers).get("content-length", "0"))
        body = await reader.readexactly(length)
        received = Received(method, target, headers, body, reader)
        self.received.append(received)
        sent = await self.answer(received, writer)
        if sent is not None:
            writer.write(sent)
            await writer.drain()
        return sent is not None


def reply(status: int = 200, body: bytes = b"", *headers: str) -> bytes:
    """A whole reply."""
    head = [f"HTTP/1.1 {status} Whatever {SECRET}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def always(status: int = 200, body: bytes = b"", *headers: str) -> Answer:
    """What answers everything alike."""

    async def answer(_: Received, __: asyncio.StreamWriter) -> bytes:
        return reply(status, body, *headers)

    return answer


def in_turn(*replies: bytes) -> Answer:
    """What answers by one after the other; the last one stays."""
    waiting = list(replies)

    async def answer(_: Received, __: asyncio.StreamWriter) -> bytes:
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]

    return answer


@asynccontextmanager
async def listening(answer: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[Counterpart]:
    """A server for as long as the block lasts."""
    counterpart = Counterpart(answer, scheme="https" if tls else "http")
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with suppress(asyncio.CancelledError):
            await counterpart.serve(reader, writer)
        tasks.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    counterpart.port = server.sockets[0].getsockname()[1]
    try:
        yield counterpart
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Marked(SignIn):
    """Signs by header and by query; what it signs with is refused, or not, by the other side."""

    def __init__(self, credential: str = SECRET, others: list[str] | None = None) -> None:
        self.value = credential
        self.others = others or []
        self.received = 0

    async def credential(self) -> str:
        return self.value

    def sign(self, request: Request, credential: str) -> None:
        request.headers["Authorization"] = f"Bearer {credential}"
        request.headers["X-Api-Key"] = credential
        request.url = request.url.copy_merge_params({"key": credential})

    async def another(self, refused: str) -> str | None:
        self.received += 1
        return self.others.pop(0) if self.others else None

    async def try_out(self) -> AsyncIterator[Stage]:
        yield Stage("signed in", True)


@dataclass
class Waits:
    """Waits that only pass in a test's own time, which is seconds from 0."""

    seconds: list[float] = field(default_factory=list)

    async def sleep(self, seconds: float) -> None:
        self.seconds.append(seconds)

    def retries(self, **others: Any) -> Retries:
        return Retries(sleep=self.sleep, uniform=lambda _, most: most, **others)


@asynccontextmanager
async def shared_pool(most: int = 50) -> AsyncIterator[AsyncBaseTransport]:
    """A pool, closed at the end."""
    made = pool(None, most=most, kept=10)
    yield made
    await made.aclose()


def client_of(
    pool: AsyncBaseTransport,
    url: str,
    *,
    auth: SignIn | None = None,
    exact: bool = False,
    caps: Caps | None = None,
    retries: Retries | None = None,
    entry: str = "connections.crm",
) -> EntryClient:
    """The client of an entry at `url`."""
    transport = EntryTransport(
        entry, AllowedUrls(entry, URL(url), exact), pool, caps or Caps(5.0), retries or Retries()
    )
    return EntryClient(transport, auth=auth)
