"""Agents that are replaced, one after the other, while requests go through the server's pool of tunnels."""

import ssl
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import pytest
import trustme
from anyio.abc import ByteStream

from postern.gateway.agent.agent import Agent
from postern.gateway.agent.rows import Row
from postern.http_client import AsyncClient, http_client
from postern.tunnel_pool import TunnelPool
from tests.gateway.agent.nodes import cluster
from tests.gateway.agent.targets import read_until, target
from tests.gateway.agent.test_agent import FewTokens, settings, until
from tests.table import table

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

AT_A_TIME = 20


class Counted:
    """A target that counts the requests with a number of their own."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []

    async def __call__(self, stream: ByteStream) -> None:
        while True:
            head = await read_until(stream, b"\r\n\r\n")
            self.seen.append(head.split(b" ")[1])
            await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


class Fleet:
    """Agents by name, each in a task of its own."""

    def __init__(self, given: Any, group: anyio.abc.TaskGroup) -> None:
        self.given = given
        self.group = group
        self.running: dict[str, tuple[Agent, anyio.CancelScope]] = {}

    def start(self, name: str) -> None:
        own = self.given.model_copy(update={"agent": name})
        agent, scope = Agent(own, lambda: own, tokens=FewTokens()), anyio.CancelScope()
        self.running[name] = agent, scope

        async def run() -> None:
            with scope:
                await agent.run()
            if self.running.get(name) == (agent, scope):
                del self.running[name]

        self.group.start_soon(run)

    def stop(self, name: str) -> None:
        self.running[name][0].stop()

    def kill(self, name: str) -> None:
        self.running.pop(name)[1].cancel()


@table("ends_tls", [False, True])
async def test_no_request_fails_while_agents_are_replaced(
    ends_tls: bool, campaign: Callable[[int, int], int], tmp_path: Path
):
    """Each POST runs once: nothing is sent again that may have arrived."""
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.cert_pem.write_to_path(tmp_path / f"ca-{ends_tls}.pem")
    authority.issue_cert("localhost").configure_cert(context)
    counted, rounds = Counted(), campaign(1, 20)
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(target(counted, None if ends_tls else context))
        at = await stack.enter_async_context(cluster("one"))
        hub = at.nodes[0].hub
        bundle = tmp_path / f"ca-{ends_tls}.pem"
        pool = TunnelPool("madrid", hub.open, bundle, ends_tls=ends_tls, most=100, kept=20)
        client = await stack.enter_async_context(http_client(transport=pool, timeout=10))
        more = {"scheme": "http", "methods": ["POST"], "paths": ["/"]} if ends_tls else {}
        group = await stack.enter_async_context(anyio.create_task_group())
        group.start_soon(_close_idle, pool)
        fleet = Fleet(settings(at.url, allow=(Row(address=f"localhost:{port}", **more),)), group)
        for name in ("madrid-1", "madrid-2"):
            fleet.start(name)
        await until(lambda: sorted(at.nodes[0].agents()) == ["madrid-1", "madrid-2"])
        sent = _load(client, f"http{'' if ends_tls else 's'}://localhost:{port}", group)
        for _ in range(rounds):
            for name in ("madrid-1", "madrid-2"):
                before = sent.count
                await until(lambda: sent.count >= before + 3 * AT_A_TIME)  # noqa: B023 - it is awaited at once
                fleet.stop(name)
                await until(lambda: name not in fleet.running)  # noqa: B023
                fleet.start(name)
                await until(lambda: len(at.nodes[0].agents()) == 2)
        sent.ending = True
        await until(lambda: sent.running == 0)
        group.cancel_scope.cancel()
    print(f"{sent.count} requests, {2 * rounds} agents replaced")
    assert sent.failed == []
    assert sorted(counted.seen) == sorted(b"/%d" % number for number in range(sent.count))


class Sent:
    """What the callers sent."""

    def __init__(self) -> None:
        self.count = 0
        self.running = AT_A_TIME
        self.ending = False
        self.failed: list[str] = []


def _load(client: AsyncClient, url: str, group: anyio.abc.TaskGroup) -> Sent:
    sent = Sent()

    async def caller() -> None:
        while not sent.ending:
            number, sent.count = sent.count, sent.count + 1
            try:
                response = await client.post(f"{url}/{number}", content=b"")
                assert response.text == "ok"
            except Exception as error:
                sent.failed.append(repr(error))
        sent.running -= 1

    for _ in range(AT_A_TIME):
        group.start_soon(caller)
    return sent


async def _close_idle(pool: TunnelPool) -> None:
    """As a node does for an agent that drains."""
    while True:
        await pool.close_ended()
        await anyio.sleep(0.05)
