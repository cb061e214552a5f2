"""Clients that never read their responses: they hold little, for a limited time, and nobody else waits for them."""

import asyncio
import socket
from asyncio import sslproto
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from postern.server import outgoing
from postern.server.connection import HIGH_WATER
from postern.server.outgoing import Held, Outgoing, beyond
from postern.server.protocol import GuardedProtocol
from postern.triggers.exchange import EXCHANGE
from postern.triggers.reply import lines_of
from tests.server.test_protocol import HOST, Echo, Running, eventually, serving
from tests.table import table

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

GET = b"GET /%b HTTP/1.1\r\n" + HOST + b"\r\n"
SIZE = 12 * 1024 * 1024
"""More than the kernel takes for a client that does not read."""


@pytest.fixture(params=[True, False], ids=["uvloop", "asyncio"])
def anyio_backend(request):
    return "asyncio", {"use_uvloop": request.param}


class Impatient(GuardedProtocol):
    write_seconds = 0.1
    linger_seconds = 0.1


@pytest.fixture(autouse=True)
def looks_often(monkeypatch):
    monkeypatch.setattr(outgoing, "LOOK_SECONDS", 0.02)


class Large(Echo):
    """Responds with SIZE bytes, or as many as the path says, whole (`/w…`) or in two messages."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = 0

    async def __call__(self, scope, receive, send):
        self.begun += 1
        whole, size = scope["path"].startswith("/w"), int(scope["path"][2:] or SIZE)
        headers = [(b"content-length", b"%d" % size)]
        if not (whole and scope[EXCHANGE].answer_at_once(200, lines_of(headers), b"x" * size)):
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"x" * size})


async def silent(running: Running, *requests: bytes) -> socket.socket:
    """A client that sends requests and reads nothing."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, ("127.0.0.1", running.port))
    for request in requests:
        await loop.sock_sendall(client, request)
    return client


async def take(client: socket.socket, most: int = 1024 * 1024) -> int:
    """Read once. Returns how many bytes came."""
    async with asyncio.timeout(20):
        data = await asyncio.get_running_loop().sock_recv(client, most)
    assert data, "the connection was closed"
    return len(data)


def begun(running: Running) -> int:
    assert isinstance(running.app, Large)
    return running.app.begun


def waits(connection: Any) -> bool:
    """Whether bytes are left that the socket did not take."""
    return bool(connection.transport.get_write_buffer_size())


def unwritten(running: Running) -> int:
    return sum(connection.transport.get_write_buffer_size() for connection in running.state.connections)


@table("path", [b"w", b"s"])
@table("more", [b"", b"Connection: close\r\n"])
async def test_a_client_that_reads_nothing_is_cut_off_after_its_time(path, more):
    """With one line in the log for all of them."""
    async with serving(Impatient, app=Large()) as running:
        request = b"GET /%b HTTP/1.1\r\n%b%b\r\n" % (path, HOST, more)
        with capture_logs() as lines:
            clients = [await silent(running, request) for _ in range(3)]
            await eventually(lambda: begun(running) == 3)
            await eventually(lambda: not running.state.connections)
        assert [(line["event"], line["client_address"]) for line in lines] == [("reply-not-read", "127.0.0.1")]
        assert not running.state.tasks
        for client in clients:
            client.close()


class ByHand:
    """A loop whose time and timers are moved by hand: a busy machine does not change how much a client takes in a
    second."""

    def __init__(self) -> None:
        self.now = 0.0
        self._timers: list[tuple[float, Callable[[], object]]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, seconds: float, callback: Callable[..., object], *arguments: Any, context: object) -> None:
        self._timers.append((self.now + seconds, partial(callback, *arguments)))

    def passes(self, seconds: float) -> None:
        """Let time pass, and call what is due."""
        self.now += seconds
        due = [timer for timer in self._timers if timer[0] <= self.now]
        self._timers = [timer for timer in self._timers if timer not in due]
        for _, callback in due:
            callback()


