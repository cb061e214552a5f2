"""As a newcomer: `postern dev`, then the SDK's client signs in at the local tenant as lisa, lists, calls, and is
rejected at a tool of ada's; and the operator finds both on record."""

import asyncio
import json
import re
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from mcp.client import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from pydantic import AnyUrl

from postern.cli.workspace import STATE_FOLDER
from postern.local_tenant import LocalTenant
from tests.process.commands import command
from tests.process.servers import Server, running, until

REDIRECT = "http://localhost:8765/callback"
AGENT = "coding-agent"
ERAS = ("2026-07-28", "legacy")

WORKFLOWS = '''
from pydantic import BaseModel

from postern import Context, specific_users, tenant_users, workflow


class Booking(BaseModel):
    seats: int
    note: str | None = None


@workflow(access=tenant_users(), tool=True, path="/rooms/{room}")
async def book(ctx: Context, booking: Booking, room: int) -> Booking:
    """Book a room."""
    return booking


@workflow(access=specific_users("lisa"), tool=True, methods=["GET"])
async def whose(ctx: Context) -> dict[str, str]:
    """Say whose agent this is."""
    return {"name": ctx.caller.name}


@workflow(access=specific_users("ada"), tool=True)
async def adas(ctx: Context) -> str:
    """Do what only ada may."""
    return "done"


@workflow(access=tenant_users())
async def unlisted(ctx: Context) -> str:
    """Do what is no tool."""
    return "done"
'''


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`postern dev` with these workflows."""
    folder = tmp_path_factory.mktemp("newcomer")
    (folder / "workflows").mkdir()
    (folder / "workflows" / "flows.py").write_text(WORKFLOWS, "utf-8")
    with running("dev", folder, {"POSTERN_PORT": "0"}) as server:
        server.says("Ctrl-C stops")
        assert f"Tools for agents: {server.address}/mcp" in server.output
        yield server


@pytest.fixture(scope="module")
def tenant(dev: Server) -> LocalTenant:
    return LocalTenant.open(dev.folder / STATE_FOLDER)


class Kept:
    """Where the client keeps its tokens, and the client id that it was given: Entra registers none."""

    def __init__(self, client_id: str) -> None:
        self.client = OAuthClientInformationFull(
            client_id=client_id, redirect_uris=[AnyUrl(REDIRECT)], token_endpoint_auth_method="none"
        )
        self.tokens: OAuthToken | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


class Browser:
    """The person at the pages of the local tenant: chooses themselves, and allows."""

    def __init__(self, person: str) -> None:
        self.person = person
        self.asked: dict[str, list[str]] = {}
        self._code = AuthorizationCodeResult(code="")

    async def open(self, url: str) -> None:
        """Sign in, and go back to the client."""
        self.asked = parse_qs(urlsplit(url).query)
        async with httpx2.AsyncClient(trust_env=False, timeout=20) as client:
            answer = await client.post(url, data={"person": self.person, "consent": "allow"})
        back = parse_qs(urlsplit(answer.headers["location"]).query)
        assert "code" in back, back
        self._code = AuthorizationCodeResult(code=back["code"][0], state=back["state"][0])

    async def code(self) -> AuthorizationCodeResult:
        """What the client got."""
        return self._code


@asynccontextmanager
async def agent(dev: Server, tenant: LocalTenant, browser: Browser, kept: Kept, era: str) -> AsyncIterator[Any]:
    """The SDK's client, which knows the URL, its client id and the authority of the certificate alone."""
    url = f"{dev.address}/mcp"
    about = OAuthClientMetadata(redirect_uris=[AnyUrl(REDIRECT)], client_name=AGENT, token_endpoint_auth_method="none")
    signing_in = OAuthClientProvider(url, about, kept, browser.open, browser.code)
    trusted = ssl.create_default_context(cafile=str(tenant.ca_bundle))
    async with (
        httpx2.AsyncClient(auth=signing_in, verify=trusted, trust_env=False, timeout=30) as http,
        Client(streamable_http_client(url, http_client=http), mode=era) as client,
    ):
        yield client


