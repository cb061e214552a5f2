"""Whatever is sent to a real server, it gets an answer below 500, the log gets no traceback, and little else."""

import asyncio
import random
import re
import struct
from collections.abc import Callable, Iterator
from socket import SHUT_WR, SO_LINGER, SOL_SOCKET, create_connection

import pytest

from postern.local_tenant import LocalTenant
from tests.process.servers import Server, running, settings_of, until

pytestmark = pytest.mark.anyio

CLIENTS = 50
WORKFLOWS = """
from typing import Any
from pydantic import BaseModel
from postern import Context, anonymous, tenant_users, workflow

class Order(BaseModel):
    number: int
    lines: list[dict[str, float | None]] = []

@workflow(access=anonymous(), path="/{number}/of/{name}", methods=["POST", "PUT", "DELETE"])
async def typed(ctx: Context, order: Order, number: int, name: str) -> Any:
    return {"number": number, "name": name, "order": order}

@workflow(access=anonymous(), methods=["GET", "POST", "PATCH"])
def plain(ctx: Context, body) -> Any:
    return {"body": body, "query": str(ctx.request.query), "form": len(ctx.request.body)}

@workflow(access=tenant_users())
async def guarded(ctx: Context) -> str:
    return "came in"
"""
METHODS = [b"POST"] * 8 + [
    b"GET",
    b"PUT",
    b"PATCH",
    b"DELETE",
    b"HEAD",
    b"OPTIONS",
    b"TRACE",
    b"CONNECT",
    b"PRI",
    b"post",
]
PIECES = [
    b"/", b"//", b"/triggers/", b"typed", b"plain", b"guarded", b"/7/of/x", b"/%37/of/%2F", b"..", b"%2e%2e",
    b"%00", b"%", b"%zz", b"?", b"?a=1&a=2", b"#", b"\\", b";", b"\xc3\xa9", b"%C3%A9", b"%FF", b"*",
    b"http://other/triggers/plain", b"/healthz", b"@", b":80", b" ", b"\t", b"a" * 3000, b"{number}", b"1" * 5000,
    b"/triggers/typed/1e999/of/\xf0\x9f\x98\x80",
]  # fmt: skip
NAMES = [
    b"Host", b"Content-Type", b"Content-Length", b"Transfer-Encoding", b"Authorization", b"Cookie", b"Expect",
    b"Connection", b"Upgrade", b"Content-Encoding", b"X-Forwarded-For", b"X-HTTP-Method-Override", b"Accept",
    b"Range", b"traceparent", b"Idempotency-Key", b"Prefer", b"TE", b"Trailer", b"Date", b"", b"X y", b"X\xff",
]  # fmt: skip
VALUES = [
    b"", b"application/json", b"application/json; charset=utf-16", b"text/plain", b"multipart/form-data", b"0",
    b"-1", b"+3", b"3, 3", b"999999999999999999999", b"chunked", b"gzip, chunked", b"identity", b"close",
    b"keep-alive, upgrade", b"websocket", b"h2c", b"100-continue", b"Bearer", b"Bearer x.y.z",
    b"Bearer eyJhbGciOiJub25lIn0.e30.", b"Bearer " + b"A" * 9000, b"Basic Og==", b"\xff\xfe", b"a\x00b", b"\x7f",
    b"a" * 20000, b"gzip", b"bytes=0-", b"00-0-0-0", b"wait=99999999999999",
]  # fmt: skip
BODIES = [
    b"", b"{}", b"[]", b"null", b"{", b'{"number": 1}', b'{"number": "1e400"}', b'{"number": ' + b"9" * 5000 + b"}",
    b'{"number": 1, "lines": [{"a": NaN}]}', b'{"number": 1, "lines": [{"a": 1e400}]}', b"[" * 5000,
    b'{"a":' * 3000, b'"\\ud800"', b"\xff\xfe\x00", b"\xef\xbb\xbf{}", b"-0", b"1e999", b"Infinity",
    b'{"number": 1, "number": 2}', b"\x00" * 100, b'{"number": 1, "lines": [{"\\u0000": 1}]}', b"a=1&b=2",
]  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, local_tenant: LocalTenant) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "workflows").mkdir()
    (folder / "workflows" / "triggers.py").write_text(WORKFLOWS, encoding="utf-8")
    environ = settings_of(local_tenant, folder / "workflows") | {"POSTERN_LOG_FORMAT": "json"}
    with running("serve", folder, environ) as started:
        started.client.post("/triggers/plain", json={})  # the first run waits for the tables to be made
        yield started


