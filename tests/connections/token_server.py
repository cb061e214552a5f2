"""A small token endpoint, and secrets, that tests tell what to answer."""

import asyncio
import json
from base64 import b64decode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote_plus

from postern.connections.faults import ConnectionFault
from postern.connections.vault.secret import Secret

Answered = bytes | None


@dataclass
class Received:
    """One request that arrived."""

    line: str
    headers: dict[str, str]
    form: dict[str, str]

    @property
    def basic(self) -> tuple[str, str]:
        """Client id and secret of the header, decoded as RFC 6749, section 2.3.1, has it."""
        name, _, value = b64decode(self.headers["authorization"].removeprefix("Basic ")).decode().partition(":")
        return unquote_plus(name), unquote_plus(value)


@dataclass
class TokenServer:
    """A real server on loopback. `answer` gives the bytes of each response; None keeps the caller waiting."""

    port: int = 0
    received: list[Received] = field(default_factory=list)
    answer: Callable[[Received], Answered] = lambda _: reply(access_token="token", token_type="Bearer", expires_in=3600)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/token"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        body = (await reader.readexactly(int(headers.get("content-length", "0")))).decode()
        self.received.append(
            Received(head[0], headers, {k: v[0] for k, v in parse_qs(body, strict_parsing=True).items()})
        )
        answer = self.answer(self.received[-1])
        if answer is None:
            await reader.read()  # until the caller gives up
        else:
            writer.write(answer)
        writer.close()


def reply(status: int = 200, **members: object) -> bytes:
    """A response with a JSON object."""
    return raw(json.dumps(members).encode(), status)


def raw(body: bytes, status: int = 200, *headers: str) -> bytes:
    """A response with this body."""
    head = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join([*head, "", ""]).encode() + body


@asynccontextmanager
async def token_server() -> AsyncIterator[TokenServer]:
    """A server that has started."""
    server = TokenServer()
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listening:
        server.port = listening.sockets[0].getsockname()[1]
        yield server


@dataclass
class Kept:
    """Secrets as a vault has them: `read` remembers, `read_again` does not. Both count."""

    values: dict[str, str]
    expires_on: float | None = None
    remembered: dict[str, str] = field(default_factory=dict)
    reads: int = 0
    fresh_reads: int = 0

    async def read(self, name: str) -> Secret:
        self.reads += 1
        if name not in self.values:
            raise ConnectionFault(f"the secret {name}", "is not in the vault", "Correct its name")
        return Secret(name, self.remembered.setdefault(name, self.values[name]), self.expires_on)

    async def read_again(self, name: str, refused: str) -> Secret:
        self.fresh_reads += 1
        self.remembered[name] = self.values[name]
        return Secret(name, self.values[name], self.expires_on)
