"""Requests to triggers are recorded, and a record can be read, cancelled and run again."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from httpx2 import ASGITransport

from postern.assembly import create_app
from postern.http_client import AsyncClient, http_client
from postern.local_tenant import LocalTenant
from tests.pipeline.pipelines import settings_for

pytestmark = [pytest.mark.anyio, pytest.mark.process]

MODULE = """
import asyncio
from pydantic import BaseModel
from postern import Context, Problem, Reply, Retry, anonymous, specific_users, tenant_users, workflow

class Order(BaseModel):
    number: int
    password: str = ""

@workflow
async def order(ctx: Context, order: Order):
    return {"number": order.number, "for": ctx.caller.name}

@workflow(path="/{room}", methods=["PUT"])
async def book(ctx: Context, body: dict, room: int):
    return Reply(201, {"room": room, **body, "q": ctx.request.query.get("q")}, {"Location": f"/rooms/{room}"})

@workflow
async def fails(ctx: Context):
    raise ValueError("the text of an error")

@workflow
async def waits(ctx: Context):
    await asyncio.Event().wait()

@workflow(access=anonymous())
async def hello(ctx: Context):
    return "hello"

@workflow(secure_inputs=True, secure_outputs=True)
async def hides(ctx: Context, body):
    return body

@workflow(access=specific_users("lisa"))
async def payroll(ctx: Context):
    return 1

tries = []

async def flaky():
    tries.append(1)
    if len(tries) == 1:
        raise ConnectionError("secret text")
    return len(tries)

@workflow
async def steps(ctx: Context):
    return await ctx.step(flaky, retry=Retry(count=2, interval=0.001, minimum=0.0, maximum=0.001))
