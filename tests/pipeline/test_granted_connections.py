"""Runs of several people through a whole server, whose connections need a grant: who uses whose, and what callers get
if there is none. Only the store of tokens is replaced."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from postern.connections.grants.reasons import REASONS
from postern.connections.grants.renewing import RefreshCounts
from postern.connections.grants.seal import Seal
from postern.http_client import AsyncClient, Response
from postern.local_tenant import LocalTenant
from tests.connections.counterparts import Received, listening, reply
from tests.connections.grants.granting import MARKER, TICKETS, Held
from tests.pipeline.with_connections import served

pytestmark = [pytest.mark.anyio, pytest.mark.process]

MODULE = """
import asyncio
from postern import ConsentRequired, Context, anonymous, tenant_users, workflow

@workflow(access=tenant_users(), connections=("tickets",))
async def mine(ctx: Context, body):
    first, called = await asyncio.gather(ctx.connection("tickets").get("/x"), ctx.call("pay", {}))
    return {"connection": first.text, "call": called}

@workflow(access=tenant_users())
def mine_in_a_loop(ctx: Context, body):
    async def both():
        return {"connection": (await ctx.connection("tickets").get("/x")).text, "call": await ctx.call("pay", {})}
    return asyncio.run(both())

LEFT = []

@workflow(access=tenant_users())
async def leaves_behind(ctx: Context, body):
    client, returned = ctx.connection("tickets"), asyncio.Event()
    async def later():
        first = (await client.get("/x")).text
        await returned.wait()
        while True:  # the run ends at some moment after it has returned
            try:
                await client.get("/x")
            except Exception as error:
                return first, str(error)
    LEFT.append((asyncio.create_task(later()), returned))
    await asyncio.sleep(0)

@workflow(access=anonymous())
async def what_was_left(ctx: Context, body):
    task, returned = LEFT.pop()
    returned.set()
    return await task

@workflow(access=tenant_users())
async def shared(ctx: Context, body):
    return (await ctx.connection("wiki").get("/x")).text

@workflow(access=anonymous())
async def open_mine(ctx: Context, body):
    return (await ctx.connection("tickets").get("/x")).text

@workflow(access=tenant_users())
async def chained(ctx: Context, body):
    return await ctx.call("mine", body)

@workflow(access=tenant_users())
async def handles(ctx: Context, body):
    try:
        return await ctx.call("pay", {})
    except ConsentRequired as error:
        return [error.reason, error.connect_path]
