"""A run calls a private system: server, WebSocket, link, tunnel, TLS, record, pages, all over real sockets. The agent
is a small one of the tests."""

import asyncio
import ssl
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
import trustme

from postern.gateway.reasons import REASON_HEADER, Reason
from postern.gateway.streams import LinkStream
from postern.http_client import http_client
from postern.local_tenant import LocalTenant
from tests.connections.counterparts import Received, listening, reply
from tests.gateway.installation import eventually, installation

pytestmark = [pytest.mark.anyio, pytest.mark.process]

HOST = "erp.madrid.corp"
WORKFLOWS = """
from postern import Context, tenant_users, workflow

@workflow(access=tenant_users())
async def order(ctx: Context, method: str) -> str:
    response = await ctx.connection("erp").request(method, "/orders")
    return f"{response.status_code} {response.text}"

@workflow(access=tenant_users())
async def elsewhere(ctx: Context) -> str:
    return (await ctx.connection("stock").get("/items")).text
"""


async def relay(stream: LinkStream, *, port: int) -> None:
    """Serves tunnels to HOST, at a port of this machine."""
    if stream.request[":authority"] != f"{HOST}:443":
        await stream.answer(403, ((REASON_HEADER, Reason.TARGET_NOT_ALLOWED),), end=True)
        return
    async with await anyio.connect_tcp("127.0.0.1", port) as target:
        await stream.answer(200)
        async with anyio.create_task_group() as group:

            async def there() -> None:
                async for data in stream:
                    await target.send(data)
                group.cancel_scope.cancel()

            group.start_soon(there)
            async for data in target:
                await stream.send(data)
            await stream.send_eof()


async def test_a_run_calls_a_private_system_and_its_record_says_by_which_agent(
    local_tenant: LocalTenant, own_modules: None, tmp_path: Path
):
    authority = trustme.CA()
    (tmp_path / "ca.pem").write_bytes(authority.cert_pem.bytes())
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(HOST).configure_cert(context)
    entry = {"auth": {"type": "none"}, "gateway": "madrid", "ca_bundle": str(tmp_path / "ca.pem")}
    connections = {
        "erp": entry | {"base_url": f"https://{HOST}/api"},
        "stock": entry | {"base_url": "https://stock.madrid.corp"},
    }
    answered = 0

    async def answer(received: Received, _: asyncio.StreamWriter) -> bytes | None:
        nonlocal answered
        answered += 1
        if received.method == "DELETE" and answered == 2:
            await first.socket.close()
            return None
        return reply(200, received.method.encode())

    more: dict[str, Any] = {"connections": connections, "operators": [local_tenant.people["ada"]]}
    async with (
        listening(answer, context) as system,
        installation(local_tenant, tmp_path, workflows=WORKFLOWS, **more) as here,
        http_client(base_url=f"http://127.0.0.1:{here.port}") as client,
    ):
        client.headers["Authorization"] = f"Bearer {local_tenant.token('ada')}"

        async def called(name: str, *body: Any) -> tuple[Any, dict[str, Any]]:
            response = await client.post(f"/triggers/{name}", json=body[0] if body else None)
            record = (await client.get(f"/runs/{response.headers['X-Run-Id']}")).json()
            return response.json(), record

        first = await here.agent(serve=partial(relay, port=system.port))
        result, record = await called("order", "POST")
        assert result == "200 POST"
        [call] = record["calls"]
        assert (call["name"], call["status"], call["gateway"], call["agent"]) == (
            *("connections.erp", 200, "madrid", "madrid-1"),
        )

        [madrid, oslo] = (await client.get("/gateways")).json()["gateways"]
        assert [(agent["name"], agent["tunnels"]) for agent in madrid["agents"]] == [("madrid-1", 1)]
        assert oslo["agents"] == []
        assert "postern_gateway_agents{" in (await client.get("/metrics")).text

        tested = (await client.post("/connections/connections.erp/test")).json()["stages"]
        assert [(stage["name"], stage["passed"]) for stage in tested] == [
            (name, True) for name in ("entry", "gateway", "tunnel", "tls", "reached")
        ]
        [*_, refused] = (await client.post("/connections/connections.stock/test")).json()["stages"]
        assert (refused["name"], refused["passed"]) == ("tunnel", False)
        assert 'address = "stock.madrid.corp:443"' in refused["fix"]

        _, record = await called("elsewhere")
        assert record["state"] == "Failed"
        assert record["error"]["type"] == "ConnectionFault"
        assert "is not allowed by agent madrid-1 of gateway madrid" in record["error"]["message"]
        assert record["calls"][0]["error"] == "ConnectionFault"

        answered = 1
        second = await here.agent(serve=partial(relay, port=system.port), name="madrid-2")
        result, record = await called("order", "DELETE")
        assert result == "200 DELETE", "the method may be repeated, and another agent is there"
        assert record["calls"][0]["agent"] == "madrid-2"
        await eventually(lambda: first.why)
        [madrid, _] = (await client.get("/gateways")).json()["gateways"]
        assert [agent["name"] for agent in madrid["agents"]] == ["madrid-2"]
        await second.socket.close()
        await eventually(lambda: second.why)
        [madrid, _] = (await client.get("/gateways")).json()["gateways"]
        assert (madrid["agents"], madrid["last"] is not None) == ([], True)
