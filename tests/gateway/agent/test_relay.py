"""Requests that the agent reads: each is checked and written anew."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import h11
import pytest
from anyio.abc import ByteStream

from postern.gateway.agent.rows import Row
from postern.gateway.streams import LinkStream
from tests.gateway.agent.targets import Site, read_all, read_until, site, target
from tests.table import table

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


class Api:
    """A target that keeps the bytes of each request, and answers with what the test says."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers) or [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"]
        self.requests: list[bytes] = []
        self.connections = 0

    async def __call__(self, stream: ByteStream) -> None:
        self.connections += 1
        connection = h11.Connection(h11.SERVER)
        raw = b""
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                data = await stream.receive()
                raw += data
                connection.receive_data(data)
            elif isinstance(event, h11.EndOfMessage):
                self.requests.append(raw)
                raw = b""
                await stream.send(self.answers[0] if len(self.answers) == 1 else self.answers.pop(0))
                connection = h11.Connection(h11.SERVER)
            elif isinstance(event, h11.ConnectionClosed):
                return


@asynccontextmanager
async def reached(api: Api, **more: Any) -> AsyncIterator[tuple[Site, str]]:
    async with target(api) as port:
        row: dict[str, Any] = {"scheme": "http", "methods": ["GET", "POST", "HEAD"], "paths": ["/items"], **more}
        async with site([Row(address=f"localhost:{port}", **row)]) as here:
            yield here, f"localhost:{port}"