@pytest.fixture
def by_hand(monkeypatch) -> ByHand:
    """The time of connections whose clients do not read."""
    loop = ByHand()
    watch: Any = Outgoing.watch
    monkeypatch.setattr(Outgoing, "watch", lambda watcher, sender, _: watch(watcher, sender, loop))
    return loop


async def test_a_client_that_reads_slowly_keeps_its_connection(by_hand):
    """Although the time for the whole response is many times the time without progress."""
    async with serving(Impatient, app=Large()) as running:
        client = await silent(running, GET % b"w")
        got = 0
        while by_hand.now < 4 * Impatient.write_seconds:
            got += await take(client, 65536)
            by_hand.passes(outgoing.LOOK_SECONDS)
            await asyncio.sleep(0)
        assert running.state.connections
        while got < SIZE:
            got += await take(client)
        client.close()


@pytest.mark.parametrize("together", [True, False])
async def test_no_further_request_begins_while_a_response_is_unread_and_all_are_served_when_it_is_read(together):
    """Neither one of a pipeline, nor one that comes later."""
    async with serving(app=Large()) as running:
        client = await silent(running, GET % b"w")
        if not together:
            await eventually(lambda: unwritten(running))
        for _ in range(9):
            await asyncio.get_running_loop().sock_sendall(client, GET % b"w9")
        await eventually(lambda: unwritten(running))
        for _ in range(5):
            await asyncio.sleep(0)
        assert begun(running) == 1
        got = 0
        while begun(running) < 10 or got < SIZE + 9 * 9:
            got += await take(client)
        client.close()


async def test_a_pipeline_of_small_responses_ends_when_the_socket_takes_no_more():
    """Not even a small response is made before the one ahead of it has left."""
    async with serving(app=Large()) as running:
        client = await silent(running)
        sent = 0
        while not unwritten(running):
            client.send(GET % b"w8000" * 20)
            sent += 20
            await asyncio.sleep(0.001)
        before = begun(running)
        assert unwritten(running) < 2 * HIGH_WATER
        for _ in range(20):
            await asyncio.sleep(0)
        assert (begun(running), before < sent) == (before, True)
        client.close()


async def test_closing_a_connection_whose_client_reads_nothing_ends():
    """When it is idle for long, when the server stops, and when the client has sent its last."""

    class Idle(Impatient):
        def connection_made(self, transport):
            super().connection_made(transport)
            self.timeout_keep_alive = 0.05  # type: ignore[assignment]

        def pause_writing(self):
            """As if what is left were less than is watched."""
            self.flow.pause_writing()

    for end in ("idle", "shutdown", "drain", "eof"):
        async with serving(Idle, app=Large()) as running:
            client = await silent(running, GET % b"w")
            await eventually(lambda: unwritten(running))
            for connection in list(running.state.connections):
                if end != "idle":
                    connection.timeout_keep_alive_task.cancel()  # type: ignore[union-attr]
                if end == "shutdown":
                    connection.shutdown()
                if end == "drain":
                    connection.drain(0.02)  # type: ignore[union-attr, call-arg]
            if end == "eof":
                client.shutdown(socket.SHUT_WR)
            await eventually(lambda: not running.state.connections)
            client.close()


async def test_a_stop_waits_for_unread_responses_as_long_as_for_idle_connections():
    async with serving(app=Large()) as running:
        client = await silent(running, GET % b"w")
        await eventually(lambda: unwritten(running))
        for connection in list(running.state.connections):
            assert connection.write_seconds == 30.0  # type: ignore[union-attr]
            connection.linger_seconds = 0.01  # type: ignore[union-attr]
            connection.drain(0.05)  # type: ignore[union-attr, call-arg]
        await eventually(lambda: not running.state.connections)
        client.close()


