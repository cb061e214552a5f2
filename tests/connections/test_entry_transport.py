"""What an entry's client sends, how often, and what it leaves behind."""

import asyncio
from collections.abc import AsyncIterator
from email.utils import formatdate
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from postern.connections.allowed_urls import POLL
from postern.connections.entry_transport import Caps
from postern.connections.faults import ConnectionFault
from postern.http_client import URL, AsyncBaseTransport, HTTPStatusError, ReadTimeout, Request, TransportError
from postern.trace import RUN, traceparent
from tests.connections.counterparts import (
    SECRET,
    Answer,
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

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@pytest.fixture
async def pool() -> AsyncIterator[AsyncBaseTransport]:
    async with shared_pool() as made:
        yield made


async def test_the_credential_is_sent_and_no_code_here_sees_it(pool: AsyncBaseTransport):
    async with listening(always(404, b"{}")) as server:
        client = client_of(pool, server.url + "/v1", auth=Marked())
        found = await client.post("/users", params={"a": "1"}, json={"b": 2})
        [received] = server.received
        assert received.target == f"/v1/users?a=1&key={SECRET}"
        assert (received.header("authorization"), received.header("x-api-key")) == (f"Bearer {SECRET}", SECRET)
        assert received.body == b'{"b":2}'
        assert SECRET not in f"{found.request!r} {found.request.headers!r} {found.url} {found.request.extensions!r}"
        with pytest.raises(Exception, match="404") as caught:
            found.raise_for_status()
        assert SECRET not in str(caught.value)  # nor the server's own words for the status


async def test_a_credential_that_is_rejected_is_replaced_once(pool: AsyncBaseTransport):
    async with listening(in_turn(reply(401), reply(200))) as server:
        found = await client_of(pool, server.url, auth=Marked(others=["newer"])).get("/x")
        assert found.status_code == 200
        assert [each.header("x-api-key") for each in server.received] == [SECRET, "newer"]


@pytest.mark.parametrize("given", [{"target": b"/elsewhere"}, {"sni_hostname": "elsewhere.example"}, {"trace": None}])
async def test_extensions_that_could_send_a_request_elsewhere_are_dropped(
    pool: AsyncBaseTransport, given: dict[str, Any]
):
    async with listening(always()) as server:
        await client_of(pool, server.url + "/v1").get("/x", extensions=given)
        assert server.targets == ["/v1/x"]


async def test_the_query_of_an_exact_address_is_sent_and_not_shown(pool: AsyncBaseTransport):
    async with listening(always(202)) as server:
        client = client_of(pool, server.url + "/invoke?v=1&sig=marker", exact=True, auth=Marked())
        found = await client.post("", json={})
        assert "marker" not in str(found.url).replace(SECRET, "")
        await client.post(f"{server.url}/invoke?v=2")
        await client.get(f"{server.url}/runs/1?sig=other", extensions={POLL: True})
        key = f"key={SECRET}"
        assert server.targets == [f"/invoke?v=1&sig=marker&{key}", f"/invoke?v=2&{key}", f"/runs/1?sig=other&{key}"]


@pytest.mark.parametrize("own", ["", "00-" + "1" * 32 + "-" + "2" * 16 + "-01"])
async def test_the_trace_of_the_run_is_passed_on_unless_the_author_names_one(pool: AsyncBaseTransport, own: str):
    async with listening(always()) as server:
        client = client_of(pool, server.url)
        headers = {"traceparent": own} if own else {}
        token = RUN.set(("run-1", None))
        await client.get("/", headers=headers)
        RUN.reset(token)
        await client.get("/", headers=headers)
        assert [each.header("traceparent") for each in server.received] == [own or traceparent("run-1"), own]


async def test_cookies_of_one_call_are_not_sent_with_the_next(pool: AsyncBaseTransport):
    async with listening(always(200, b"", "Set-Cookie: session=1; Path=/")) as server:
        client = client_of(pool, server.url)
        assert (await client.get("/x")).cookies["session"] == "1"
        await client.get("/x")
        client.cookies.set("session", "2")
        await client.get("/x")
        assert [each.header("cookie") for each in server.received] == ["", "", ""]


async def test_redirects_are_not_followed_unless_requested(pool: AsyncBaseTransport):
    async with listening(in_turn(reply(302, b"", "Location: /v1/there"), reply(200))) as server:
        client = client_of(pool, server.url + "/v1")
        assert (await client.get("/x")).status_code == 302
        assert (await client.get("/x", follow_redirects=True)).status_code == 200


async def test_a_client_that_is_closed_still_works(pool: AsyncBaseTransport):
    async with listening(always()) as server:
        client = client_of(pool, server.url)
        async with client as same:
            assert (await same.get("/x")).status_code == 200
        await client.aclose()
        async with client:
            assert (await client.get("/x")).status_code == 200
        assert server.connections == 1


async def test_proxies_of_the_environment_are_not_used(pool: AsyncBaseTransport, monkeypatch: pytest.MonkeyPatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with listening(always()) as server:
        assert (await client_of(pool, server.url).get("/x")).status_code == 200


async def test_fifty_calls_at_a_time_over_one_client(pool: AsyncBaseTransport):
    async def slowly(received: Received, _: Any) -> bytes:
        await asyncio.sleep(0.01)
        return reply(200, received.target.encode())

    async with listening(slowly) as server:
        client = client_of(pool, server.url + "/v1", auth=Marked())
        found = await asyncio.gather(*(client.get(f"/{number}") for number in range(50)))
        assert [answer.text for answer in found] == [f"/v1/{number}?key={SECRET}" for number in range(50)]
        assert server.connections <= 50


# Retries


@pytest.mark.parametrize("status", [408, 429, 502, 503, 504])
async def test_a_passing_fault_is_tried_again(pool: AsyncBaseTransport, status: int):
    waits = Waits()
    async with listening(in_turn(reply(status), reply(status), reply(200, b"ok"))) as server:
        client = client_of(pool, server.url, retries=waits.retries(), auth=Marked())
        assert (await client.get("/x")).text == "ok"
        assert waits.seconds == [0.5, 1.0]
        assert {each.header("x-api-key") for each in server.received} == {SECRET}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 500, 501, 508])
