"""Whatever is sent to a real server, it gets an answer below 500, the log gets no traceback, and little else."""

import asyncio
import random
import re
import struct
from collections.abc import Callable, Iterator
from socket import SHUT_WR, SO_LINGER, SOL_SOCKET, create_connection

import pytest

from postern.local_tenant import LocalTenant
from tests.process.odd_requests import odd_request
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

    await asyncio.gather(*(ask(odd_request(chance)) for _ in range(requests)))
    assert sum(seen.values()) > requests * 0.8, seen
    assert {200, 400, 401, 404, 405} <= seen.keys(), seen
    assert server.client.get("/healthz").status_code == 200
    assert "Traceback" not in server.output
    assert '"level":"error"' not in server.output