@pytest.mark.first
def test_clients_that_go_away_cost_one_line_for_many(server: Server):
    """Half of them say goodbye, half are gone without a word; both in the middle of the body.

    It comes first, so that no line of another test's clients is counted."""
    before = server.output
    head = b"POST /triggers/plain HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
    for n in range(CLIENTS):
        with create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(head + b'{"half": "')
            if n % 2:
                client.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))

    def lines() -> list[str]:
        return server.output[len(before) :].splitlines()

    until(lambda: disconnected(server) >= CLIENTS * 0.9)
    assert server.client.get("/healthz").status_code == 200
    assert 1 <= sum("client-disconnected" in line for line in lines()) <= len(lines()) <= 3
    assert "Traceback" not in server.output


def disconnected(server: Server) -> float:
    counted = re.findall(r'^postern_requests_total\{.*outcome="disconnected".*\} (\S+)$', scraped(server), re.MULTILINE)
    return sum(map(float, counted))


def scraped(server: Server) -> str:
    return server.client.get("/metrics").text


GONE = [b"/runs/%b", b"/runs/%b/tree", b"/docs", b"/openapi.json", b"/healthz", b"/metrics", b"/triggers/plain"]


def test_clients_that_go_away_while_several_of_their_requests_wait_leave_no_traceback(server: Server):
    """From every kind of page, with a word of goodbye and without."""
    run = server.client.post("/triggers/plain", json={}).headers["x-run-id"].encode()
    for page in GONE:
        target = page % run if b"%" in page else page
        for n in range(6):
            with create_connection(("127.0.0.1", server.port)) as client:
                client.sendall((b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n") * 10)
                if n % 3:
                    client.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
                if n % 3 == 0:
                    client.shutdown(SHUT_WR)
                    client.recv(1)
    assert server.client.get("/healthz").status_code == 200
    assert "Traceback" not in server.output


def request(chance: random.Random) -> bytes:
    """A request: mostly well-formed in framing, seldom in anything else."""
    method = chance.choice(METHODS)
    if chance.random() < 0.6:
        target = chance.choice([b"/triggers/typed/7/of/x", b"/triggers/plain", b"/triggers/guarded"])
    else:
        target = b"".join(chance.choices(PIECES, k=chance.randint(1, 4)))
    target += chance.choice(PIECES) if chance.random() < 0.2 else b""
    body = chance.choice(BODIES)
    headers = [(b"Host", b"postern.test"), (b"Connection", b"close")]
    if chance.random() < 0.8:
        headers.append((b"Content-Type", b"application/json"))
    if chance.random() < 0.3:
        headers.append((b"Transfer-Encoding", b"chunked"))
        size = chance.choice([b"%x" % len(body), b"%x;a=b" % len(body), b"-1", b"zz", b"f" * 20])
        framed = b"%b\r\n%b\r\n0\r\n%b\r\n" % (size, body, chance.choice([b"", b"", b"Authorization: Bearer x\r\n"]))
        body = framed if body else b"0\r\n\r\n"
    else:
        headers.append((b"Content-Length", b"%d" % len(body)))
    more = chance.choice([0, 0, 1, 1, 2, 200])
    headers += zip(chance.choices(NAMES, k=more), chance.choices(VALUES, k=more), strict=True)
    chance.shuffle(headers)
    version = chance.choice([b"HTTP/1.1"] * 8 + [b"HTTP/1.0", b"HTTP/2.0", b"HTTP/9", b""])
    head = b"".join(b"%b: %b\r\n" % header for header in headers)
    sent = b"%b %b %b\r\n%b\r\n%b" % (method, target, version, head, body)
    if chance.random() < 0.1:
        spoilt = bytearray(sent)
        for _ in range(chance.randint(1, 5)):
            spoilt[chance.randrange(len(spoilt))] = chance.randrange(256)
        sent = bytes(spoilt)
    return sent


async def statuses(port: int, sent: bytes) -> list[int]:
    """The statuses of what comes back; none where the server waits for more, or has nothing to say to it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    received = b""
    try:
        writer.write(sent)
        async with asyncio.timeout(0.5):
            while part := await reader.read(65536):
                received += part
    except (TimeoutError, ConnectionError):
        pass
    finally:
        writer.transport.abort()
    return [int(status) for status in re.findall(rb"(?:^|\n|\})HTTP/1\.1 (\d{3})", received)]


async def test_no_request_gives_a_server_error(server: Server, campaign: Callable[[int, int], int]):
    """Only what HTTP itself has for an unknown coding is 501."""
    chance, requests = random.Random(20_26), campaign(400, 40_000)
    limit = asyncio.Semaphore(16)
    seen: dict[int, int] = {}

    async def ask(sent: bytes) -> None:
        async with limit:
            for status in await statuses(server.port, sent):
                seen[status] = seen.get(status, 0) + 1
                assert status < 500 or status in (501, 503), sent[:500]

    await asyncio.gather(*(ask(request(chance)) for _ in range(requests)))
    assert sum(seen.values()) > requests * 0.8, seen
    assert {200, 400, 401, 404, 405} <= seen.keys(), seen
    assert server.client.get("/healthz").status_code == 200
    assert "Traceback" not in server.output
    assert '"level":"error"' not in server.output
