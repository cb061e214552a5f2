"""The wire-level guard, spoken to by raw sockets through a real uvicorn server."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from hashlib import sha256
from typing import Any

import pytest
from structlog.testing import capture_logs
from uvicorn.server import ServerState

from postern.access import Check
from postern.errors import PROBLEMS
from postern.journal.refusal import Refusal
from postern.server.process import bind, server_config
from postern.server.protocol import GuardedProtocol
from postern.triggers.exchange import EXCHANGE
from postern.triggers.reply import lines_of
from tests.table import table

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

HOST = b"Host: postern.test\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"


@pytest.fixture
def anyio_backend():
    """The event loop that the server runs on."""
    return "asyncio", {"use_uvloop": True}


class Echo:
    """Answers with what it was handed; `/early` answers before the body is read, `/wait` once it is released."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.disconnects = 0
        self.go_on = asyncio.Event()

    async def __call__(self, scope, receive, send):
        self.paths.append(scope["path"])
        if scope["path"] == "/wait":
            await self.go_on.wait()
        body = b""
        more = scope["path"] != "/early"
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.disconnects += 1
                return
            body += message["body"]
            more = message["more_body"]
        answer = json.dumps(
            {
                "path": scope["path"],
                "method": scope["method"],
                "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]],
                "body": body.decode("latin-1"),
            }
        ).encode()
        headers = [(b"content-length", b"%d" % len(answer))]
        await send(
            {"type": "http.response.start", "status": 401 if scope["path"] == "/early" else 200, "headers": headers}
        )
        await send({"type": "http.response.body", "body": answer})


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self) -> tuple[int, dict[str, str], Any]:
        """The status, headers and body of the next answer."""
        head = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 5)).decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return int(head[0].split()[1]), headers, json.loads(body) if body else None

    async def closed(self) -> bytes:
        """Wait for the end of the connection; what else came is returned."""
        return await asyncio.wait_for(self.reader.read(), 5)


class Running:
    def __init__(self, state: ServerState, app: Echo, port: int) -> None:
        self.state = state
        self.app = app
        self.port = port
        self._clients: list[Client] = []

    async def connect(self) -> Client:
        self._clients.append(Client(*await asyncio.open_connection("127.0.0.1", self.port)))
        return self._clients[-1]

    async def ask(self, data: bytes) -> tuple[int, dict[str, str], Any]:
        """Send one thing on a connection of its own; the answer, once the connection is closed."""
        client = await self.connect()
        client.send(data)
        answer = await client.answer()
        assert await client.closed() == b""
        return answer

    async def close(self) -> None:
        for client in self._clients:
            client.writer.close()
            with suppress(ConnectionError):
                await client.writer.wait_closed()
        await eventually(lambda: not self.state.connections)