@pytest.mark.anyio
@pytest.mark.parametrize("era", ERAS)
async def test_an_agent_signs_in_as_lisa_lists_calls_and_is_rejected_at_adas(
    dev: Server, tenant: LocalTenant, era: str
):
    kept, browser = Kept(tenant.applications[AGENT].client_id), Browser("lisa")
    async with agent(dev, tenant, browser, kept, era) as client:
        tools = (await client.list_tools()).tools
        booked = await client.call_tool("book", {"room": 7, "seats": 2})
        whose = await client.call_tool("whose", {})
        refused = await client.call_tool("adas", {})
    assert [each.name for each in tools] == ["book", "whose"]
    assert browser.asked["resource"] == [f"{dev.address}/mcp"]
    assert f"{dev.address}/mcp/.default" in browser.asked["scope"][0].split()
    assert (booked.is_error, booked.structured_content) == (False, {"seats": 2, "note": None})
    assert whose.structured_content["name"] == "Lisa Moreau"
    assert refused.is_error
    assert "unauthenticated" in refused.content[0].text
    run = await asyncio.to_thread(on_record, dev, tenant, booked.meta["postern/run-id"])
    named = run["via_client"] and run["via_client"]["name"]
    assert named == (None if era == "legacy" else "mcp")  # there only `initialize` has the client's name
    assert kept.tokens is not None
    assert kept.tokens.access_token not in dev.output


def on_record(dev: Server, tenant: LocalTenant, run_id: str) -> dict[str, Any]:
    """What ada, who is an operator, finds: the run and the rejection, with the client that was the agent."""
    headers = {"Authorization": f"Bearer {tenant.token('ada')}"}

    def rejected() -> list[Any]:
        found = dev.client.get("/refusals", params={"workflow": "adas"}, headers=headers).json()["refusals"]
        return [each for each in found if each["via"] == "mcp"]

    run = until(lambda: _run(dev, run_id, headers))
    assert (run["workflow"], run["state"], run["via"]) == ("book", "Succeeded", "mcp")
    assert (run["caller"]["name"], run["caller"]["object_id"]) == ("Lisa Moreau", tenant.people["lisa"])
    assert run["caller"]["client_id"] == tenant.applications[AGENT].client_id
    assert until(rejected)[0]["workflow"] == "adas"
    return dict(run)


def _run(dev: Server, run_id: str, headers: dict[str, str]) -> Any:
    answer = dev.client.get(f"/runs/{run_id}", headers=headers)
    return answer.json() if answer.status_code == 200 and answer.json()["state"] != "Running" else None


def said(dev: Server, *arguments: str) -> tuple[int, str]:
    """A command of postern in the folder of the server: its exit code and what it prints."""
    done = command(dev.folder, *arguments)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


def test_the_command_lists_what_each_persons_agent_gets(dev: Server):
    code, shown = said(dev, "mcp", "--as", "lisa")
    rows = [re.split(r" {2,}", line) for line in shown.splitlines()]
    assert code == 0
    assert rows == [
        ["tool", "hints", "arguments", "description"],
        ["book", "destructive", "room, seats, note", "Book a room."],
        ["whose", "read-only", "Say whose agent this is."],
    ]
    code, shown = said(dev, "mcp", "--as", "ada", "--json")
    assert [each["name"] for each in json.loads(shown)["tools"]] == ["adas", "book"]


def test_the_command_checks_each_stage_and_shows_no_token(dev: Server, tmp_path: Path):
    code, shown = said(dev, "mcp", "check")
    lines = [line.split()[:2] for line in shown.splitlines() if not line.startswith(" ")]
    assert lines == [["ok", "challenge"], ["ok", "metadata"], ["ok", "sign-in"], ["ok", "list"]]
    assert (code, "2 tools: adas, book" in shown) == (0, True)
    token = tmp_path / "token"
    token.write_text("not.a.token", "utf-8")
    code, shown = said(dev, "mcp", "check", f"{dev.address}/mcp", "--token-file", str(token))
    assert code == 1
    assert "failed   list" in shown
    assert "not.a.token" not in shown
