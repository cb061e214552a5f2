"""Whatever a caller sends into a tunnel that the agent reads, another parser finds nothing at the target but requests
that the rows allow."""

from typing import Any

import anyio
import h11
import httptools
import pytest
from anyio.abc import ByteStream
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postern.gateway.agent.allowed import Target, row_of
from postern.gateway.agent.relay import Relay
from postern.gateway.agent.rows import Row

pytestmark = pytest.mark.slow

ROWS = (Row(address="stock.corp:80", scheme="http", methods=["GET", "POST"], paths=["/items"]),)
AT = Target("stock.corp", 80, ROWS)
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

PARTS = [
    *(b"GET ", b"POST ", b"DELETE ", b"GET\t", b"get ", b"GET  ", b"\r\nGET ", b" GET "),
    *(
        b"/items",
        b"/items/7",
        b"/admin",
        b"/items/../admin",
        b"/items%2f..%2fadmin",
        b"//admin",
        b"*",
        b"/items#",
        b"?",
    ),
    *(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b" HTTP/1.1\n", b" HTTP/2.0\r\n", b"\r\n", b"\n", b"\r", b"\x00", b"\x0b"),
    *(b"Host: stock.corp\r\n", b"Host: other.corp\r\n", b"Host : stock.corp\r\n", b" folded: x\r\n", b"X: y\r\n"),
    *(b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Content-Length: 99\r\n", b"Content-Length: 0x5\r\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: identity\r\n", b"Transfer-Encoding:\x0bchunked\r\n"),
    *(b"Connection: close\r\n", b"Connection: content-length\r\n", b"Upgrade: h2c\r\n", b"Expect: 100-continue\r\n"),
    *(b"5\r\nhello\r\n", b"0\r\n\r\n", b"0\r\n", b"5;x=y\r\nhello\r\n", b"-1\r\n", b"FFFFFFFFFFFFFFFFF\r\n", b"hello"),
    b"GET /admin HTTP/1.1\r\nHost: stock.corp\r\n\r\n",
    b"GET /items HTTP/1.1\r\nHost: stock.corp\r\n\r\n",
    b"POST /items HTTP/1.1\r\nHost: stock.corp\r\nContent-Length: 5\r\n\r\nhello",
    b"POST /items HTTP/1.1\r\nHost: stock.corp\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
]


class Tunnel(ByteStream):
    """Parts that come one after the other, and what was answered."""

    def __init__(self, parts: list[bytes]) -> None:
        self.parts = list(parts)
        self.answered = b""

    async def receive(self, max_bytes: int = 65536) -> bytes:
        await anyio.lowlevel.checkpoint()
        if not self.parts:
            raise anyio.EndOfStream
        return self.parts.pop(0)

    async def send(self, item: bytes) -> None:
        await anyio.lowlevel.checkpoint()
        self.answered += item

    async def send_eof(self) -> None:
        pass

    async def aclose(self) -> None:
        pass


class System(ByteStream):
    """A target that keeps what it gets, and answers each whole request."""

    def __init__(self) -> None:
        self.got = b""
        self._ready: list[bytes] = []
        self._more = anyio.Event()
        self._parser = h11.Connection(h11.SERVER)

    async def send(self, item: bytes) -> None:
        await anyio.lowlevel.checkpoint()
        self.got += item
        self._parser.receive_data(item)
        while (event := self._parser.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
            if isinstance(event, h11.EndOfMessage):
                self._ready.append(ANSWER)
                self._parser = h11.Connection(h11.SERVER)
                self._more.set()

    async def receive(self, max_bytes: int = 65536) -> bytes:
        while not self._ready:
            self._more = anyio.Event()
            await self._more.wait()
        return self._ready.pop(0)

    async def send_eof(self) -> None:
        pass

    async def aclose(self) -> None:
        pass


class Seen:
    """The requests that llhttp finds, which is not the parser of the agent."""

    def __init__(self, data: bytes) -> None:
        self.requests: list[tuple[str, bytes]] = []
        self.hosts: list[bytes] = []
        self._url = b""
        parser: Any = httptools.HttpRequestParser(self)
        self._method = lambda: parser.get_method().decode()
        try:
            parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.fault: Exception | None = error
        else:
            self.fault = None

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"host":
            self.hosts.append(value)

    def on_headers_complete(self) -> None:
        self.requests.append((self._method(), self._url))
        self._url = b""


@given(st.lists(st.one_of(st.sampled_from(PARTS), st.binary(max_size=4)), max_size=12), st.booleans())
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_another_parser_finds_nothing_at_the_target_but_allowed_requests(parts: list[bytes], together: bool):
    system, tunnel = System(), Tunnel([b"".join(parts)] if together else [part for part in parts if part])

    async def run() -> None:
        with anyio.move_on_after(5) as scope:
            await Relay(tunnel, system, AT, lambda method, path: row_of(AT, method, path), lambda *_: None).run()
        assert not scope.cancelled_caught

    anyio.run(run)
    seen = Seen(system.got)
    assert seen.fault is None
    for method, path in seen.requests:
        assert isinstance(row_of(AT, method, path), Row)
    assert set(seen.hosts) <= {b"stock.corp"}