async def eventually(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def serving(
    protocol: type[GuardedProtocol] = GuardedProtocol,
    app: Echo | None = None,
    lifespan: dict[str, Any] | None = None,
    **settings: Any,
) -> AsyncIterator[Running]:
    app = app or Echo()
    config = server_config(app, port=0, lifespan="off", **settings)
    config.http = protocol
    config.load()
    state = ServerState()
    state.default_headers = [(b"date", b"Thu, 01 Jan 1970 00:00:00 GMT")]
    listener = bind(config)
    running = Running(state, app, listener.getsockname()[1])
    loop = asyncio.get_running_loop()
    async with await loop.create_server(lambda: protocol(config, state, lifespan or {}), sock=listener):
        try:
            yield running
        except BaseException:  # a client that reads nothing would hold its connection, and hide why the test failed
            for connection in list(state.connections):
                connection.transport.abort()
            raise
        finally:
            await running.close()


REFUSED = {
    # framing: two readers could disagree where the request ends
    "content-length and transfer-encoding": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 4\r\n" + CHUNKED + b"\r\n0\r\n\r\n",
        400,
    ),
    "transfer-encoding and content-length": (
        b"POST / HTTP/1.1\r\n" + HOST + CHUNKED + b"Content-Length: 4\r\n\r\n0\r\n\r\n",
        400,
    ),
    "unknown coding": (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: x\r\n\r\n", 501),
    "unknown coding, then chunked": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: x\r\n" + CHUNKED + b"\r\n0\r\n\r\n",
        501,
    ),
    "gzip, chunked": (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    "chunked, identity": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        501,
    ),
    "chunked twice": (b"POST / HTTP/1.1\r\n" + HOST + CHUNKED + CHUNKED + b"\r\n0\r\n\r\n", 501),
    "quoted chunked": (b"POST / HTTP/1.1\r\n" + HOST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n', 501),
    "chunked in HTTP/1.0": (b"POST / HTTP/1.0\r\n" + HOST + CHUNKED + b"\r\n0\r\n\r\n", 400),
    "two lengths": (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
    "one length twice": (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na", 400),
    "listed lengths": (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1, 1\r\n\r\na", 400),
    "negative length": (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n", 400),
    "signed length": (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: +1\r\n\r\na", 400),
    "hexadecimal length": (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 0x1\r\n\r\na", 400),
    "empty length": (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length:\r\n\r\na", 400),
    "overflowing length": (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 99999999999999999999\r\n\r\n", 400),
    # the head
    "folded header": (b"GET / HTTP/1.1\r\n" + HOST + b"X: a\r\n b\r\n\r\n", 400),
    "folded first header": (b"GET / HTTP/1.1\r\n X: a\r\n" + HOST + b"\r\n", 400),
    "bare line feeds": (b"GET / HTTP/1.1\nHost: a\n\n", 400),
    "one bare line feed": (b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 400),
    "bare carriage return": (b"GET / HTTP/1.1\r\n" + HOST + b"X: a\rb\r\n\r\n", 400),
    "space before colon": (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length : 1\r\n\r\na", 400),
    "no colon": (b"GET / HTTP/1.1\r\n" + HOST + b"X\r\n\r\n", 400),
    "no name": (b"GET / HTTP/1.1\r\n" + HOST + b": x\r\n\r\n", 400),
    "zero byte in a value": (b"GET / HTTP/1.1\r\n" + HOST + b"X: a\0b\r\n\r\n", 400),
    "two hosts": (b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n", 400),
    "two hosts in HTTP/1.0": (b"GET / HTTP/1.0\r\n" + HOST + HOST + b"\r\n", 400),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "host with a path": (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    "listed hosts": (b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400),
    "HTTP/0.9": (b"GET /\r\n\r\n", 400),
    "HTTP/1.2": (b"GET / HTTP/1.2\r\n" + HOST + b"\r\n", 400),
    "HTTP/2.0": (b"GET / HTTP/2.0\r\n" + HOST + b"\r\n", 400),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "TLS on a plain port": (b"\x16\x03\x01\x02\x00\x01\x00\x01", 400),
    "method in lower case": (b"get / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    # the target
    "absolute form": (b"GET http://postern.test/ HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "authority form": (b"CONNECT postern.test:80 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "asterisk": (b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "no slash": (b"GET x HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "fragment": (b"GET /a#b HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "control character in the target": (b"GET /\x01 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "tab in the target": (b"GET /\ta HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "target outside ASCII": (b"GET /\xc3\xa9?\xff HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    # sizes
    "long target": (b"GET /" + b"a" * 8192 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
    "long query": (b"GET /?" + b"a" * 8192 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
    "large header": (b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 65536 + b"\r\n\r\n", 431),
    "many headers": (b"GET / HTTP/1.1\r\n" + HOST + b"X: a\r\n" * 200 + b"\r\n", 431),
}


async def test_rejected_requests_are_answered_once_by_a_problem_and_never_reach_the_app():
    """Each is one problem document, `Connection: close`, and one log line without anything of the request."""
    wrong = {}
    async with serving() as running:
        for name, (payload, expected) in REFUSED.items():
            with capture_logs() as lines:
                status, headers, body = await running.ask(payload)
            code = body["code"]
            found = (
                status == expected == body["status"] == PROBLEMS[code].status
                and headers["content-type"] == "application/problem+json"
                and headers["connection"] == "close"
                and headers["x-content-type-options"] == "nosniff"
                and [line["event"] for line in lines] == ["request-refused"]
                and lines[0]["code"] == code
                and lines[0]["request_id"] == body["request_id"]
                and "postern.test" not in str(lines)
            )
            if not found:
                wrong[name] = status, headers, body, lines
        assert running.app.paths == []
    assert not wrong


async def test_the_application_gets_each_and_says_whether_it_is_in_the_log():
    """In a flood one line stands for many. Nothing of the request is in what the application gets."""
    for wanted in (True, False):
        taken: list[Refusal] = []

        def take(refusal: Refusal, wanted: bool = wanted, taken: list[Refusal] = taken) -> bool:
            taken.append(refusal)
            return wanted

        async with serving(lifespan={"refused": take}) as running:
            with capture_logs() as lines:
                _, _, body = await running.ask(REFUSED["two lengths"][0])
        assert len(lines) == wanted
        assert taken == [
            Refusal(body["request_id"], "bad-request", "bad-request", 400, "", "127.0.0.1", taken[0].checks)
        ]
        assert taken[0].checks == (Check("bad-request", False, None, "Duplicate Content-Length"),)


async def test_a_refusal_does_not_depend_on_how_the_stream_is_cut():
    wrong = {}
    async with serving() as running:
        for name, (payload, expected) in REFUSED.items():
            for cut in (len(payload) // 2, len(payload) - 1):
                client = await running.connect()
                client.send(payload[:cut])
                await asyncio.sleep(0.001)
                client.send(payload[cut:])
                status, _, _ = await client.answer()
                if status != expected:
                    wrong[name] = status
        assert running.app.paths == []
    assert not wrong


REFUSED_IN_THE_BODY = {
    "chunk size ended by a bare line feed": b"1\na\r\n0\r\n\r\n",
    "negative chunk size": b"-1\r\na\r\n0\r\n\r\n",
    "space after the chunk size": b"1 \r\na\r\n0\r\n\r\n",
    "chunk longer than its size": b"1\r\nab\r\n0\r\n\r\n",
    "huge chunk size": b"fffffffffffffffff\r\n",
    "malformed trailer": b"0\r\nX : y\r\n\r\n",
}


@pytest.mark.parametrize("body", REFUSED_IN_THE_BODY.values(), ids=REFUSED_IN_THE_BODY.keys())
async def test_a_malformed_chunked_body_is_rejected_and_the_app_learns_that_the_client_is_gone(body):
    async with serving() as running:
        status, _, answer = await running.ask(b"POST / HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n" + body)
        assert (status, answer["code"]) == (400, "bad-request")
        await eventually(lambda: running.app.disconnects == 1)


ACCEPTED = {
    "plain": b"GET / HTTP/1.1\r\n" + HOST + b"\r\n",
    "HTTP/1.0 without host": b"GET / HTTP/1.0\r\n\r\n",
    "two slashes": b"GET //other/x HTTP/1.1\r\n" + HOST + b"\r\n",
    "IPv6 host": b"GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n",
    "empty host": b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
    "length": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 2 \r\n\r\nhi",
    "chunked": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: Chunked\r\n\r\n2;note=x\r\nhi\r\n0\r\n\r\n",
    "long target": b"GET /" + b"a" * 8191 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    "many headers": b"GET / HTTP/1.1\r\n" + HOST + b"X: a\r\n" * 199 + b"\r\n",
    "percent-encoded rubbish": b"GET /%ff%00%2e%2e HTTP/1.1\r\n" + HOST + b"\r\n",
    "empty lines first": b"\r\n\r\nGET / HTTP/1.1\r\n" + HOST + b"\r\n",
}


@table("payload", ACCEPTED.values(), ids=ACCEPTED.keys())
async def test_sound_requests_pass_whole_and_byte_by_byte(payload):
    async with serving() as running:
        client = await running.connect()
        client.send(payload)
        status, _, whole = await client.answer()
        assert status == 200
        assert whole["body"] in ("", "hi")
        if len(payload) < 200:
            client = await running.connect()
            for at in range(len(payload)):
                client.send(payload[at : at + 1])
                await asyncio.sleep(0)
            status, _, split = await client.answer()
            assert (status, split) == (200, whole)


async def test_trailers_are_dropped_and_header_values_stripped():
    """A trailer named Authorization would otherwise stand beside the headers (RFC 9110, section 6.5.1)."""
    async with serving() as running:
        client = await running.connect()
        client.send(
            b"POST /1 HTTP/1.1\r\n" + HOST + CHUNKED + b"X:\t a b \t\r\n\r\n"
            b"1\r\na\r\n0\r\nAuthorization: Bearer x\r\nHost: other\r\n\r\nGET /2 HTTP/1.1\r\n" + HOST + b"\r\n"
        )
        _, _, first = await client.answer()
        _, _, second = await client.answer()
        assert first["headers"] == [["host", "postern.test"], ["transfer-encoding", "chunked"], ["x", "a b"]]
        assert (second["path"], second["headers"]) == ("/2", [["host", "postern.test"]])


async def test_pipelined_requests_are_answered_in_order():
    async with serving() as running:
        client = await running.connect()
        client.send(b"".join(b"GET /%d HTTP/1.1\r\n%b\r\n" % (n, HOST) for n in range(20)))
        assert [(await client.answer())[2]["path"] for _ in range(20)] == [f"/{n}" for n in range(20)]


async def test_a_rejected_request_waits_for_the_answers_before_it():
    """The refusal is the last answer, and what follows it in the stream is never parsed."""
    async with serving() as running:
        client = await running.connect()
        get = b" HTTP/1.1\r\n" + HOST + b"\r\n"
        client.send(b"GET /wait" + get + b"GET /2" + get + b"GET *" + get + b"GET /4" + get)
        await eventually(lambda: running.app.paths == ["/wait"])
        client.send(b"GET /5" + get)
        running.app.go_on.set()
        assert [(await client.answer())[0] for _ in range(3)] == [200, 200, 400]
        assert await client.closed() == b""
        assert running.app.paths == ["/wait", "/2"]


async def test_a_pipelined_request_with_a_malformed_body_never_reaches_the_app():
    async with serving() as running:
        client = await running.connect()
        client.send(b"GET /wait HTTP/1.1\r\n" + HOST + b"\r\nPOST /2 HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\nz\r\n")
        await eventually(lambda: running.app.paths == ["/wait"])
        running.app.go_on.set()
        assert [(await client.answer())[0] for _ in range(2)] == [200, 400]
        assert await client.closed() == b""
        assert running.app.paths == ["/wait"]


UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: %b\r\n"


@pytest.mark.parametrize("protocol", [b"websocket", b"h2c"])
@pytest.mark.parametrize("framed", [b"Content-Length: 2\r\n\r\nhi", CHUNKED + b"\r\n2\r\nhi\r\n0\r\n\r\n", b"\r\n"])
async def test_an_upgrade_request_is_a_plain_request_with_its_body(protocol, framed, caplog):
    """Its body is its body, not the next request, wherever the stream is cut."""
    stream = b"POST /1 HTTP/1.1\r\n" + HOST + UPGRADE % protocol + framed
    both = stream + b"GET /2 HTTP/1.1\r\n" + HOST + b"\r\n"
    async with serving() as running:
        for cut in (len(both), len(stream) - 1, stream.index(b"\r\n\r\n") + 4):
            client = await running.connect()
            client.send(both[:cut])
            await asyncio.sleep(0.01)
            client.send(both[cut:])
            (status, _, first), (_, _, second) = await client.answer(), await client.answer()
            assert (status, first["path"], second["path"]) == (200, "/1", "/2")
            assert first["body"] == ("hi" if len(framed) > 2 else "")
            assert second["headers"] == [["host", "postern.test"]]
    assert not [record for record in caplog.records if "pgrade" in record.getMessage()]


class Hasty(GuardedProtocol):
    head_seconds = 0.1
    body_seconds = 0.1
    linger_seconds = 0.1


@pytest.mark.parametrize("start", [b"G", b"GET / HT", b"GET / HTTP/1.1\r\nHost: a\r\nX: "])
async def test_a_slow_head_is_answered_with_408(start):
    async with serving(Hasty) as running:
        status, _, body = await running.ask(start)
        assert (status, body["code"]) == (408, "request-timeout")


async def test_a_trickled_head_is_cut_off_although_bytes_keep_coming():
    async with serving(Hasty) as running:
        client = await running.connect()
        client.send(b"GET / HTTP/1.1\r\nX: ")

        async def trickle() -> None:
            while True:
                client.send(b"a")
                await asyncio.sleep(0.01)

        task = asyncio.create_task(trickle())
        assert (await client.answer())[0] == 408
        task.cancel()


@pytest.mark.parametrize(
    "framed",
    [b"Content-Length: 5\r\n\r\nab", CHUNKED + b"\r\n2\r\nab\r\n", CHUNKED + b"\r\n", b"Content-Length: 1\r\n\r\n"],
)
async def test_a_slow_body_is_answered_with_408_and_the_app_sees_a_disconnect(framed):
    async with serving(Hasty) as running:
        status, headers, body = await running.ask(b"POST / HTTP/1.1\r\n" + HOST + framed)
        assert (status, body["code"], headers["connection"]) == (408, "request-timeout", "close")
        await eventually(lambda: running.app.disconnects == 1)


async def test_a_trickled_body_is_cut_off_although_bytes_keep_coming():
    async with serving(Hasty) as running:
        client = await running.connect()
        client.send(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 100000\r\n\r\n")

        async def trickle() -> None:
            while True:
                client.send(b"a")
                await asyncio.sleep(0.01)

        task = asyncio.create_task(trickle())
        assert (await client.answer())[0] == 408
        task.cancel()


async def test_a_body_that_came_in_time_is_not_timed_while_the_app_works():
    async with serving() as running:
        client = await running.connect()
        client.send(b"POST /wait HTTP/1.1\r\n" + HOST + b"Content-Length: 2\r\n\r\n")
        await eventually(lambda: running.app.paths == ["/wait"])
        (connection,) = running.state.connections
        assert isinstance(connection, GuardedProtocol)
        assert connection._body_timer is not None
        client.send(b"hi")
        await eventually(lambda: connection._body_timer is None)
        connection._body_late(connection.cycle)  # as if it had come just before
        running.app.go_on.set()
        assert (await client.answer())[2]["body"] == "hi"


class Idle(GuardedProtocol):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.timeout_keep_alive = 0.2  # type: ignore[assignment]


async def test_an_idle_connection_is_closed_after_its_time_and_each_request_begins_it_anew():
    async with serving(Idle) as running:
        client = await running.connect()
        for path in (b"/1", b"/2"):
            client.send(b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"\r\n")
            assert (await client.answer())[0] == 200
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.reader.read(1), 0.1)
        assert await client.closed() == b""


class Digests(Echo):
    """Notes the digests of the tokens that came, and answers with nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[bytes] = []

    async def __call__(self, scope, receive, send):
        if scope["path"] == "/identified":
            self.found.append(scope[EXCHANGE].digest(dict(scope["headers"])[b"authorization"]))
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})


async def test_a_connection_knows_the_digest_of_its_last_token_and_of_no_other():
    app = Digests()
    tokens = [b"Bearer one", b"Bearer one", b"Bearer two", b"Bearer one", b"bearer one", b"Basic b25l", b"Bearer "]
    async with serving(app=app) as running:
        client = await running.connect()
        for token in tokens:
            client.send(b"GET /identified HTTP/1.1\r\n" + HOST + b"Authorization: " + token + b"\r\n\r\n")
            assert (await client.answer())[0] == 204
            connection: Any = next(iter(running.state.connections))
            assert list(connection.digests) == [token.strip()]
    digests = [sha256(token.removeprefix(b"Bearer ")).digest() for token in tokens[:4]]
    assert app.found == [*digests, b"", b"", b""]
    assert connection.digests == {}


@pytest.mark.parametrize("next_request", [b"", b"Authorization: Bearer two\r\n", b"X-A: 1\r\nX-A: 2\r\n"])
async def test_a_connection_forgets_a_token_with_its_next_request(next_request: bytes):
    async with serving(app=Digests()) as running:
        client = await running.connect()
        for path, headers in ((b"/identified", b"Authorization: Bearer one\r\n"), (b"/anonymous", next_request)):
            client.send(b"GET " + path + b" HTTP/1.1\r\n" + HOST + headers + b"\r\n")
            assert (await client.answer())[0] == 204
        connection: Any = next(iter(running.state.connections))
        assert connection.digests == {}


class AtOnce(Echo):
    """Answers with the path by the short way out, where it is open."""

    def __init__(self) -> None:
        super().__init__()
        self.short: list[bool] = []

    async def __call__(self, scope, receive, send):
        content = json.dumps(scope["path"]).encode()
        headers = [(b"content-length", b"%d" % len(content))]
        self.short.append(scope[EXCHANGE].answer_at_once(200, lines_of(headers), content))
        if not self.short[-1]:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": content})


@pytest.mark.parametrize(
    ("request_line", "framed", "short"),
    [
        (b"GET /a HTTP/1.1", b"\r\n", True),
        (b"POST /a HTTP/1.1", b"Content-Length: 2\r\n\r\nhi", True),
        (b"HEAD /a HTTP/1.1", b"\r\n", False),
        (b"GET /a HTTP/1.0", b"\r\n", False),
        (b"GET /a HTTP/1.1", b"Connection: close\r\n\r\n", False),
        (b"POST /a HTTP/1.1", b"Content-Length: 2\r\n\r\n", False),
        (b"POST /a HTTP/1.1", b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n", False),
    ],
)
async def test_an_answer_takes_the_short_way_only_where_the_whole_request_is_here_and_the_connection_lives_on(
    request_line, framed, short
):
    async with serving(app=AtOnce()) as running:
        client = await running.connect()
        client.send(request_line + b"\r\n" + HOST + framed)
        head = (await asyncio.wait_for(client.reader.readuntil(b"\r\n\r\n"), 5)).lower()
        assert head.startswith(b"http/1.1 200 ok")
        assert b"\r\ndate: " in head
        assert b"\r\ncontent-length: 4\r\n" in head
        assert running.app.short == [short]  # type: ignore[attr-defined]
        if not request_line.startswith(b"HEAD"):
            assert await client.reader.readexactly(4) == b'"/a"'
        if short:
            client.send(b"GET /b HTTP/1.1\r\n" + HOST + b"\r\n")
            assert (await client.answer())[2] == "/b"


async def test_pipelined_answers_by_the_short_way_keep_their_order():
    async with serving(app=AtOnce()) as running:
        client = await running.connect()
        client.send(b"".join(b"GET /%d HTTP/1.1\r\n%b\r\n" % (number, HOST) for number in range(20)))
        assert [(await client.answer())[2] for _ in range(20)] == [f"/{number}" for number in range(20)]


@pytest.mark.parametrize("sent", [b"", b"\r\n\r\n"])
async def test_a_connection_that_sends_nothing_is_closed_without_a_word(sent):
    async with serving(Hasty) as running:
        client = await running.connect()
        client.send(sent)
        with capture_logs() as lines:
            assert await client.closed() == b""
        assert lines == []


async def test_a_slow_second_head_is_answered_with_408_and_an_idle_connection_lives_on():
    async with serving(Hasty) as running:
        client = await running.connect()
        client.send(b"GET /1 HTTP/1.1\r\n" + HOST + b"\r\n")
        assert (await client.answer())[0] == 200
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.reader.read(), 0.3)
        client.send(b"GET /2 HTTP/1.1\r\n")
        assert (await client.answer())[0] == 408


async def test_empty_lines_while_a_request_runs_do_not_end_it():
    async with serving(Hasty) as running:
        client = await running.connect()
        client.send(b"GET /wait HTTP/1.1\r\n" + HOST + b"\r\n")
        await eventually(lambda: running.app.paths == ["/wait"])
        client.send(b"\r\n")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.reader.read(1), 0.3)
        running.app.go_on.set()
        assert (await client.answer())[0] == 200


ENDLESS = {
    "header value": (b"GET / HTTP/1.1\r\nX: ", b"a" * 4096, 431),
    "header name": (b"GET / HTTP/1.1\r\n", b"a" * 4096, 431),
    "headers": (b"GET / HTTP/1.1\r\n", b"X: a\r\n" * 50, 431),
    "target": (b"GET /", b"a" * 4096, 414),
    "empty lines": (b"", b"\r\n" * 2048, 431),
    "chunk extension": (b"POST / HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n1;", b"a" * 4096, 400),
    "trailer": (b"POST / HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n1\r\na\r\n0\r\nX: ", b"a" * 4096, 400),
    "trailers": (b"POST / HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n1\r\na\r\n0\r\n", b"X: a\r\n" * 500, 400),
}


@table(("start", "more", "expected"), ENDLESS.values(), ids=ENDLESS.keys())
async def test_what_never_ends_is_cut_off_while_it_arrives(start, more, expected):
    async with serving() as running:
        client = await running.connect()
        client.send(start)
        sent = 0
        while sent < 1_000_000 and not client.reader._buffer:  # type: ignore[attr-defined]
            client.send(more)
            sent += len(more)
            await asyncio.sleep(0.001)
        assert (await client.answer())[0] == expected
        assert sent < 400_000


async def test_many_small_chunks_are_a_sound_body():
    async with serving() as running:
        client = await running.connect()
        client.send(b"POST / HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n")
        for _ in range(100):
            client.send(b"1\r\na\r\n" * 100)
            await asyncio.sleep(0)
        client.send(b"0\r\n\r\n")
        assert (await client.answer())[2]["body"] == "a" * 10_000


async def test_an_early_answer_to_an_unfinished_body_closes_the_connection():
    """The client can read the answer while it still sends, and cannot go on sending for ever."""
    async with serving() as running:
        client = await running.connect()
        client.send(b"POST /early HTTP/1.1\r\n" + HOST + b"Content-Length: 1000000000\r\n\r\n")
        status, headers, _ = await client.answer()
        assert (status, headers["connection"]) == (401, "close")
        sent = 0
        with suppress(ConnectionError):
            while sent < 1000:
                sent += 1
                client.send(b"a" * 4096)
                await asyncio.sleep(0.001)
                await client.writer.drain()
        assert sent < 500
        await eventually(lambda: not running.state.connections)


async def test_an_early_answer_closes_also_when_the_client_sends_nothing_more():
    async with serving(Hasty) as running:
        client = await running.connect()
        client.send(b"POST /early HTTP/1.1\r\n" + HOST + b"Content-Length: 10\r\n\r\n12345")
        assert (await client.answer())[0] == 401
        await eventually(lambda: not running.state.connections)


async def test_an_early_answer_to_a_finished_body_keeps_the_connection():
    async with serving() as running:
        client = await running.connect()
        for _ in range(2):
            client.send(b"POST /early HTTP/1.1\r\n" + HOST + b"Content-Length: 2\r\n\r\nhi")
            status, headers, _ = await client.answer()
            assert status == 401
            assert "connection" not in headers


async def test_a_body_that_comes_later_keeps_the_connection():
    async with serving() as running:
        client = await running.connect()
        for _ in range(2):
            client.send(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 2\r\n\r\n")
            await asyncio.sleep(0.01)
            client.send(b"hi")
            status, headers, body = await client.answer()
            assert (status, body["body"]) == (200, "hi")
            assert "connection" not in headers


async def test_expect_continue_is_answered_and_an_early_refusal_ends_it():
    """After a final answer in place of 100 Continue it is unknown whether the body follows, so nothing is parsed."""
    expecting = b" HTTP/1.1\r\n" + HOST + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    async with serving() as running:
        client = await running.connect()
        client.send(b"POST /" + expecting)
        assert (await client.answer())[0] == 100
        client.send(b"hi")
        assert (await client.answer())[2]["body"] == "hi"
        client.send(b"POST /early" + expecting)
        status, headers, _ = await client.answer()
        assert (status, headers["connection"]) == (401, "close")
        client.send(b"GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n")
        assert await client.closed() == b""
        assert "/smuggled" not in running.app.paths


async def test_a_stop_closes_used_connections_and_waits_a_moment_for_the_first_request_of_new_ones():
    async with serving(Hasty) as running:
        used, new, silent = [await running.connect() for _ in range(3)]
        used.send(b"GET /1 HTTP/1.1\r\n" + HOST + b"\r\n")
        await used.answer()
        await eventually(lambda: len(running.state.connections) == 3)
        for connection in list(running.state.connections):
            connection.shutdown()
        new.send(b"GET /2 HTTP/1.1\r\n" + HOST + b"\r\n")
        status, headers, _ = await new.answer()
        assert (status, headers["connection"]) == (200, "close")
        assert [await client.closed() for client in (used, new, silent)] == [b"", b"", b""]


async def test_no_timer_is_set_for_a_request_that_arrives_whole():
    """The usual request costs the event loop nothing more."""
    async with serving() as running:
        client = await running.connect()
        armed: list[Any] = []
        client.send(b"GET /1 HTTP/1.1\r\n" + HOST + b"\r\n")
        await client.answer()
        connection: Any = next(iter(running.state.connections))
        connection._head_incomplete = armed.append
        connection._hold = armed.append
        client.send(b"POST /2 HTTP/1.1\r\n" + HOST + b"Content-Length: 2\r\n\r\nhi")
        await client.answer()
        assert armed == []
        assert connection._head_timer is None