async def test_what_stays_wrong_is_not_tried_again(pool: AsyncBaseTransport, status: int):
    async with listening(always(status)) as server:
        assert (await client_of(pool, server.url, retries=Waits().retries()).get("/x")).status_code == status
        assert len(server.received) == 1


async def test_the_last_answer_is_handed_back_as_it_is(pool: AsyncBaseTransport):
    waits = Waits()
    async with listening(always(503, b"later", "X-Reason: none")) as server:
        found = await client_of(pool, server.url, retries=waits.retries()).get("/x")
        assert (found.status_code, found.text, found.headers["x-reason"]) == (503, "later", "none")
        assert (len(server.received), waits.seconds) == (4, [0.5, 1.0, 2.0])


@pytest.mark.parametrize(
    ("method", "options", "times"),
    [
        ("GET", {}, 4),
        ("HEAD", {}, 4),
        ("OPTIONS", {}, 4),
        ("PUT", {"content": b"x"}, 4),
        ("DELETE", {}, 4),
        ("POST", {"content": b"x"}, 1),
        ("PATCH", {"content": b"x"}, 1),
        ("POST", {"content": b"x", "headers": {"idempotency-key": "1"}}, 4),
        ("POST", {"content": b"x", "extensions": {"retry": True}}, 4),
        ("GET", {"extensions": {"retry": False}}, 1),
        ("POST", {"headers": {"idempotency-key": "1"}, "extensions": {"retry": False}}, 1),
    ],
)
async def test_only_what_may_arrive_twice_is_sent_twice(
    pool: AsyncBaseTransport, method: str, options: dict[str, Any], times: int
):
    async with listening(always(503)) as server:
        await client_of(pool, server.url, retries=Waits().retries()).request(method, "/x", **options)
        assert len(server.received) == times
        assert {each.body for each in server.received} == {options.get("content", b"")}


async def test_a_body_that_can_be_read_once_is_sent_once(pool: AsyncBaseTransport):
    async def body() -> AsyncIterator[bytes]:
        yield b"once"

    async with listening(always(503)) as server:
        client = client_of(pool, server.url, retries=Waits().retries())
        headers = {"Content-Length": "4"}
        assert (await client.put("/x", content=body(), headers=headers)).status_code == 503
        assert [each.body for each in server.received] == [b"once"]


@pytest.mark.parametrize(
    ("after", "waited"), [("3", 3.5), ("3.5", 4), ("120", 120.5), (formatdate(1003.0, usegmt=True), 3.5)]
)
async def test_a_retry_after_is_honoured(pool: AsyncBaseTransport, after: str, waited: float):
    waits = Waits()
    async with listening(in_turn(reply(429, b"", f"Retry-After: {after}"), reply())) as server:
        client = client_of(pool, server.url, caps=Caps(300.0), retries=waits.retries(now=lambda: 1000.0))
        assert (await client.get("/x")).status_code == 200
        assert waits.seconds == [waited]


@pytest.mark.parametrize(("after", "limit"), [("31536000", 1e7), ("101", 100.0), ("6", 5.0)])
async def test_a_longer_wait_than_there_is_time_for_ends_it(pool: AsyncBaseTransport, after: str, limit: float):
    """A Retry-After of a year is not waited for, nor one beyond the rest of the entry's timeout."""
    async with listening(always(503, b"", f"Retry-After: {after}")) as server:
        client = client_of(pool, server.url, caps=Caps(limit), retries=Waits().retries())
        found = await client.get("/x")
        assert (found.status_code, found.headers["retry-after"], len(server.received)) == (503, after, 1)