"""


class Server:
    """A whole application with its callers."""

    def __init__(self, client: AsyncClient, local: LocalTenant) -> None:
        self.client = client
        self.local = local

    async def ask(self, method: str, path: str, who: str = "", **more: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.local.token(who)}"} if who else {}
        return await self.client.request(method, path, headers=headers, **more)


@pytest.fixture
async def server(tmp_path: Path, local_tenant: LocalTenant, database_url: str) -> AsyncIterator[Server]:
    (tmp_path / "w.py").write_text(MODULE, encoding="utf-8")
    operators = [local_tenant.people["ada"]]
    app = create_app(settings_for(local_tenant, tmp_path, database_url=database_url, operators=operators))
    assert not app.catalog.snapshot.faults
    async with (
        app.router.lifespan_context(app),
        http_client(base_url="http://postern.test", transport=ASGITransport(app)) as client,
    ):
        yield Server(client, local_tenant)


async def test_a_run_is_visible_to_who_started_it_and_to_operators_only(server: Server):
    started = await server.ask("POST", "/triggers/order", "lisa", json={"number": 7})
    path = f"/runs/{started.headers['x-run-id']}"
    mine = await server.ask("GET", path, "lisa")
    assert mine.status_code == 200
    record = mine.json()
    assert (record["workflow"], record["state"], record["status"]) == ("order", "Succeeded", 200)
    assert (record["inputs"], record["outputs"]["number"]) == ({"number": 7}, 7)
    assert record["caller"]["object_id"] == server.local.people["lisa"]
    assert len(record["trace_id"]) == 32
    assert (await server.ask("GET", path, "ada")).json()["id"] == record["id"]
    assert (await server.ask("GET", path, "gil")).status_code == 404
    assert (await server.ask("GET", path)).status_code == 404
    assert [run["id"] for run in (await server.ask("GET", "/runs", "lisa")).json()["runs"]] == [record["id"]]
    assert (await server.ask("GET", "/runs", "gil")).json() == {"runs": [], "next": None}


async def test_an_anonymous_run_is_open_to_who_knows_its_id(server: Server):
    started = await server.ask("POST", "/triggers/hello")
    record = (await server.ask("GET", f"/runs/{started.headers['x-run-id']}")).json()
    assert (record["caller"]["kind"], record["outputs"]) == ("anonymous", "hello")
    result = await server.ask("GET", f"/runs/{record['id']}/result")
    assert (result.status_code, result.content) == (200, started.content)


async def test_an_error_is_shown_to_operators_and_its_kind_to_its_caller(server: Server):
    started = await server.ask("POST", "/triggers/fails", "lisa")
    assert "the text" not in started.text
    path = f"/runs/{started.headers['x-run-id']}"
    assert (await server.ask("GET", path, "lisa")).json()["error"] == {"type": "ValueError", "message": None}
    error = (await server.ask("GET", path, "ada")).json()["error"]
    assert error.pop("traceback").endswith("ValueError: the text of an error")
    assert error == {"type": "ValueError", "message": "the text of an error"}


async def test_secured_bodies_never_come_out(server: Server):
    started = await server.ask("POST", "/triggers/hides", "lisa", json={"salary": 12345})
    assert started.json() == {"salary": 12345}
    path = f"/runs/{started.headers['x-run-id']}"
    record = (await server.ask("GET", path, "ada")).text
    assert "12345" not in record
    assert (await server.ask("GET", f"{path}/result", "lisa")).json()["code"] == "reply-not-kept"
    assert (await server.ask("POST", f"{path}/resubmit", "ada")).json()["code"] == "cannot-resubmit"


async def test_what_looks_like_a_secret_is_not_written_down(server: Server):
    started = await server.ask("POST", "/triggers/order", "lisa", json={"number": 1, "password": "hunter2"})
    record = await server.ask("GET", f"/runs/{started.headers['x-run-id']}", "ada")
    assert record.json()["inputs"] == {"number": 1, "password": "[redacted]"}
    assert record.json()["inputs_note"] == "redacted"


async def test_a_run_that_goes_on_can_be_cancelled_by_who_may_see_it(server: Server):
    waiting = asyncio.create_task(server.ask("POST", "/triggers/waits", "lisa"))
    found: list[Any] = []
    while not found:
        found = (await server.ask("GET", "/runs?state=Running", "lisa")).json()["runs"]
    path = f"/runs/{found[0]['id']}"
    result = await server.ask("GET", f"{path}/result", "lisa")
    assert (result.status_code, result.headers["retry-after"]) == (202, "1")
    assert (await server.ask("POST", f"{path}/cancel", "gil")).status_code == 404
    cancelled = await server.ask("POST", f"{path}/cancel", "lisa")
    assert (cancelled.status_code, cancelled.json()["state"]) == (200, "Cancelled")
    assert cancelled.json()["cancelled_by"] == cancelled.json()["caller"]
    answer = await waiting
    assert (answer.status_code, answer.json()["code"]) == (409, "run-cancelled")
    again = await server.ask("POST", f"{path}/cancel", "lisa")
    assert (again.status_code, again.json()["code"]) == (409, "run-ended")


async def test_a_run_is_run_again_with_its_inputs_on_todays_code(server: Server):
    first = await server.ask("PUT", "/triggers/book/12?q=sea%20view", "lisa", json={"guest": "b"})
    assert (first.status_code, first.json()) == (201, {"room": 12, "guest": "b", "q": "sea view"})
    again = await server.ask("POST", f"/runs/{first.headers['x-run-id']}/resubmit", "ada")
    assert again.status_code == 201
    record = again.json()
    assert again.headers["location"] == f"/runs/{record['id']}"
    assert record["resubmitted_from"] == first.headers["x-run-id"]
    assert (record["outputs"], record["status"]) == (first.json(), 201)
    assert record["caller"]["object_id"] == server.local.people["ada"]
    assert (record["resubmitted_by"], record["cancelled_by"]) == (record["caller"], None)
    result = await server.ask("GET", f"/runs/{record['id']}/result", "ada")
    assert (result.status_code, result.content, result.headers["location"]) == (201, first.content, "/rooms/12")


@pytest.mark.parametrize("prefer", ["respond-async", "wait=5, Respond-Async; x=1"])
async def test_a_resubmitted_run_goes_on_after_the_response_if_its_client_prefers_that(server: Server, prefer: str):
    """So that no client has to wait for a long run to learn its id."""
    first = asyncio.create_task(server.ask("POST", "/triggers/waits", "lisa"))
    found: list[Any] = []
    while not found:
        found = (await server.ask("GET", "/runs?state=Running", "lisa")).json()["runs"]
    await server.ask("POST", f"/runs/{found[0]['id']}/cancel", "lisa")
    await first
    headers = {"Authorization": f"Bearer {server.local.token('ada')}", "Prefer": prefer}
    again = await server.client.post(f"/runs/{found[0]['id']}/resubmit", headers=headers)
    record = again.json()
    assert (again.status_code, record["state"], record["resubmitted_from"]) == (201, "Running", found[0]["id"])
    assert (again.headers["location"], again.headers["preference-applied"]) == (
        f"/runs/{record['id']}",
        "respond-async",
    )
    cancelled = await server.ask("POST", f"/runs/{record['id']}/cancel", "ada")
    assert (cancelled.status_code, cancelled.json()["state"]) == (200, "Cancelled")


async def test_a_preference_changes_no_problem_and_no_short_run(server: Server):
    first = await server.ask("POST", "/triggers/order", "lisa", json={"number": 7})
    headers = {"Authorization": f"Bearer {server.local.token('ada')}", "Prefer": "respond-async"}
    again = await server.client.post(f"/runs/{first.headers['x-run-id']}/resubmit", headers=headers)
    assert (again.status_code, again.json()["state"], again.json()["outputs"]["number"]) == (201, "Succeeded", 7)
    hidden = await server.ask("POST", "/triggers/hides", "lisa", json={})
    refused = await server.client.post(f"/runs/{hidden.headers['x-run-id']}/resubmit", headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (409, "cannot-resubmit")


async def test_a_resubmit_with_a_key_starts_one_run_however_often_it_is_requested(server: Server):
    first = await server.ask("POST", "/triggers/order", "lisa", json={"number": 7})
    path = f"/runs/{first.headers['x-run-id']}"

    async def again(key: str, who: str = "ada", prefer: str = "respond-async") -> Any:
        headers = {"Authorization": f"Bearer {server.local.token(who)}", "Idempotency-Key": key, "Prefer": prefer}
        return await server.client.post(f"{path}/resubmit", headers=headers)

    replies = [await again("one"), await again("one"), await again("one", prefer="wait=1")]
    assert [reply.status_code for reply in replies] == [201] * 3
    assert len({reply.json()["id"] for reply in replies}) == 1
    assert [reply.headers.get("idempotent-replayed") for reply in replies] == [None, "true", "true"]
    others = [await again("another"), await again("one", "lisa")]
    assert len({reply.json()["id"] for reply in (*replies, *others)}) == 3
    new = sorted(reply.json()["id"] for reply in (replies[0], *others))
    listed = (await server.ask("GET", "/runs?check=resubmit&workflow=order", "ada")).json()["runs"]
    assert listed[-1]["resubmitted_as"] == new
    assert {run["cannot_resubmit"] for run in listed} == {None}
    wrong = await again("")
    assert (wrong.status_code, wrong.json()["code"]) == (400, "bad-idempotency-key")


async def test_a_key_of_a_resubmit_whose_run_goes_on_gets_that_run(server: Server):
    first = asyncio.create_task(server.ask("POST", "/triggers/waits", "lisa"))
    found: list[Any] = []
    while not found:
        found = (await server.ask("GET", "/runs?state=Running", "lisa")).json()["runs"]
    await server.ask("POST", f"/runs/{found[0]['id']}/cancel", "lisa")
    await first
    headers = {"Authorization": f"Bearer {server.local.token('ada')}", "Idempotency-Key": "k"}
    path = f"/runs/{found[0]['id']}/resubmit"
    one = await server.client.post(path, headers=headers | {"Prefer": "respond-async"})
    two = await server.client.post(path, headers=headers | {"Prefer": "respond-async"})
    assert (two.status_code, two.json()["id"], two.json()["state"]) == (201, one.json()["id"], "Running")
    waited = await server.client.post(path, headers=headers)
    assert (waited.status_code, waited.json()["code"]) == (409, "run-in-progress")
    await server.ask("POST", f"/runs/{one.json()['id']}/cancel", "ada")


async def test_a_refusal_is_on_record_with_every_check(server: Server):
    refused = await server.ask("POST", "/triggers/payroll", "ada")
    assert refused.status_code == 401
    request_id = refused.json()["request_id"]
    found: list[Any] = []
    while not found or len(found[0]["checks"]) < 10:
        found = (await server.ask("GET", f"/refusals?request_id={request_id}", "ada")).json()["refusals"]
    assert (found[0]["reason"], found[0]["workflow"], found[0]["count"]) == ("listed", "payroll", 1)
    assert found[0]["claimed"]["object_id"] == server.local.people["ada"]
    assert found[0]["claimed"]["verified"] is True
    assert [check["name"] for check in found[0]["checks"] if not check["passed"]] == ["listed"]
    assert (await server.ask("GET", "/refusals", "lisa")).status_code == 403


async def test_steps_are_on_record_with_their_attempts(server: Server):
    started = await server.ask("POST", "/triggers/steps", "lisa")
    assert started.json() == 2
    record = (await server.ask("GET", f"/runs/{started.headers['x-run-id']}", "lisa")).json()
    assert [(step["name"], step["succeeded"]) for step in record["steps"]] == [("flaky", True)]
    assert [attempt["error"] for attempt in record["steps"][0]["attempts"]] == ["ConnectionError", None]
