"""Connections leave nothing for the garbage collector, however they end."""

from collections.abc import Awaitable, Callable

import pytest

from tests.garbage import garbage
from tests.server.test_protocol import CHUNKED, HOST, Client, Echo, eventually, serving
from tests.table import table

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

End = Callable[[Client], Awaitable[None]]


@pytest.fixture(params=[True, False], ids=["uvloop", "asyncio"])
def anyio_backend(request):
    return "asyncio", {"use_uvloop": request.param}


def get(path: bytes = b"/", version: bytes = b"1.1") -> bytes:
    return b"GET " + path + b" HTTP/" + version + b"\r\n" + HOST + b"\r\n"


def post(path: bytes, head: bytes, body: bytes = b"") -> bytes:
    return b"POST " + path + b" HTTP/1.1\r\n" + HOST + head + b"\r\n" + body


async def answered(client: Client) -> None:
    """The client has its answer, and closes."""
    await client.answer()
    client.writer.close()


async def thrice(client: Client) -> None:
    """It sends two more requests on the same connection."""
    for _ in range(2):
        await client.answer()
        client.send(get(b"/again"))
    await answered(client)


async def gone(client: Client) -> None:
    """The client aborts the connection."""
    client.writer.transport.abort()


async def closed(client: Client) -> None:
    """The server closes, and the client reads to the end."""
    await client.closed()
    client.writer.close()


@table(
    "sent, begun, end",
    [
        (b"", 0, gone),
        (b"GET / HT", 0, gone),
        (get(), 1, answered),
        (get(), 1, thrice),
        (get(version=b"1.0"), 1, closed),
        (get(b"/wait"), 1, gone),
        (get(b"/wait") * 20, 1, gone),
        (get(b"/1") * 20, 20, gone),
        (post(b"/", b"Content-Length: 9\r\n", b"half"), 1, gone),
        (post(b"/early", b"Content-Length: 9\r\n", b"half"), 1, closed),
        (post(b"/", CHUNKED, b"zz\r\n"), 1, closed),
        (get() + post(b"/wait", b"Content-Length: 9\r\n", b"half"), 1, gone),
        (get() + b"nonsense\r\n\r\n", 1, closed),
        (b"nonsense\r\n\r\n", 0, closed),
    ],
)
async def test_a_connection_that_has_ended_leaves_no_garbage(sent: bytes, begun: int, end: End):
    app = Echo()
    async with serving(app=app) as running:
        with garbage() as found:
            client = await running.connect()
            client.send(sent)
            await eventually(lambda: len(app.paths) >= begun)
            await end(client)
            app.go_on.set()
            await eventually(lambda: not running.state.connections and not running.state.tasks)
    assert not found
