"""The one upgrade that the server makes: links of gateways, over real sockets."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any, ClassVar

import anyio
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from postern.server.link_head import wants_link
from postern.server.link_socket import LINK, LinkSocket
from postern.server.process import Server, bind, server_config
from postern.server.protocol import GuardedProtocol
from tests.server.test_protocol import Echo, Hasty, Running, eventually, serving
from tests.table import table

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

USER: ContextVar[str] = ContextVar("USER", default="")
PATH = "/gateways/madrid/link"
PROTOCOL = "postern-gateway.1"
KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
UPGRADE = b"Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\n" + KEY
HOST = b"Host: postern.test\r\n"
HANDSHAKE = b"GET /gateways/madrid/link HTTP/1.1\r\n" + HOST + UPGRADE + b"Sec-WebSocket-Protocol: a, b\r\n\r\n"


class Links(Echo):
    """Accepts links and echoes their messages, but for those that `refuses` names; all else as Echo does."""

    def __init__(self) -> None:
        super().__init__()
        self.scopes: list[dict[str, Any]] = []
        self.ended = 0
        self.refuses = False
        self.reads = True

    async def __call__(self, scope, receive, send):
        link: LinkSocket | None = scope.get(LINK)
        self.scopes.append(scope)
        if link is None:
            await super().__call__(scope, receive, send)
            return
        if self.refuses:
            await send({"type": "http.response.start", "status": 401, "headers": [(b"www-authenticate", b"Bearer")]})
            await send({"type": "http.response.body", "body": b'{"code": "unauthenticated"}'})
            return
        await link.accept(PROTOCOL)
        try:
            while self.reads:
                await link.send(await link.receive())
            await self.go_on.wait()
        except (anyio.EndOfStream, anyio.BrokenResourceError, OSError):
            self.ended += 1


@asynccontextmanager
async def taking_links(protocol: type[GuardedProtocol] = GuardedProtocol, **settings: Any) -> AsyncIterator[Running]:
    async with serving(protocol, Links(), lifespan={"links": True}, **settings) as running:
        yield running


def at(running: Running, **more: Any) -> Any:
    return connect(
        f"ws://127.0.0.1:{running.port}{PATH}",
        subprotocols=[PROTOCOL],  # type: ignore[list-item]
        proxy=None,
        **{"compression": None, "ping_interval": None} | more,
    )


def links_of(running: Running) -> Links:
    assert isinstance(running.app, Links)
    return running.app


async def test_a_link_is_a_request_until_it_is_accepted_and_carries_messages_then():
    async with taking_links() as running, at(running, additional_headers={"Authorization": "Bearer x"}) as link:
        await link.send(b"hello")
        assert await link.recv() == b"hello"
        assert link.subprotocol == PROTOCOL
        (scope,) = links_of(running).scopes
        shown = {key: scope[key] for key in ("type", "method", "path", "scheme", "query_string")}
        assert shown == {"type": "http", "method": "GET", "path": PATH, "scheme": "http", "query_string": b""}
        assert scope[LINK].subprotocols == (PROTOCOL,)
        assert (b"authorization", b"Bearer x") in scope["headers"]


async def test_messages_are_not_compressed_and_have_at_most_1_mib():
    async with taking_links() as running, at(running, compression="deflate", max_size=None) as link:
        assert not link.protocol.extensions
        await link.send(bytes(2**20))
        assert len(await link.recv()) == 2**20
        await link.send(bytes(2**20 + 1))
        with pytest.raises(ConnectionClosed) as raised:
            await link.recv()
        assert raised.value.rcvd is not None
        assert raised.value.rcvd.code == 1009
        await eventually(lambda: links_of(running).ended)


async def test_text_ends_a_link():
    async with taking_links() as running, at(running) as link:
        await link.send("text")
        with pytest.raises(ConnectionClosed):
            await link.recv()
        assert links_of(running).ended == 1


async def test_the_end_of_either_side_is_seen_by_the_other():
    async with taking_links() as running:
        async with at(running) as link:
            await link.send(b"hello")
        await eventually(lambda: links_of(running).ended == 1)
        async with at(running) as link:
            (connection,) = running.state.connections
            connection.shutdown()
            with pytest.raises(ConnectionClosed):
                await link.recv()


async def test_a_refusal_is_an_ordinary_response_and_no_fault(caplog: pytest.LogCaptureFixture):
    async with taking_links() as running:
        links_of(running).refuses = True
        status, headers, body = await running.ask(HANDSHAKE)
        assert (status, body) == (401, {"code": "unauthenticated"})
        assert (headers["www-authenticate"], headers["connection"]) == ("bearer", "close")
    assert caplog.records == []


async def test_a_proxy_that_is_trusted_reports_the_scheme_and_the_client():
    async with taking_links(trusted_proxies=["127.0.0.1"]) as running:
        forwarded = {"X-Forwarded-Proto": "HTTPS", "X-Forwarded-For": "198.51.100.7"}
        async with at(running, additional_headers=forwarded):
            (scope,) = links_of(running).scopes
            assert (scope["scheme"], scope["client"][0]) == ("https", "198.51.100.7")


async def test_a_link_comes_after_requests_on_its_connection_that_have_their_responses():
    async with taking_links() as running:
        client = await running.connect()
        client.send(b"GET /1 HTTP/1.1\r\n" + HOST + b"\r\n")
        assert (await client.answer())[0] == 200
        client.send(HANDSHAKE[:40])
        await asyncio.sleep(0.01)
        client.send(HANDSHAKE[40:])
        assert (await client.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        client.send(b"\x82\x82\0\0\0\0hi")
        assert await client.reader.readexactly(4) == b"\x82\x02hi"


async def test_a_link_does_not_overtake_a_request():
    async with taking_links() as running:
        client = await running.connect()
        client.send(b"GET /wait HTTP/1.1\r\n" + HOST + b"\r\n" + HANDSHAKE)
        await eventually(lambda: running.app.paths)
        running.app.go_on.set()
        assert [(await client.answer())[2]["path"] for _ in range(2)] == ["/wait", PATH]


async def test_bytes_after_the_handshake_are_refused():
    async with taking_links() as running:
        for more in (b"\x82\x80\0\0\0\0", b"GET /1 HTTP/1.1\r\n" + HOST + b"\r\n"):
            status, _, body = await running.ask(HANDSHAKE + more)
            assert (status, body["code"]) == (400, "bad-request")
        assert links_of(running).scopes == []


PLAIN = {
    "another path": HANDSHAKE.replace(b"/link", b"/links"),
    "a trigger": HANDSHAKE.replace(b"/gateways/madrid/link", b"/triggers/madrid"),
    "a query": HANDSHAKE.replace(b"/link", b"/link?x=1"),
    "an encoded path": HANDSHAKE.replace(b"/link", b"/%6Cink"),
    "another method": HANDSHAKE.replace(b"GET", b"PUT"),
    "HEAD": HANDSHAKE.replace(b"GET", b"HEAD"),
    "another upgrade": HANDSHAKE.replace(b"WebSocket\r\n", b"h2c\r\n"),
    "two upgrades": HANDSHAKE.replace(b"WebSocket\r\n", b"websocket, h2c\r\n"),
    "two Upgrade fields": HANDSHAKE.replace(HOST, HOST + b"Upgrade: websocket\r\n"),
    "two keys": HANDSHAKE.replace(KEY, KEY + KEY),
    "no key": HANDSHAKE.replace(KEY, b""),
    "a short key": HANDSHAKE.replace(b"dGhl", b""),
    "a key that is none": HANDSHAKE.replace(b"dGhl", b"@@@@"),
    "another version": HANDSHAKE.replace(b": 13", b": 8"),
    "no version": HANDSHAKE.replace(b"Sec-WebSocket-Version: 13\r\n", b""),
    "a long field": HANDSHAKE.replace(HOST, HOST + b"X: " + b"x" * 8001 + b"\r\n"),
    "many fields": HANDSHAKE.replace(HOST, HOST + b"X: x\r\n" * 100),
    "HTTP/1.0": HANDSHAKE.replace(b"HTTP/1.1", b"HTTP/1.0"),
    "no Connection": HANDSHAKE.replace(b"keep-alive, Upgrade", b"keep-alive"),
    "a body": HANDSHAKE[:-2] + b"Content-Length: 2\r\n\r\nhi",
    "a chunked body": HANDSHAKE[:-2] + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
}


async def test_nothing_else_is_upgraded():
    async with taking_links() as running:
        for name, head in PLAIN.items():
            client = await running.connect()
            client.send(head + b"GET /2 HTTP/1.1\r\n" + HOST + b"\r\n")
            head_only = name == "HEAD"
            if head_only:
                await client.reader.readuntil(b"\r\n\r\n")
            else:
                status, _, body = await client.answer()
                assert (status, body["headers"][0]) == (200, ["host", "postern.test"]), name
            if name != "HTTP/1.0":
                assert (await client.answer())[2]["path"] == "/2", name
            client.writer.close()
        assert not any(LINK in scope for scope in links_of(running).scopes)


async def test_without_gateways_nothing_is_upgraded():
    async with serving(app=Links()) as running:
        client = await running.connect()
        client.send(HANDSHAKE)
        assert (await client.answer())[2]["path"] == PATH


async def test_a_server_that_stops_takes_no_link():
    async with taking_links() as running:
        client = await running.connect()
        client.send(b"GET /1 HTTP/1.1\r\n" + HOST + b"\r\n")
        await client.answer()
        for connection in running.state.connections:
            connection.drain(5.0)  # type: ignore[union-attr, call-arg]
        client.send(HANDSHAKE)
        assert (await client.answer())[2]["path"] == PATH


REFUSED = {
    "no host": (HANDSHAKE.replace(HOST, b""), 400),
    "both framings": (HANDSHAKE[:-2] + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    "a folded field": (HANDSHAKE.replace(HOST, HOST + b"X: a\r\n b\r\n"), 400),
    "too many fields": (HANDSHAKE.replace(HOST, HOST + b"X: x\r\n" * 200), 431),
    "large fields": (HANDSHAKE.replace(HOST, HOST + (b"X: " + b"x" * 7000 + b"\r\n") * 10), 431),
}


async def test_the_limits_of_heads_hold_for_links():
    async with taking_links() as running:
        for name, (head, status) in REFUSED.items():
            assert (await running.ask(head))[0] == status, name
    async with taking_links(Hasty) as running:
        assert (await running.ask(HANDSHAKE[:-4]))[0] == 408


async def test_a_link_outlives_the_times_of_a_request():
    class Brief(Hasty):
        timeout_keep_alive = 0

    async with taking_links(Brief) as running, at(running) as link:
        await asyncio.sleep(0.3)
        await link.send(b"hello")
        assert await link.recv() == b"hello"


async def test_a_peer_that_pings_and_reads_nothing_takes_no_memory():
    async with taking_links() as running, at(running) as link:
        links_of(running).reads = True
        await link.send(b"hello")
        await link.recv()
        (connection,) = running.state.connections
        connection.pause_writing()
        before = connection.transport.get_write_buffer_size()
        for _ in range(1000):
            await link.ping()
        await asyncio.sleep(0.05)
        assert connection.transport.get_write_buffer_size() == before
        connection.resume_writing()


async def test_a_peer_that_sends_more_than_is_taken_is_read_no_more():
    async with taking_links() as running:
        links_of(running).reads = False
        async with at(running) as link:
            sent = 0
            with anyio.move_on_after(0.5):
                while True:
                    await link.send(bytes(2**20))
                    sent += 1
            (connection,) = running.state.connections
            assert connection.queue.qsize() <= 2  # type: ignore[union-attr]
            assert sent < 40
            links_of(running).go_on.set()


class Flooding(Echo):
    """Sends to a link as much as it can for half a second, then ends it."""

    async def __call__(self, scope, receive, send):
        link: LinkSocket = scope[LINK]
        await link.accept(PROTOCOL)
        with anyio.move_on_after(0.5):
            while True:
                await link.send(bytes(2**20))
        await link.close("the end")
        self.go_on.set()


async def test_a_peer_that_reads_nothing_is_cut_off_when_its_link_ends(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("postern.server.link_protocol.CLOSE_SECONDS", 0.1)
    monkeypatch.setattr("postern.server.link_socket.CLOSE_SECONDS", 0.1)
    app = Flooding()
    async with serving(app=app, lifespan={"links": True}) as running:
        silent = socket.create_connection(("127.0.0.1", running.port))
        silent.setblocking(False)
        await asyncio.get_running_loop().sock_sendall(silent, HANDSHAKE)
        await app.go_on.wait()
        await eventually(lambda: not running.state.connections)
        silent.close()


async def test_neither_tokens_nor_queries_of_links_are_logged(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    logging.getLogger("websockets.client").setLevel(logging.INFO)
    async with taking_links() as running, at(running, additional_headers={"Authorization": "Bearer secret"}) as link:
        await link.send(b"hello")
    texts = [record.getMessage() for record in caplog.records]
    assert not [text for text in texts if "secret" in text or PATH in text]


async def test_a_link_begins_in_the_context_of_the_server():
    class Setting(Links):
        found: ClassVar[list[str]] = []

        async def __call__(self, scope, receive, send):
            self.found.append(USER.get())
            USER.set(scope["path"])
            await super().__call__(scope, receive, send)

    app = Setting()
    async with serving(app=app, lifespan={"links": True}) as running:
        client = await running.connect()
        client.send(b"GET /1 HTTP/1.1\r\n" + HOST + b"\r\n")
        await client.answer()
        client.send(HANDSHAKE)
        await client.reader.readuntil(b"\r\n\r\n")
    assert app.found == ["", ""]


async def test_the_stop_waits_for_requests_and_not_for_links():
    app = Links()
    config = server_config(app, port=0, lifespan="off")
    server = Server(config, idle=0.05)
    listener = bind(config)
    port = listener.getsockname()[1]
    config.load()
    async with anyio.create_task_group() as group:
        group.start_soon(server._serve, [listener])
        await eventually(lambda: server.started)
        server.lifespan.state["links"] = True
        running = Running(server.server_state, app, port)
        link = await at(running)
        waiting = await running.connect()
        waiting.send(b"GET /wait HTTP/1.1\r\n" + HOST + b"\r\n")
        await eventually(lambda: app.paths)
        server.handle_exit(15, None)
        await asyncio.sleep(0.3)
        await link.send(b"still")
        assert await link.recv() == b"still"
        app.go_on.set()
        assert (await waiting.answer())[0] == 200
        with pytest.raises(ConnectionClosed) as raised:
            await link.recv()
        assert raised.value.rcvd is not None
        assert raised.value.rcvd.code == 1012
        waiting.writer.close()


NAMES = {b"madrid": True, b"Madrid-2.a_b": True, b"": False, b"a/b": False, b"a" * 101: False, b"m%61drid": False}


@table("name", list(NAMES))
def test_paths_of_links(name: bytes):
    fields = [tuple(each.lower().split(b": ", 1)) for each in UPGRADE.strip().split(b"\r\n")]
    fields[-1] = (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ==")
    assert wants_link(b"GET", "1.1", b"/gateways/" + name + b"/link", fields) == NAMES[name]  # type: ignore[arg-type]
