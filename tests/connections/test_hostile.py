"""Servers that do what they can to get hold of a credential, or of this server's memory, connections and time."""

import asyncio
import gzip
import ssl
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme

from postern.connections.auth.token_cache import Token, Tokens
from postern.connections.calls.failures import failed
from postern.connections.calls.targets import Targets
from postern.connections.entry_transport import Caps
from postern.connections.faults import ConnectionFault
from postern.connections.places import MOST_OF_ENTRY
from postern.http_client import (
    AsyncBaseTransport,
    ConnectTimeout,
    HTTPError,
    PoolTimeout,
    ReadError,
    ReadTimeout,
    TransportError,
)
from postern.http_client import pool as pool_of
from postern.settings import load_settings
from tests.connections.counterparts import (
    SECRET,
    Answer,
    Counterpart,
    Marked,
    Received,
    Waits,
    always,
    client_of,
    in_turn,
    listening,
    reply,
    shared_pool,
)

pytestmark = [pytest.mark.anyio, pytest.mark.network]

HEAD = b"HTTP/1.1 200 OK\r\n"
FLOW = {"triggers": {"flow": {"url": "https://flow.example/x"}}}
MIB = 1024 * 1024


@asynccontextmanager
async def still_works(pool: AsyncBaseTransport, seconds: float = 30.0) -> AsyncIterator[None]:
    """Bounds the time of what a test does, and shows afterwards that others are served by the pool as before."""
    async with asyncio.timeout(seconds):
        yield
    async with listening(always(200, b"fine")) as good, asyncio.timeout(seconds):
        client = client_of(pool, good.url, entry="connections.good")
        answers = await asyncio.gather(*(client.get("/x") for _ in range(20)))
        assert {answer.text for answer in answers} == {"fine"}


@pytest.fixture
async def pool() -> AsyncIterator[AsyncBaseTransport]:
    async with shared_pool(most=20) as made:
        yield made


def endless(piece: bytes, head: bytes, pause: float = 0.0) -> Answer:
    """What never stops to send."""

    async def answer(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)

    return answer


async def never(received: Received, _: asyncio.StreamWriter) -> None:
    """What takes a request and keeps silent until the caller goes."""
    await received.reader.read()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("path", ["/v1/x", "//{host}/x", "\\\\{host}\\x"])
async def test_a_redirect_to_another_origin_takes_nothing_of_ours_there(
    pool: AsyncBaseTransport, status: int, path: str
):
    async with still_works(pool), listening(always()) as thief:
        host = f"127.0.0.1:{thief.port}"
        to = path.format(host=host) if "{" in path else thief.url + path
        async with listening(always(status, b"", f"Location: {to}")) as server:
            client = client_of(pool, server.url + "/v1", auth=Marked())
            with pytest.raises((ConnectionFault, HTTPError)):
                await client.post("/x", content=b"body", follow_redirects=True, headers={"X-Own": "1"})
            assert len(server.received) == 1
        assert thief.connections == 0


@pytest.mark.parametrize("to", ["/admin", "/v1/../admin", "/v1/%2e%2e/admin", "/v10/x", "http://lisa:pw@{host}/v1/x"])
async def test_a_redirect_out_of_the_base_is_not_followed(pool: AsyncBaseTransport, to: str):
    async with still_works(pool), listening(always(307)) as server:
        server.answer = always(307, b"", f"Location: {to.format(host=f'127.0.0.1:{server.port}')}")
        with pytest.raises(ConnectionFault, match=r"connections\.crm is for"):
            await client_of(pool, server.url + "/v1", auth=Marked()).get("/x", follow_redirects=True)
        assert len(server.received) == 1


async def test_a_loop_of_redirects_ends(pool: AsyncBaseTransport):
    async with still_works(pool), listening(always(302, b"", "Location: /v1/x")) as server:
        with pytest.raises(HTTPError, match="redirects"):
            await client_of(pool, server.url + "/v1", auth=Marked()).get("/x", follow_redirects=True)
        assert len(server.received) <= 21


async def test_a_slow_drip_is_cut_off(pool: AsyncBaseTransport):
    """Each byte comes within every limit of a single reading."""
    drip = endless(b"x", HEAD + b"Content-Length: 1000000\r\n\r\n", pause=0.02)
    async with still_works(pool), listening(drip) as server:
        with pytest.raises(ReadTimeout, match=r"connections\.crm did not send its whole response"):
            await client_of(pool, server.url, caps=Caps(0.4)).get("/x")
        await gone(server)


