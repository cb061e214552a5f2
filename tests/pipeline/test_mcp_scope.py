"""A whole server whose requests come by `/mcp` and by triggers: what a token with the scope of POSTERN_MCP_SCOPE is
good for, and what records say of the way and the agent."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from httpx2 import ASGITransport

from postern.access import MCP_ONLY
from postern.assembly import create_app
from postern.http_client import AsyncClient, Response, http_client
from postern.local_tenant import LocalTenant
from postern.triggers.via import VIA, Via
from tests.pipeline.pipelines import settings_for

pytestmark = [pytest.mark.anyio, pytest.mark.process]

WORKFLOWS = """
from postern import anonymous, tenant_users, workflow

@workflow(access=anonymous())
async def hello(ctx):
    return "hello"

@workflow(access=tenant_users(agents=False))
async def no_agents(ctx):
    return "hello"

@workflow(access=tenant_users())
async def guarded(ctx, body=None):
    return ctx.caller.name
"""
SCOPE = "Tools.Call"


class Marking:
    """The application, which gets each request as if it had come by `/mcp` while `via` is set."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.via: Via | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app({**scope, VIA: self.via} if self.via else scope, receive, send)


class Server:
    def __init__(self, client: AsyncClient, marking: Marking, local: LocalTenant) -> None:
        self.client = client
        self.marking = marking
        self.local = local

    async def ask(
        self, method: str, path: str, scopes: list[str] | None = None, who: str = "lisa", **claims: Any
    ) -> Response:
        token = self.local.token(who, scopes=scopes, more=claims)
        return await self.client.request(method, path, headers={"Authorization": f"Bearer {token}"})

    async def refusal(self, reason: str, more: str = "") -> dict[str, Any]:
        """The record of the rejected requests with this reason, once it is written."""
        async with asyncio.timeout(20):
            while True:
                found = (await self.ask("GET", f"/refusals?reason={reason}{more}", who="ada")).json()["refusals"]
                if found and (found[0]["claimed"] or not found[0]["workflow"]):  # a token is examined later
                    record: dict[str, Any] = found[0]
                    return record
                await asyncio.sleep(0.05)


@pytest.fixture
async def server(tmp_path: Path, local_tenant: LocalTenant, own_modules: None) -> AsyncIterator[Server]:
    (tmp_path / "workflows.py").write_text(WORKFLOWS, encoding="utf-8")
    operators = [local_tenant.people["ada"]]
    app = create_app(settings_for(local_tenant, tmp_path, mcp_scope=SCOPE, operators=operators))
    marking = Marking(app)
    async with (
        app.router.lifespan_context(app),
        http_client(base_url="http://postern.test", transport=ASGITransport(marking)) as client,
    ):
        yield Server(client, marking, local_tenant)


async def test_a_token_with_that_scope_only_is_refused_everywhere_but_at_mcp(server: Server):
    paths = [("POST", "/triggers/guarded"), ("GET", "/runs"), ("GET", "/workflows"), ("GET", "/openapi.json")]
    for method, path in paths:
        for scopes, admitted in (([SCOPE], False), ([SCOPE, "Run"], True), (["Run"], True)):
            for attempt in ("verified", "recalled"):
                answer = await server.ask(method, path, scopes)
                assert (answer.status_code != 401) is admitted, (path, scopes, attempt)
                if not admitted:
                    assert "Request a token with another scope" in answer.headers["WWW-Authenticate"], path
    found = await server.refusal(MCP_ONLY, "&workflow=guarded")
    assert [check["name"] for check in found["checks"] if not check["passed"]] == [MCP_ONLY]
    assert found["claimed"]["verified"] is True


async def test_at_mcp_it_is_accepted_and_an_anonymous_trigger_does_not_look_at_it(server: Server):
    assert (await server.ask("POST", "/triggers/hello", [SCOPE])).status_code == 200
    server.marking.via = Via("mcp", "a client", "1.0")
    assert (await server.ask("POST", "/triggers/guarded", [SCOPE])).status_code == 200


async def test_the_operator_finds_calls_and_rejections_by_mcp_with_client_and_agent(server: Server):
    ada: dict[str, Any] = {"who": "ada"}
    blueprint = "22222222-bbbb-4222-8222-222222222222"
    claims: dict[str, Any] = {"xms_act_fct": "3 11", "xms_par_app_azp": blueprint}
    assert (await server.ask("POST", "/triggers/guarded")).status_code == 200
    server.marking.via = Via("mcp", "Copilot", "1.2")
    assert (await server.ask("POST", "/triggers/guarded", **claims)).status_code == 200
    assert (await server.ask("POST", "/triggers/no-agents", **claims)).status_code == 401
    server.marking.via = None
    assert (await server.ask("POST", "/triggers/no-agents", **claims)).status_code == 401
    assert (await server.ask("POST", "/triggers/no-agents")).status_code == 200

    [run] = (await server.ask("GET", "/runs?via=mcp", **ada)).json()["runs"]
    client = {"name": "Copilot", "version": "1.2"}
    agent = {"client_id": run["caller"]["client_id"], "blueprint": blueprint, "kind": "on-behalf-of-user"}
    assert (run["via"], run["via_client"], run["agent"]) == ("mcp", client, agent)
    assert run["caller"]["object_id"] == server.local.people["lisa"]
    refused = await server.refusal("no-agents", "&via=mcp")
    assert (refused["via"], refused["via_client"], refused["claimed"]["agent"]) == ("mcp", client, agent)
    assert len((await server.ask("GET", "/refusals?reason=no-agents", **ada)).json()["refusals"]) == 2


async def test_a_request_to_another_url_that_came_by_mcp_is_recorded_as_that(server: Server):
    """As the one to `/mcp` itself without a valid token."""
    server.marking.via = Via("mcp", "Copilot")
    assert (await server.ask("GET", "/runs", exp=1)).status_code == 401
    server.marking.via = None
    refused = await server.refusal("expiry", "&via=mcp")
    assert (refused["via"], refused["workflow"]) == ("mcp", None)
