"""The end of a server on the wire: the listening socket, and connections in every state."""

import asyncio
import socket

import pytest

from postern.server.listener import LONGEST, accepted, block_new
from tests.server.test_protocol import HOST, Client, Hasty, Running, eventually, serving
from tests.tools import needed_filter, needed_ipv6

pytestmark = pytest.mark.anyio

GET = b"GET /1 HTTP/1.1\r\n" + HOST + b"\r\n"


@pytest.fixture
def anyio_backend():
    return "asyncio", {"use_uvloop": True}


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_port_that_is_to_be_closed_accepts_no_connection_and_resets_none(address: str):
    """What has begun goes on in both directions, and who comes later is refused once the socket is closed."""
    needed_filter()
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    if family == socket.AF_INET6:
        needed_ipv6()
    with socket.create_server((address, 0), family=family) as listener:
        place = listener.getsockname()[:2]
        with socket.create_connection(place) as begun:
            assert block_new(listener)
            with pytest.raises(TimeoutError):
                socket.create_connection(place, timeout=0.05)
            begun.sendall(b"hello")
            taken, _ = listener.accept()
            with taken:
                assert taken.recv(5) == b"hello"
                listener.close()
                taken.sendall(b"world")
                assert begun.recv(5) == b"world"
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(place)


async def test_a_socket_that_is_closed_already_is_not_waited_for():
    listener = socket.create_server(("127.0.0.1", 0))
    listener.close()
    async with asyncio.timeout(LONGEST / 2):
        await accepted(listener)


async def used(running: Running) -> Client:
    client = await running.connect()
    client.send(GET)
    assert "connection" not in (await client.answer())[1]
    return client


async def test_a_draining_connection_serves_what_comes_and_closes_with_that_answer():
    """Idle, new, in a head, in a body, with an answer under way: each has its answer, with `Connection: close`."""
    async with serving() as running:
        idle, head, body, busy = [await used(running) for _ in range(4)]
        new = await running.connect()
        head.send(GET[:20])
        body.send(b"POST /1 HTTP/1.1\r\n" + HOST + b"Content-Length: 4\r\n\r\nhi")
        busy.send(b"GET /wait HTTP/1.1\r\n" + HOST + b"\r\n")
        await eventually(lambda: running.app.paths[-1:] == ["/wait"] and len(running.state.connections) == 5)
        for connection in list(running.state.connections):
            connection.drain(5.0)  # type: ignore[union-attr, call-arg]
            connection.drain(5.0)  # type: ignore[union-attr, call-arg]
        running.app.go_on.set()
        idle.send(GET)
        new.send(GET)
        head.send(GET[20:])
        body.send(b"ho")
        for client in (idle, new, head, body, busy):
            status, headers, _ = await client.answer()
            assert (status, headers["connection"]) == (200, "close")
            assert await client.closed() == b""


async def test_a_draining_connection_on_which_nothing_comes_is_closed_when_the_patience_is_over():
    """But not one whose request has begun to come: that has its own time."""
    async with serving(Hasty) as running:
        idle, head, new = await used(running), await used(running), await running.connect()
        head.send(GET[:20])
        await eventually(lambda: len(running.state.connections) == 3)
        for connection in list(running.state.connections):
            connection.drain(0.02)  # type: ignore[union-attr, call-arg]
        assert [await idle.closed(), await new.closed()] == [b"", b""]
        head.send(GET[20:])
        status, headers, _ = await head.answer()
        assert (status, headers["connection"]) == (200, "close")
        assert await head.closed() == b""