async def test_a_head_that_drips_is_cut_off(pool: AsyncBaseTransport):
    async with still_works(pool), listening(endless(b"X", HEAD, pause=0.02)) as server:
        with pytest.raises(ReadTimeout):
            await client_of(pool, server.url, caps=Caps(0.4)).get("/x")
        await gone(server)


@pytest.mark.parametrize(
    "answer",
    [
        endless(b"HTTP/1.1 100 Continue\r\n\r\n" * 100, b""),
        endless(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 100, b""),
    ],
    ids=["100", "103"],
)
async def test_interim_answers_without_end_are_cut_off(pool: AsyncBaseTransport, answer: Answer):
    async with still_works(pool), listening(answer) as server:
        with pytest.raises(ReadTimeout):
            await client_of(pool, server.url, caps=Caps(0.4)).get("/x")
        await gone(server)


@pytest.mark.parametrize(
    "answer",
    [
        endless(b"x" * 65536, HEAD + b"Connection: close\r\n\r\n"),
        endless(b"x" * 65536, HEAD + b"Content-Length: 99999999999\r\n\r\n"),
        endless(b"10000\r\n" + b"x" * 65536 + b"\r\n", HEAD + b"Transfer-Encoding: chunked\r\n\r\n"),
        endless(b"1\r\nx\r\n" * 1000, HEAD + b"Transfer-Encoding: chunked\r\n\r\n"),
    ],
    ids=["until it closes", "by length", "chunked", "in tiny chunks"],
)
async def test_a_body_without_end_is_cut_off_at_the_cap(pool: AsyncBaseTransport, answer: Answer):
    async with still_works(pool, 20), listening(answer) as server:
        client = client_of(pool, server.url, caps=Caps(20.0, MIB))
        tracemalloc.start()
        with pytest.raises(ConnectionFault, match=r"crm responded with more than 1048576 bytes.*max_response_bytes"):
            await client.get("/x")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 8 * MIB
        await gone(server)


async def test_a_body_in_thousands_of_chunks_that_arrive_at_once_lets_other_requests_have_their_turn(
    pool: AsyncBaseTransport,
):
    chunks, turns = 8000, 0
    body = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * chunks + b"0\r\n\r\n"

    async def answer(_: Received, __: asyncio.StreamWriter) -> bytes:
        return body

    async def other_requests() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with listening(answer) as server:
        others = asyncio.create_task(other_requests())
        found = await client_of(pool, server.url).get("/x")
        others.cancel()
    assert found.content == b"x" * chunks
    assert turns > chunks / 64


async def test_a_body_of_just_the_cap_is_read(pool: AsyncBaseTransport):
    async with listening(always(200, b"x" * 1000)) as server:
        assert len((await client_of(pool, server.url, caps=Caps(5.0, 1000)).get("/x")).content) == 1000
        with pytest.raises(ConnectionFault, match="more than 999 bytes"):
            await client_of(pool, server.url, caps=Caps(5.0, 999)).get("/x")