async def answer_to(stream: LinkStream, request: bytes) -> tuple[h11.Response, bytes]:
    """The response to one request, whole."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    client.send(h11.EndOfMessage())
    await stream.send(request)
    response, body = None, b""
    while True:
        event = client.next_event()
        if event is h11.NEED_DATA:
            try:
                client.receive_data(await stream.receive())
            except anyio.EndOfStream:
                client.receive_data(b"")
        elif isinstance(event, h11.Response):
            response = event
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            assert response is not None
            return response, body


def header(response: h11.Response, name: bytes) -> bytes | None:
    return dict(response.headers).get(name)


async def test_requests_follow_each_other_on_one_connection_to_the_target():
    api = Api()
    async with reached(api) as (here, at):
        stream = await here.open(at, ends_tls=True)
        for _ in range(3):
            response, body = await answer_to(stream, f"GET /items/7?a=%2f HTTP/1.1\r\nHost: {at}\r\n\r\n".encode())
            assert (response.status_code, body) == (200, b"ok")
    assert api.connections == 1
    assert api.requests[0].startswith(b"GET /items/7?a=%2f HTTP/1.1\r\n")


async def test_bodies_pass_both_ways_by_length_and_by_chunks():
    api = Api(b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    async with reached(api) as (here, at):
        stream = await here.open(at, ends_tls=True)
        for framing in (
            b"Content-Length: 5\r\n\r\nhello",
            b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ):
            head = f"POST /items HTTP/1.1\r\nHost: {at}\r\n".encode()
            response, body = await answer_to(stream, head + framing)
            assert (response.status_code, body) == (201, b"abc")
    assert api.requests[0].endswith(b"\r\n\r\nhello")
    assert b"5\r\nhello\r\n0\r\n\r\n" in api.requests[1]


async def test_fields_for_one_connection_and_a_reason_of_the_target_do_not_pass():
    api = Api(
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nPostern-Reason: target-not-allowed\r\nKeep-Alive: timeout=5\r\n"
        b"X-Own: 1\r\nConnection: keep-alive, x-own\r\nX-Kept: 2\r\n\r\nok"
    )
    async with reached(api) as (here, at):
        stream = await here.open(at, ends_tls=True)
        request = f"GET /items HTTP/1.1\r\nHost: {at}\r\nTE: trailers\r\nConnection: TE\r\nProxy-Authorization: x\r\n"
        response, _ = await answer_to(stream, request.encode() + b"Authorization: Bearer t\r\nX-Other: 1\r\n\r\n")
    assert {name for name, _ in response.headers} == {b"content-length", b"x-kept"}
    sent = api.requests[0].lower()
    assert b"authorization: bearer t" in sent
    assert b"x-other: 1" in sent
    assert b"trailers" not in sent
    assert b"proxy-" not in sent


@table(
    "fields",
    [
        "X-HTTP-Method-Override: post\r\nX-Original-URL: /items/8?a=1",
        "X-Forwarded-Host: {at}\r\nX-Method-Override: HEAD",
        "X-Forwarded-For: 1.2.3.4\r\nForwarded: for=1.2.3.4",
    ],
)
async def test_fields_in_place_of_the_method_path_or_host_pass_with_what_the_rows_allow(fields: str):
    api = Api()
    async with reached(api) as (here, at):
        stream = await here.open(at, ends_tls=True)
        own = fields.replace("{at}", at)
        response, _ = await answer_to(stream, f"POST /items HTTP/1.1\r\nHost: {at}\r\n{own}\r\n\r\n".encode())
        assert response.status_code == 200
    assert own.encode() in api.requests[0]


@table("name", ["Proxy", "Transfer_Encoding", "Proxy_Authorization", "Upgrade"])
async def test_fields_that_a_target_could_take_for_its_own_connection_do_not_pass(name: str):
    api = Api()
    async with reached(api) as (here, at):
        stream = await here.open(at, ends_tls=True)
        request = f"GET /items HTTP/1.1\r\nHost: {at}\r\n{name}: chunked\r\n\r\n"
        response, _ = await answer_to(stream, request.encode())
        assert response.status_code == 200
    assert b"chunked" not in api.requests[0]


@table(
    "method, answer, expected",
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n"),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n", b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n"),
        (
            "GET",
            b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        ),
    ],
)
async def test_answers_without_a_body_pass_and_the_next_request_follows(method: str, answer: bytes, expected: bytes):
    api = Api(answer)
    async with reached(api) as (here, at):
        stream = await here.open(at, ends_tls=True)
        for _ in range(2):
            await stream.send(f"{method} /items HTTP/1.1\r\nHost: {at}\r\n\r\n".encode())
            assert await read_until(stream, b"\r\n\r\n") == expected
    assert api.connections == 1


DENIED = [
    ("DELETE /items HTTP/1.1\r\nHost: {at}", 403),
    ("GET /admin HTTP/1.1\r\nHost: {at}", 403),
    ("GET /items/../admin HTTP/1.1\r\nHost: {at}", 403),
    ("GET /items/%2e%2e/admin HTTP/1.1\r\nHost: {at}", 403),
    ("GET http://{at}/items HTTP/1.1\r\nHost: {at}", 403),
    ("OPTIONS * HTTP/1.1\r\nHost: {at}", 403),
    ("GET /items HTTP/1.1\r\nHost: other.corp", 403),
    ("GET /items HTTP/1.1\r\nHost: localhost", 403),
    ("GET /items HTTP/1.1\r\nHost: {at}@other.corp", 403),
    ("GET /items HTTP/1.0\r\nHost: {at}", 403),
    ("GET /items HTTP/1.1\r\nHost: {at}\r\nHost: {at}", 400),
    ("GET /items HTTP/1.1", 400),
    ("POST /items HTTP/1.1\r\nHost: {at}\r\nContent-Length: 5\r\nContent-Length: 6", 400),
    ("POST /items HTTP/1.1\r\nHost: {at}\r\nContent-Length: 5, 6", 400),
    ("POST /items HTTP/1.1\r\nHost: {at}\r\nContent-Length: +5", 400),
    ("POST /items HTTP/1.1\r\nHost: {at}\r\nContent-Length: 5\r\nTransfer-Encoding: chunked", 403),
    ("POST /items HTTP/1.1\r\nHost: {at}\r\nTransfer-Encoding: gzip, chunked", 501),
    ("POST /items HTTP/1.1\r\nHost: {at}\r\nTransfer-Encoding: xchunked", 501),
    ("POST /items HTTP/1.1\r\nHost: {at}\r\nContent-Length : 5", 400),
    ("GET /items HTTP/1.1\r\nHost: {at}\r\nConnection: host", 403),
    ("GET /items HTTP/1.1\r\nHost: {at}\r\nConnection: authorization", 403),
    ("POST /items HTTP/1.1\r\nHost: {at}\r\nX-HTTP-Method-Override: DELETE", 403),
    ("POST /items HTTP/1.1\r\nHost: {at}\r\nx_http_method_override: delete", 403),
    ("POST /items HTTP/1.1\r\nHost: {at}\r\nX-HTTP-Method: MERGE", 403),
    ("POST /items HTTP/1.1\r\nHost: {at}\r\nX-Method-Override: POST, DELETE", 403),
    ("GET /items HTTP/1.1\r\nHost: {at}\r\nX-Original-URL: /admin", 403),
    ("GET /items HTTP/1.1\r\nHost: {at}\r\nX-Rewrite-URL: /items/../admin", 403),
    ("GET /items HTTP/1.1\r\nHost: {at}\r\nX-Original-URL: http://{at}/items", 403),
    ("GET /items HTTP/1.1\r\nHost: {at}\r\nX-Forwarded-Host: other.corp", 403),
    ("GET /items HTTP/1.1\r\nHost: {at}\r\nX-Forwarded-Host: {at}, other.corp", 403),
    ("GET /items HTTP/1.1\r\nHost: {at}\r\nForwarded: for=1.2.3.4;Host=other.corp", 403),
    ("GET /items HTTP/1.1\r\nHost: {at}\r\nX: " + "y" * 200_000, 431),
    ("nonsense", 400),
]


@table("request_, status", DENIED, ids=[request[:70] for request, _ in DENIED])
async def test_what_the_rows_do_not_allow_or_is_ambiguous_never_reaches_the_target(request_: str, status: int):
    api = Api()
    async with reached(api) as (here, at):
        stream = await here.open(at, ends_tls=True)
        response, body = await answer_to(stream, (request_.replace("{at}", at) + "\r\n\r\n").encode())
        assert (response.status_code, header(response, b"postern-reason")) == (status, b"request-not-allowed")
        assert header(response, b"connection") == b"close"
        assert body
        assert await read_all(stream) == b""
    assert api.requests == []


async def test_a_second_request_before_the_response_to_the_first_is_refused():
    api = Api()
    async with reached(api) as (here, at):
        stream = await here.open(at, ends_tls=True)
        one = f"GET /items HTTP/1.1\r\nHost: {at}\r\n\r\n"
        response, _ = await answer_to(stream, (one + one).encode())
        assert (response.status_code, header(response, b"postern-reason")) == (400, b"request-not-allowed")


async def test_a_second_request_that_comes_while_the_target_works_is_refused():
    started = anyio.Event()

    async def slow(stream: ByteStream) -> None:
        await read_until(stream, b"\r\n\r\n")
        started.set()
        await stream.receive()

    async with target(slow) as port, site([_row(port)]) as here:
        stream = await here.open(f"localhost:{port}", ends_tls=True)
        one = f"GET /items HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n".encode()
        await stream.send(one)
        await started.wait()
        response, _ = await answer_to(stream, one)
        assert response.status_code == 400


def _row(port: int) -> Row:
    return Row(address=f"localhost:{port}", scheme="http", methods=["GET", "POST"], paths=["/items"])


async def test_a_faulty_chunk_is_refused_and_the_target_sees_no_end():
    api = Api()
    async with reached(api) as (here, at):
        stream = await here.open(at, ends_tls=True)
        head = f"POST /items HTTP/1.1\r\nHost: {at}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        response, _ = await answer_to(stream, head + b"5\r\nhelloXX0\r\n\r\n")
        assert response.status_code == 400
    assert api.requests == []


async def test_a_target_that_breaks_off_breaks_the_tunnel_off():
    api = Api(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")

    async def cut(stream: ByteStream) -> None:
        await read_until(stream, b"\r\n\r\n")
        await stream.send(api.answers[0])

    async with target(cut) as port, site([_row(port)]) as here:
        stream = await here.open(f"localhost:{port}", ends_tls=True)
        await stream.send(f"GET /items HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n".encode())
        with pytest.raises(anyio.BrokenResourceError):
            await read_all(stream)


@table("said", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"])
async def test_a_target_that_speaks_no_http_breaks_the_tunnel_off(said: bytes):
    async def odd(stream: ByteStream) -> None:
        await read_until(stream, b"\r\n\r\n")
        if said:
            await stream.send(said)

    async with target(odd) as port, site([_row(port)]) as here:
        stream = await here.open(f"localhost:{port}", ends_tls=True)
        await stream.send(f"GET /items HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n".encode())
        with pytest.raises(anyio.BrokenResourceError):
            await read_all(stream)


@table(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\n\r\nok",
    ],
)
async def test_the_tunnel_ends_with_the_connection_to_the_target(answer: bytes):
    """The server's pool sees it, and sends no request into it."""

    async def once(stream: ByteStream) -> None:
        await read_until(stream, b"\r\n\r\n")
        await stream.send(answer)

    async with target(once) as port, site([_row(port)]) as here:
        stream = await here.open(f"localhost:{port}", ends_tls=True)
        request = f"GET /items HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n".encode()
        response, body = await answer_to(stream, request)
        assert body == b"ok"
        assert header(response, b"connection") == b"close" or b"Connection" not in answer
        assert await read_all(stream) == b""