async def test_a_server_that_cannot_be_reached_is_tried_again_and_named_by_its_entry(pool: AsyncBaseTransport):
    waits = Waits()
    async with listening(always()) as gone:
        url = gone.url
    with (
        capture_logs() as logs,
        pytest.raises(TransportError, match=r"connections\.crm could not be called: Conn") as caught,
    ):
        await client_of(pool, url, retries=waits.retries(), auth=Marked()).get("/x?personal=1")
    assert len(waits.seconds) == 3
    assert "personal" not in str(caught.value) + str(logs)
    assert {(line["event"], line["entry"], line["wrong"]) for line in logs} == {
        ("call-retried", "connections.crm", "ConnectError")
    }


async def test_the_limit_of_time_holds_for_all_attempts_together(pool: AsyncBaseTransport):
    async with listening(always(503)) as server:
        client = client_of(pool, server.url, caps=Caps(5.0), retries=Waits().retries(clock=lambda: 1e12))
        assert (await client.get("/x")).status_code == 503
        assert len(server.received) == 1


def cut(body: bytes, *headers: str) -> Answer:
    """What breaks off in its body the first time, and is whole after that."""
    times: list[None] = []

    async def answer(_: Received, writer: asyncio.StreamWriter) -> bytes | None:
        times.append(None)
        if len(times) > 1:
            return reply(200, body, *headers)
        writer.write(reply(200, body, *headers)[:-1])
        await writer.drain()
        return None

    return answer


@pytest.mark.parametrize(
    ("method", "options", "times"),
    [
        ("GET", {}, 2),
        ("PUT", {"content": b"x"}, 2),
        ("POST", {"content": b"x", "headers": {"Idempotency-Key": "1"}}, 2),
        ("POST", {"content": b"x"}, 1),
        ("GET", {"extensions": {"retry": False}}, 1),
    ],
)
async def test_an_answer_that_breaks_off_in_its_body_is_a_failed_attempt(
    pool: AsyncBaseTransport, method: str, options: dict[str, Any], times: int
):
    async with listening(cut(b"whole")) as server:
        client = client_of(pool, server.url, retries=Waits().retries())
        if times == 1:
            with pytest.raises(TransportError, match=r"connections\.crm"):
                await client.request(method, "/x", **options)
        else:
            found = await client.request(method, "/x", **options)
            assert (found.text, found.elapsed.total_seconds() >= 0) == ("whole", True)
        assert len(server.received) == times
        assert (await client.get("/x")).text == "whole", "its connection is free again"


async def test_an_answer_that_is_streamed_breaks_off_where_it_is_read(pool: AsyncBaseTransport):
    async with listening(cut(b"whole")) as server:
        client = client_of(pool, server.url, retries=Waits().retries())
        async with client.stream("GET", "/x") as found:
            with pytest.raises(TransportError):
                await found.aread()
        assert len(server.received) == 1


@pytest.mark.parametrize("status", [503, 200])
async def test_a_file_is_sent_again_from_its_beginning(pool: AsyncBaseTransport, status: int, tmp_path: Path):
    """After a passing fault, or with another credential."""
    (tmp_path / "f").write_bytes(b"hello")
    first = reply(503) if status == 503 else reply(401)
    async with listening(in_turn(first, reply())) as server:
        client = client_of(pool, server.url, retries=Waits().retries(), auth=Marked(others=["newer"]))
        with (tmp_path / "f").open("rb") as file:
            found = await client.put("/up", files={"f": ("a.txt", file, "text/plain")})
        assert found.status_code == 200
        assert [b"hello" in each.body for each in server.received] == [True, True]


@pytest.mark.parametrize("content", [b"hello", "hello", BytesIO(b"hello")])
@pytest.mark.parametrize("form", [dict, list])
async def test_an_upload_is_sent_again_with_the_renewed_credential(pool: AsyncBaseTransport, content: Any, form: Any):
    async with listening(in_turn(reply(401), reply(200, b"ok"))) as server:
        client = client_of(pool, server.url, auth=Marked(others=["newer"]))
        found = await client.post("/up", data={"a": "1"}, files=form({"f": ("a.txt", content, "text/plain")}.items()))
        assert found.text == "ok"
        assert [each.header("x-api-key") for each in server.received] == [SECRET, "newer"]
        assert server.received[0].body == server.received[1].body
        assert b"hello" in server.received[0].body