"""


class Store(Held):
    """In place of the store of grants."""

    counts = RefreshCounts()
    seal: Seal

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def aclose(self) -> None: ...


class Server:
    def __init__(self, client: AsyncClient, local: LocalTenant, held: Store, folder: Path) -> None:
        self.client = client
        self.local = local
        self.held = held
        self.folder = folder

    async def ask(self, method: str, path: str, who: str = "", **more: Any) -> Response:
        roles = ["Postern.Operator"] if who == "operator" else None
        token = self.local.token("gil", roles=roles) if roles else self.local.token(who) if who else ""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return await self.client.request(method, path, headers=headers, **more)

    async def run(self, workflow: str, who: str = "", body: Any = "input") -> Response:
        return await self.ask("POST", f"/triggers/{workflow}", who, json=body)

    def owner(self, who: str) -> str:
        return f"{self.local.tenant_id}/{self.local.directory.people[who].object_id}" if who else ""

    def connect(self, *people: str) -> None:
        self.held.generations = {self.owner(who): 1 for who in people}


async def echo(received: Received, _: Any) -> bytes:
    """The owner of the token that came, without the token."""
    owner = received.header("authorization").removeprefix(f"Bearer {MARKER}|").rpartition("|")[0]
    await asyncio.sleep(0)
    return reply(200, json.dumps(owner).encode(), "Content-Type: application/json")


@pytest.fixture
async def server(
    tmp_path: Path, local_tenant: LocalTenant, own_modules: None, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Server]:
    (tmp_path / "granted.py").write_text(MODULE, encoding="utf-8")
    held = Store()

    def made(*given: Any, **_: Any) -> Store:
        held.seal = given[2]
        return held

    monkeypatch.setattr("postern.connections.grants.server_grants.ServerGrants", made)
    async with listening(echo) as api:
        connections = {
            "tickets": {"base_url": api.url, "auth": TICKETS},
            "wiki": {"base_url": api.url, "auth": {**TICKETS, "per_user": False}},
            "elsewhere": {"base_url": "https://api.example", "auth": TICKETS},
        }
        triggers = {"pay": {"url": f"{api.url}/pay", "auth": TICKETS}}
        async with served(
            tmp_path, local_tenant, connections, monkeypatch, triggers=triggers, grants_key_name="grants-key"
        ) as client:
            yield Server(client, local_tenant, held, tmp_path)


def needs(response: Response) -> tuple[int, str, str | None]:
    document = response.json()
    return response.status_code, document["code"], document.get("connect_url")


@pytest.mark.parametrize("workflow", ["mine", "mine-in-a-loop"])
async def test_callers_at_once_never_get_each_other_s_token(server: Server, workflow: str):
    server.connect("lisa", "ada", "gil")
    people = ["lisa", "ada", "gil"] * 6
    replies = await asyncio.gather(*(server.run(workflow, who) for who in people))
    found = [response.json() for response in replies]
    assert found == [{"connection": json.dumps(server.owner(who)), "call": server.owner(who)} for who in people]


async def test_tokens_are_sealed_for_the_place_of_their_entry(server: Server):
    assert server.held.seal._places is not None
    found = {name: server.held.seal._places(name) for name in ("tickets", "wiki", "triggers.pay", "elsewhere")}
    assert found["tickets"] == found["triggers.pay"]
    assert len(set(found.values())) == 3


async def test_a_task_that_a_run_left_behind_does_not_go_on_as_its_person(server: Server):
    server.connect("lisa")
    assert (await server.run("leaves-behind", "lisa")).status_code == 200
    first, then = (await server.run("what-was-left")).json()
    assert first == json.dumps(server.owner("lisa"))
    assert then == (
        "connections.tickets acts for no person any more: the run has ended. Await each request before the workflow "
        "returns."
    )


async def test_who_has_no_grant_is_told_where_to_connect_it(server: Server):
    server.connect("lisa")
    base = str(server.client.base_url).rstrip("/")
    ada, lisa = await asyncio.gather(server.run("mine", "ada"), server.run("mine", "lisa"))
    assert lisa.status_code == 200
    status, code, url = needs(ada)
    assert (status, code) == (424, "consent-required")
    assert url in (f"{base}/connect/tickets", f"{base}/connect/triggers.pay")
    assert (await server.run("handles", "ada")).json() == ["not-connected", "/connect/triggers.pay"]
    assert needs(await server.run("shared", "lisa")) == (424, "consent-required", None)
    operator = await server.run("shared", "operator")
    assert needs(operator) == (424, "consent-required", f"{base}/connect/wiki")
    server.connect("")
    assert (await server.run("shared", "nightly-report")).json() == '""'


@pytest.mark.parametrize(
    ("workflow", "who", "why"),
    [("mine", "nightly-report", "application"), ("open-mine", "lisa", "anonymous"), ("open-mine", "", "anonymous")],
)
async def test_the_grant_of_lisa_is_there_for_no_application_and_no_anonymous_caller(
    server: Server, workflow: str, who: str, why: str
):
    server.connect("lisa", "")
    response = await server.run(workflow, who)
    assert needs(response) == (424, "consent-required", None)
    assert (REASONS[why].text in response.json()["detail"]) == (why != "anonymous")
    run = (await server.ask("GET", f"/runs/{response.headers['x-run-id']}", "operator")).json()
    assert run["error"]["type"] == "consent-required"
    assert server.held.asked == []


async def test_a_run_that_lisa_s_run_calls_has_none_and_lisa_reads_that(server: Server):
    server.connect("lisa", "")
    response = await server.run("chained", "lisa")
    assert needs(response) == (424, "consent-required", None)
    assert response.json()["detail"].startswith("A workflow that this one called")
    found = (await server.ask("GET", "/runs", "operator")).json()["runs"]
    child = next(run for run in found if run["workflow"] == "mine")
    whole = (await server.ask("GET", f"/runs/{child['id']}", "operator")).json()
    assert (whole["status"], whole["parent_run_id"]) == (424, response.headers["x-run-id"])
    assert REASONS["called-by-run"].text in whole["error"]["message"]
    assert server.held.asked == []


async def test_a_resubmit_has_the_grant_of_who_started_the_first_run_and_of_nobody_else(server: Server):
    server.connect("lisa", "gil")
    first = (await server.run("mine", "lisa")).headers["x-run-id"]
    asked = len(server.held.asked)

    async def again(run_id: str, who: str) -> tuple[str, int]:
        created = (await server.ask("POST", f"/runs/{run_id}/resubmit", who)).json()
        return created["id"], created["status"]

    second, status = await again(first, "lisa")
    assert status == 200
    assert (await again(second, "lisa"))[1] == 200
    assert {of for _, _, of in server.held.asked[asked:]} == {server.owner("lisa")}
    asked = len(server.held.asked)
    by_operator, status = await again(first, "operator")
    assert status == 424
    assert (await again(by_operator, "operator"))[1] == 424
    assert len(server.held.asked) == asked
    found = (await server.ask("GET", f"/runs/{by_operator}", "operator")).json()
    assert REASONS["resubmitted"].text in found["error"]["message"]
    assert "connect_url" not in json.dumps(found)


async def test_no_token_and_no_page_is_where_it_does_not_belong(server: Server, caplog: pytest.LogCaptureFixture):
    server.connect("lisa")
    with capture_logs() as logs:
        runs = [await server.run(name, who) for name in ("mine", "shared", "chained") for who in ("lisa", "ada")]
        records = [
            (await server.ask("GET", f"/runs/{run.headers['x-run-id']}", "operator")).text
            for run in runs
            if "x-run-id" in run.headers
        ]
        metrics = (await server.client.get("/metrics")).text
    assert 'outcome="consent-required"' in metrics
    assert 'outcome="failed"' not in metrics
    texts = [*records, metrics, repr(logs), caplog.text, *(run.text for run in runs)]
    stored = b"".join(path.read_bytes() for path in server.folder.glob(".journal.db*"))
    assert not any(MARKER in text for text in texts)
    assert MARKER.encode() not in stored
