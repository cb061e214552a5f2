"""The gateway of `postern dev`."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from postern.cli.local_gateway import APPLICATION, LocalAgent, rows, with_local_agent
from postern.http_client import http_client
from postern.local_tenant import LocalTenant
from postern.settings import load_settings
from tests.connections.counterparts import always, listening
from tests.gateway.installation import eventually, installation

pytestmark = [pytest.mark.anyio, pytest.mark.process]

WORKFLOWS = """
from postern import Context, tenant_users, workflow

@workflow(access=tenant_users())
async def stock(ctx: Context) -> str:
    return (await ctx.connection("stock").get("/items")).text
"""
NONE = {"type": "none"}
LISA = "c33a0e11-b6a6-4ce1-b2e0-e5fbe1e362d2"


def test_the_agent_opens_the_addresses_of_its_entries_only(tmp_path: Path):
    by = {"gateway": "local", "auth": NONE}
    oauth = {"type": "oauth2", "token_url": "https://id.corp/t", "client_id": "c", "client_secret": {"key_vault": "s"}}
    connections = {
        "a": by | {"base_url": "https://erp.corp/api"},
        "b": by | {"base_url": "https://erp.corp/other"},
        "c": by | {"base_url": "http://127.0.0.1:8081", "tls": "gateway"},
        "d": {"base_url": "https://elsewhere.example", "auth": NONE},
        "e": {"base_url": "https://elsewhere.example", "auth": oauth | {"gateway": "local"}},
    }
    gateways = {"local": {"agents": [LISA]}}
    settings = load_settings({}, folder=tmp_path, defaults={"gateways": gateways, "connections": connections})
    found = {(row["address"], row.get("scheme")) for row in rows(settings)}
    assert found == {("erp.corp:443", None), ("127.0.0.1:8081", "http"), ("id.corp:443", None)}


def test_the_gateway_admits_the_agent_of_this_process_and_no_other(local_tenant: LocalTenant, tmp_path: Path):
    settings = load_settings({}, folder=tmp_path, defaults={"gateways": {"local": {"agents": [LISA]}}})
    agents = with_local_agent(settings, local_tenant).gateways["local"].agents
    assert agents == (local_tenant.who(APPLICATION).object_id,)
    without = load_settings({}, folder=tmp_path)
    assert with_local_agent(without, local_tenant) is without


async def test_a_run_reaches_a_system_by_it(local_tenant: LocalTenant, own_modules: None, tmp_path: Path):
    async with listening(always(200, b"seven")) as system:
        entry = {"base_url": system.url, "tls": "gateway", "gateway": "local", "auth": NONE}
        more: dict[str, Any] = {"connections": {"stock": entry}, "further": (("local", APPLICATION),)}
        async with (
            installation(local_tenant, tmp_path, workflows=WORKFLOWS, **more) as here,
            http_client(base_url=f"http://127.0.0.1:{here.port}") as client,
        ):
            agent = LocalAgent(here.settings, local_tenant, f"http://127.0.0.1:{here.port}")
            try:
                await eventually(lambda: any(link.state for link in here.hub.links["local"]))
                token = local_tenant.token("ada")
                response = await client.post("/triggers/stock", headers={"Authorization": f"Bearer {token}"})
                assert response.json() == "seven"
                assert system.targets == ["/items"]
            finally:
                await asyncio.to_thread(agent.stop)
            await eventually(lambda: not here.hub.links["local"])