async def test_a_target_that_closes_an_idle_connection_ends_the_tunnel():
    async def idle(stream: ByteStream) -> None:
        await read_until(stream, b"\r\n\r\n")
        await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await anyio.sleep(0.05)

    async with target(idle) as port, site([_row(port)]) as here:
        stream = await here.open(f"localhost:{port}", ends_tls=True)
        await answer_to(stream, f"GET /items HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n".encode())
        with pytest.raises((anyio.BrokenResourceError, anyio.EndOfStream)):
            await stream.receive()
        assert stream.ended


async def test_a_server_that_gives_up_ends_the_request_at_the_target():
    started, gone = anyio.Event(), anyio.Event()

    async def slow(stream: ByteStream) -> None:
        await read_until(stream, b"\r\n\r\n")
        started.set()
        try:
            await stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            gone.set()

    async with target(slow) as port, site([_row(port)]) as here:
        stream = await here.open(f"localhost:{port}", ends_tls=True)
        await stream.send(f"GET /items HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n".encode())
        await started.wait()
        await stream.aclose()
        await gone.wait()


async def test_an_early_answer_passes_though_the_body_is_not_read():
    async def early(stream: ByteStream) -> None:
        await read_until(stream, b"\r\n\r\n")
        await stream.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
        await anyio.sleep(0.2)

    async with target(early) as port, site([_row(port)]) as here:
        stream = await here.open(f"localhost:{port}", ends_tls=True)
        head = f"POST /items HTTP/1.1\r\nHost: localhost:{port}\r\nContent-Length: 1000000\r\n\r\n".encode()
        response, body = await answer_to(stream, head + b"x" * 1000)
        assert (response.status_code, body) == (413, b"no")


async def test_a_caller_that_waits_for_100_continue_gets_it_from_the_agent():
    api = Api()
    async with reached(api) as (here, at):
        stream = await here.open(at, ends_tls=True)
        await stream.send(
            f"POST /items HTTP/1.1\r\nHost: {at}\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n".encode()
        )
        assert (await stream.receive()).startswith(b"HTTP/1.1 100")
        await stream.send(b"hello")
        assert b"200 OK" in await stream.receive()
    assert b"xpect" not in api.requests[0]


async def test_rows_that_are_read_again_hold_for_the_next_request_of_an_open_tunnel():
    api = Api()
    async with reached(api) as (here, at):
        stream = await here.open(at, ends_tls=True)
        request = f"GET /items HTTP/1.1\r\nHost: {at}\r\n\r\n".encode()
        await answer_to(stream, request)
        here.tunnels.allow([Row(address=at, scheme="http", methods=["GET"], paths=["/other"])])
        response, _ = await answer_to(stream, request)
        assert response.status_code == 403