class Once:
    """A file that says that it can be read once."""

    def __init__(self, content: bytes) -> None:
        inner = BytesIO(content)
        self.read, self.seek, self.tell = inner.read, inner.seek, inner.tell

    def seekable(self) -> bool:
        return False


async def test_a_stream_is_sent_once_and_the_next_request_has_the_renewed_credential(pool: AsyncBaseTransport):
    async def parts() -> AsyncIterator[bytes]:
        yield b"once"

    class Renewing(Marked):
        async def another(self, refused: str) -> str | None:
            self.value = "newer"
            return self.value

    once: dict[str, Any] = {"files": {"f": ("a.txt", Once(b"hello"))}}
    for options in ({"content": parts(), "headers": {"Content-Length": "4"}}, once):
        async with listening(in_turn(reply(401), reply())) as server:
            client = client_of(pool, server.url, auth=Renewing())
            with capture_logs() as logs:
                found = await client.post("/up", **options)
            assert found.status_code == 401
            with pytest.raises(HTTPStatusError, match="credential was renewed, but the body was a stream") as caught:
                found.raise_for_status()
            assert SECRET not in str(caught.value) + str(logs)
            assert [(line["event"], line["entry"]) for line in logs] == [("call-not-repeated", "connections.crm")]
            assert (await client.post("/up", content=b"x")).status_code == 200
            assert [each.header("x-api-key") for each in server.received] == [SECRET, "newer"]


@pytest.mark.parametrize(
    ("path", "options", "target"),
    [
        ("/echo?a=1&b=%2F", {"params": {"$top": "5"}}, "/echo?a=1&b=%2F&%24top=5"),
        ("/echo?a=1", {"params": {"a": "1"}}, "/echo?a=1&a=1"),
        ("/echo?a=1", {"params": {}}, "/echo?a=1"),
        ("/echo?a=1", {"params": None}, "/echo?a=1"),
        ("/echo?a=1", {}, "/echo?a=1"),
        ("/echo", {"params": [("a", "1"), ("a", "2")]}, "/echo?a=1&a=2"),
        (URL("/echo?a=1"), {"params": "b=2"}, "/echo?a=1&b=2"),
        ("/echo?", {"params": {"b": "2"}}, "/echo?b=2"),
    ],
)
async def test_params_are_added_to_the_query_of_the_address(
    pool: AsyncBaseTransport, path: Any, options: dict[str, Any], target: str
):
    async with listening(always()) as server:
        client = client_of(pool, server.url)
        await client.get(path, **options)
        await client.get(f"{server.url}{path}", **options)
        client.params = {"own": "1"}
        await client.get(path, **options)
        assert server.targets[:2] == [target, target]
        written = set(target.partition("?")[2].split("&")) - {""}
        assert written | {"own=1"} == set(server.targets[2].partition("?")[2].split("&"))


# What cannot be sent


@pytest.mark.parametrize("secret", [SECRET + "\n", SECRET + "\r\nX: y", "\ud800" + SECRET])
async def test_a_secret_that_does_not_fit_into_a_header_is_not_repeated(pool: AsyncBaseTransport, secret: str):
    async with listening(always()) as server:
        with pytest.raises(ConnectionFault, match=r"connections\.crm has a (request|credential)") as caught:
            await client_of(pool, server.url, auth=Marked(secret)).get("/x")
        assert SECRET not in f"{caught.value} {caught.value.__cause__}"
        assert server.received == []


async def test_a_request_made_by_hand_is_checked_too(pool: AsyncBaseTransport):
    async with listening(always()) as server, listening(always()) as other:
        with pytest.raises(ConnectionFault, match=r"connections\.crm is for"):
            await client_of(pool, server.url, auth=Marked()).send(Request("GET", other.url + "/x"))
        assert server.received == other.received == []


async def test_a_client_without_a_place_sends_nothing_in_the_clear(pool: AsyncBaseTransport):
    from postern.connections.entry_client import EntryClient
    from postern.connections.entry_transport import EntryTransport

    tokens = EntryClient(EntryTransport("a token endpoint", None, pool))
    with pytest.raises(ConnectionFault, match="a token endpoint is plain http"):
        await tokens.post("http://login.example/token")
    async with listening(in_turn(reply(302, b"", "Location: /x"))) as server:
        assert (await tokens.post(server.url + "/token", data={"a": "b"})).status_code == 302
        assert len(server.received) == 1


async def test_a_timeout_of_the_author_is_shorter_never_longer(pool: AsyncBaseTransport):
    async def never(*_: Any) -> None:
        await asyncio.sleep(60)

    async with listening(never) as server:
        client = client_of(pool, server.url, caps=Caps(0.2))
        async with asyncio.timeout(20):
            for timeout in (0.05, None, 30):
                with pytest.raises(ReadTimeout, match=r"connections\.crm"):
                    await client.post("/x", timeout=timeout)