async def test_all_unread_bytes_are_bounded_and_a_client_that_reads_is_spared(by_hand, monkeypatch):
    """Although all are within their own time."""
    monkeypatch.setattr(outgoing, "MOST_BYTES", 2 * SIZE)
    in_time = 2 * SIZE * outgoing.LOOK_SECONDS / GuardedProtocol.write_seconds
    async with serving(app=Large()) as running:
        client = await silent(running, GET % b"w%d" % (2 * SIZE))
        clients = [await silent(running, GET % b"w") for _ in range(8)]
        await eventually(lambda: begun(running) == 9 and all(map(waits, running.state.connections)))
        assert unwritten(running) > 2 * SIZE
        for _ in range(4):
            got = 0
            while got < 2 * in_time:
                got += await take(client)
            by_hand.passes(outgoing.LOOK_SECONDS)
        await eventually(lambda: len(running.state.connections) < 9)
        assert unwritten(running) <= 2 * SIZE
        assert client.getsockname() in [each.client for each in running.state.connections]  # type: ignore[union-attr]
        for each in (client, *clients):
            each.close()


def test_a_transport_for_tls_that_is_closed_has_no_unsent_bytes():
    """asyncio's raises an AttributeError, which ended a server in the middle of its stop."""
    made: Any = sslproto._SSLProtocolTransport
    transport = made(None, None)
    transport._closed = True
    assert outgoing.unsent(transport) == 0


def held(name: str, size: int, address: str, *, moves: bool = False) -> Held:
    return Held(SimpleNamespace(name=name), size, address, moves)


@pytest.mark.parametrize(
    ("every", "closed"),
    [
        ([], []),
        ([held("a", 10, "1")], []),
        ([held("a", 6, "1"), held("b", 6, "2")], ["a"]),
        ([held("a", 3, "1"), held("b", 5, "2"), held("c", 5, "2")], ["b"]),  # the address with the most, oldest first
        ([held("a", 20, "1", moves=True)], []),
        ([held("a", 20, "1", moves=True), held("b", 1, "2"), held("c", 1, "1")], ["c", "b"]),
    ],
)
def test_beyond_the_bound_those_of_the_address_with_the_most_go_first(every: list[Held], closed: list[str]):
    chosen: Any = beyond(every, 10)
    assert [sender.name for sender in chosen] == closed


@dataclass(eq=False)
class Connection:
    """A connection that holds so many bytes."""

    size: int
    write_seconds: float = 30.0
    client: tuple[str, int] = ("192.0.2.1", 1)
    aborted: bool = False

    @property
    def transport(self) -> Any:
        return self

    def get_write_buffer_size(self) -> int:
        return self.size

    def get_extra_info(self, _: str) -> None:
        return None

    def abort(self) -> None:
        self.aborted = True


@pytest.mark.parametrize(("rate", "closed"), [(0.0, True), (0.001, True), (0.02, True), (0.04, False), (0.5, False)])
def test_beyond_the_bound_a_client_is_spared_that_will_have_all_in_its_time(rate, closed, monkeypatch):
    """A part of the reply in each second: a few bytes now and then would keep a connection for hours."""
    watcher, now = Outgoing(), 0.0
    loop: Any = SimpleNamespace(time=lambda: now, call_later=lambda *_, **__: None)
    connection = Connection(1_000_000)
    sender: Any = connection
    watcher.watch(sender, loop)
    for look in range(10):
        if look == 9:
            monkeypatch.setattr(outgoing, "MOST_BYTES", 1000)
        now += outgoing.LOOK_SECONDS * 0.99
        connection.size = int(1_000_000 * (1 - rate * now))
        watcher._look(loop)
        assert connection.aborted == (closed and look == 9)


def test_a_client_with_many_addresses_of_one_network_is_one_client(monkeypatch):
    """Otherwise it would hold next to nothing at each address, and others would be closed first."""
    watcher, now = Outgoing(), 0.0
    loop: Any = SimpleNamespace(time=lambda: now, call_later=lambda *_, **__: None)
    honest = Connection(30, client=("2001:db8:2::1", 1))
    many: list[Any] = [Connection(20, client=(f"2001:db8:1::{number}", 1)) for number in range(10)]
    connections: list[Any] = [honest, *many]
    for connection in connections:
        watcher.watch(connection, loop)
    monkeypatch.setattr(outgoing, "MOST_BYTES", 100)
    now = 2 * outgoing.LOOK_SECONDS
    watcher._look(loop)
    assert (honest.aborted, sum(each.aborted for each in many)) == (False, 7)
