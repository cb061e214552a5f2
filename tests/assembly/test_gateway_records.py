"""A whole server records by which gateway and agent its runs called."""

import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme
from httpx2 import ASGITransport

from postern.assembly import create_app
from postern.assembly.outside import Outside
from postern.connections import Connections
from postern.http_client import http_client
from postern.local_tenant import LocalTenant
from tests.connections.counterparts import always, listening
from tests.gateway.contract import AGENT, GATEWAY, HOST, PORT
from tests.gateway.fake_gateway import FakeGateway
from tests.pipeline.pipelines import settings_for

pytestmark = [pytest.mark.anyio, pytest.mark.process]

WORKFLOWS = """
from postern import Context, tenant_users, workflow

async def order(ctx: Context) -> int:
    return (await ctx.connection("erp").post("/orders", json={})).status_code

@workflow(access=tenant_users())
async def orders(ctx: Context) -> list[int]:
    again = [(await ctx.connection("erp").get("/orders")).status_code for _ in range(105)]
    return [await ctx.step(order, ctx), *again[:1]]

@workflow(access=tenant_users())
async def calls(ctx: Context) -> str:
    return await ctx.call("book")

@workflow(access=tenant_users(), stateless=True)
async def light(ctx: Context) -> int:
    return await order(ctx)
"""
TABLES = f"""
[gateways.{GATEWAY}]
agents = ["ada"]
[connections.erp]
base_url = "https://{HOST}/api"
auth = {{ type = "none" }}
gateway = "{GATEWAY}"
ca_bundle = "ca.pem"
[triggers.book]
url = "https://{HOST}/triggers/book"
gateway = "{GATEWAY}"
ca_bundle = "ca.pem"
"""


async def test_requests_and_calls_by_a_gateway_are_on_the_record_of_their_run(
    local_tenant: LocalTenant, own_modules: None, tmp_path: Path
):
    authority = trustme.CA()
    (tmp_path / "ca.pem").write_bytes(authority.cert_pem.bytes())
    (tmp_path / "postern.toml").write_text(TABLES)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(HOST).configure_cert(context)
    (tmp_path / "workflows.py").write_text(WORKFLOWS, encoding="utf-8")
    settings = settings_for(local_tenant, tmp_path, operators=[local_tenant.people["ada"]])
    made: list[Connections] = []

    def connections(*given: Any) -> Connections:
        made.append(Connections(*given))
        return made[-1]

    app = create_app(settings, outside=Outside(connections=connections))
    assert not app.catalog.snapshot.faults
    token = local_tenant.token("ada")
    async with (
        listening(always(200, b'"booked"', "Content-Type: application/json"), context) as system,
        app.router.lifespan_context(app),
        http_client(base_url="https://postern.test", transport=ASGITransport(app)) as client,
    ):
        made[0].open_tunnel = FakeGateway({(HOST, PORT): system.port}).open
        client.headers["Authorization"] = f"Bearer {token}"
        orders = await client.post("/triggers/orders", json={})
        assert (orders.status_code, orders.json()) == (200, [200, 200])
        record = (await client.get(f"/runs/{orders.headers['X-Run-Id']}")).json()
        sent = record["calls"]
        assert len(sent) == 101
        assert {(call["name"], call["status"], call["gateway"], call["agent"]) for call in sent[:100]} == {
            ("connections.erp", 200, GATEWAY, AGENT)
        }
        assert (sent[-1]["requests"], sent[-1]["gateway"]) == (6, GATEWAY)
        tree = (await client.get(f"/runs/{orders.headers['X-Run-Id']}/tree")).json()
        assert tree["calls"] == []

        booked = await client.post("/triggers/calls")
        assert booked.json() == "booked"
        [call] = (await client.get(f"/runs/{booked.headers['X-Run-Id']}")).json()["calls"]
        assert (call["name"], call["status"], call["gateway"], call["agent"]) == ("book", 200, GATEWAY, AGENT)

        assert (await client.post("/triggers/light", json={})).status_code == 200
        page = (await client.get("/runs")).json()
        assert {run["workflow"] for run in page["runs"]} == {"orders", "calls"}