@pytest.mark.parametrize("coding", ["gzip, gzip", "br", "zstd", f"x {SECRET}", "gzip, br"])
async def test_a_coding_that_was_not_requested_and_is_unknown_is_not_read(pool: AsyncBaseTransport, coding: str):
    async with still_works(pool), listening(always(200, b"x" * 100, f"Content-Encoding: {coding}")) as server:
        client = client_of(pool, server.url)
        with pytest.raises(ConnectionFault, match=r"connections\.crm responded with .*content coding") as caught:
            await client.get("/x", headers={"Accept-Encoding": "gzip"})
        assert server.received[0].header("accept-encoding") == "identity"
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize(("coding", "packed"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
async def test_what_unfolds_beyond_the_cap_is_not_read(
    pool: AsyncBaseTransport, coding: str, packed: Callable[[bytes, int], bytes]
):
    bomb = packed(bytes(64 * MIB), 1)
    tracemalloc.start()
    try:
        async with still_works(pool), listening(always(200, bomb, f"Content-Encoding: {coding}")) as server:
            with pytest.raises(ConnectionFault, match=f"more than {MIB} bytes"):
                await client_of(pool, server.url, caps=Caps(5.0, MIB)).get("/x")
            _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 8 * MIB


@pytest.mark.parametrize("head", [b"X: " + b"y" * 200_000 + b"\r\n", b"X: y\r\n" * 40_000], ids=["long", "many"])
async def test_huge_headers_are_rejected(pool: AsyncBaseTransport, head: bytes):
    async def answer(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + head + b"\r\n")
        await writer.drain()

    async with still_works(pool), listening(answer) as server:
        with pytest.raises(TransportError, match=r"connections\.crm could not be called: RemoteProtocolError$"):
            await client_of(pool, server.url).post("/x")
        await gone(server)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"HTTP/1.1 200",
        HEAD + b"Content-Length: 100\r\n\r\nhalf",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhal",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nnot a length\r\n",
        HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        f"220 ready for {SECRET}\r\n\r\n".encode(),
        f"HTTP/1.1 200 OK\r\n{SECRET} \x00\r\n\r\n".encode(),
    ],
)
async def test_an_answer_that_breaks_off_or_makes_no_sense_is_a_plain_error(pool: AsyncBaseTransport, sent: bytes):
    async def answer(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        await writer.drain()

    async with still_works(pool), listening(answer) as server:
        with pytest.raises(TransportError, match=r"^connections\.crm could not be called: \w+$") as caught:
            await client_of(pool, server.url, auth=Marked()).post("/x")
        assert SECRET not in str(caught.value)
        assert len(server.received) == 1


async def test_a_second_answer_that_comes_later_is_not_taken_for_the_next_one(pool: AsyncBaseTransport):
    """Data on an idle connection belongs to no request."""
    planted = asyncio.Event()

    async def twice(_: Received, writer: asyncio.StreamWriter) -> bytes:
        if planted.is_set():
            return reply(200, b"next")

        def plant() -> None:
            writer.write(reply(200, b"planted"))
            planted.set()

        asyncio.get_running_loop().call_later(0.05, plant)
        return reply(200, b"own")

    async with still_works(pool), listening(twice) as server:
        client = client_of(pool, server.url)
        assert (await client.get("/x")).text == "own"
        await planted.wait()
        assert (await client.get("/x")).text == "next"
        assert server.connections == 2


async def test_a_second_answer_at_once_is_seen_by_calls_of_the_same_server_only(pool: AsyncBaseTransport):
    """A server's data can reach only the next call to the same server."""
    async with still_works(pool), listening(always()) as server, listening(always(200, b"other")) as other:
        server.answer = in_turn(reply(200, b"own") + reply(200, b"planted"), reply(200, b"own"))
        for _ in range(3):
            await client_of(pool, server.url).get("/x")
            assert (await client_of(pool, other.url, entry="connections.other").get("/x")).text == "other"


async def test_a_connection_that_is_closed_between_two_calls_is_replaced(pool: AsyncBaseTransport):
    async def once(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(reply(200, b"ok", "Connection: keep-alive"))
        await writer.drain()

    async with still_works(pool), listening(once) as server:
        client = client_of(pool, server.url)
        for _ in range(3):
            assert (await client.get("/x")).text == "ok"
            await gone(server)
        assert len(server.received) == 3


async def test_a_401_for_ever_is_sent_twice_at_most_and_the_token_endpoint_seldom(pool: AsyncBaseTransport):
    fetched = 0

    async def fetch() -> Token:
        nonlocal fetched
        fetched += 1
        return Token(f"{SECRET}-{fetched}", 3600.0)

    now = 100.0
    tokens = Tokens(fetch, lambda: now)

    class ByToken(Marked):
        async def credential(self) -> str:
            return await tokens.token()

        async def another(self, refused: str) -> str | None:
            return await tokens.renewed(refused)

    async with still_works(pool), listening(always(401, b"x" * 1000)) as server:
        client = client_of(pool, server.url, auth=ByToken(), retries=Waits().retries())
        for _ in range(10):
            assert (await client.get("/x")).status_code == 401
        assert (len(server.received), fetched) == (11, 2)
        now += 60
        await asyncio.gather(*(client.get("/x") for _ in range(10)))
        assert (len(server.received) <= 31, fetched) == (True, 3)


async def test_a_401_that_does_not_end_is_cut_off(pool: AsyncBaseTransport):
    answer = endless(b"x" * 65536, b"HTTP/1.1 401 No\r\nConnection: close\r\n\r\n")
    async with still_works(pool), listening(answer) as server:
        client = client_of(pool, server.url, auth=Marked(others=["b", "c", "d"]), caps=Caps(5.0, MIB))
        with pytest.raises(ConnectionFault, match="more than"):
            await client.get("/x")
        assert len(server.received) == 1


async def test_a_year_of_retry_after_is_not_waited_for(pool: AsyncBaseTransport):
    async with still_works(pool), listening(always(503, b"", "Retry-After: 31536000")) as server:
        assert (await client_of(pool, server.url).get("/x")).status_code == 503
        assert len(server.received) == 1


async def test_answers_that_are_not_read_are_released(pool: AsyncBaseTransport):
    """Authors who forget to read or close a streamed answer hold their connections until the entry's timeout."""
    body = endless(b"x" * 1000, HEAD + b"Connection: close\r\n\r\n", pause=0.01)
    async with still_works(pool), listening(body) as server:
        client = client_of(pool, server.url, caps=Caps(0.5))
        kept = [await client.send(client.build_request("GET", "/x"), stream=True) for _ in range(10)]
        assert server.open_now == 10
        await gone(server)
        with pytest.raises(ReadTimeout, match=r"connections\.crm"):
            await kept[0].aread()
        for answer in kept:
            await answer.aclose()


async def test_a_server_that_keeps_all_waiting_leaves_connections_to_others():
    """One entry may hold so many connections at a time; the pool has more."""
    async with shared_pool(most=MOST_OF_ENTRY + 10) as pool, still_works(pool, 20), listening(never) as server:
        client = client_of(pool, server.url, caps=Caps(2.0))
        calls = [asyncio.create_task(client.post("/x")) for _ in range(MOST_OF_ENTRY + 30)]
        while len(server.received) < MOST_OF_ENTRY:
            await asyncio.sleep(0.01)
        async with listening(always()) as good:
            assert (await client_of(pool, good.url, entry="connections.good").get("/x")).status_code == 200
        ends = await asyncio.gather(*calls, return_exceptions=True)
        assert ReadTimeout in {type(end) for end in ends} <= {ReadTimeout, PoolTimeout}
        assert server.most_open <= MOST_OF_ENTRY
        server.answer = always()
        assert (await client.get("/x")).status_code == 200


async def test_calls_that_are_given_up_leave_nothing_behind(pool: AsyncBaseTransport):
    """As when the workflow's own timeout ends a run."""
    async with still_works(pool), listening(never) as server:
        client = client_of(pool, server.url)
        calls = [asyncio.create_task(client.get("/x")) for _ in range(50)]  # more than the pool has connections
        while server.open_now < 20:
            await asyncio.sleep(0.01)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await gone(server)
        server.answer = always()
        assert (await client.get("/x")).status_code == 200


async def test_time_ends_signing_in_too(pool: AsyncBaseTransport):
    class Slow(Marked):
        async def credential(self) -> str:
            await asyncio.sleep(60)
            return ""

    async with still_works(pool), listening(always()) as server:
        client = client_of(pool, server.url, auth=Slow(), caps=Caps(0.2))
        with pytest.raises(ConnectTimeout, match=r"^connections\.crm was not called: it got no credential") as caught:
            await client.post("/x")
        assert server.received == []
    error = failed(Targets(load_settings({}, defaults=FLOW), dict).find("flow"), caught.value, "POST")
    assert (error.sent, "may have run" in str(error), "it got no credential" in str(error)) == (False, False, True)


async def test_a_slow_renewal_after_a_401_is_named_too(pool: AsyncBaseTransport):
    class Slow(Marked):
        async def another(self, refused: str) -> str | None:
            await asyncio.sleep(60)
            return None

    async with still_works(pool), listening(always(401)) as server:
        with pytest.raises(ConnectTimeout, match="it got no credential within its timeout"):
            await client_of(pool, server.url, auth=Slow(), caps=Caps(0.5)).get("/x")


@pytest.mark.parametrize("part", ["head", "body"])
async def test_a_connection_that_breaks_in_its_encryption_is_an_error_like_any_other(part: str, tmp_path: Path):
    """The library passes on OpenSSL's own error. A GET is repeated, and of a POST it is said that it may have run."""
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")

    async def answer(received: Received, writer: asyncio.StreamWriter) -> None:
        if part == "body":
            writer.write(HEAD + b"Content-Length: 100\r\n\r\nhalf")
        plain = writer.transport._ssl_protocol._transport  # type: ignore[attr-defined]
        plain.write(b"\x17\x03\x03\x00\x20" + b"x" * 32)
        await received.reader.read()

    made = pool_of(tmp_path / "ca.pem", most=5, kept=5)
    async with listening(answer, context) as server:
        client = client_of(made, server.url, retries=Waits().retries())
        with pytest.raises(ReadError, match=r"^connections\.crm could not be called: ReadError$"):
            await client.get("/x")
        assert len(server.received) == 4
        with pytest.raises(ReadError) as caught:
            await client.post("/x")
        assert len(server.received) == 5
    await made.aclose()
    error = failed(Targets(load_settings({}, defaults=FLOW), dict).find("flow"), caught.value, "POST")
    assert (error.sent, error.final, "may have run" in str(error), "broke the connection off" in str(error)) == (
        True,
        False,
        True,
        True,
    )


async def gone(server: Counterpart) -> None:
    """Wait until the server has no connection left."""
    async with asyncio.timeout(30):
        while server.open_now:
            await asyncio.sleep(0.01)
