"""A durable run from the outside: its 202, its result, how it is cancelled, resumed and started again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, chdir
from typing import Any, ClassVar

import pytest
from httpx2 import ASGITransport

from postern.assembly import create_app
from postern.http_client import AsyncClient, http_client
from postern.local_tenant import LocalTenant
from tests.databases import put_sqlite
from tests.pipeline.pipelines import settings_for

pytestmark = [pytest.mark.anyio, pytest.mark.process]

MODULE = """
import asyncio
from typing import Annotated
from pydantic import BaseModel
from postern import Context, Form, Problem, Query, Reply, UploadFile, anonymous, tenant_users, workflow
from tests.pipeline.test_durable_runs import Gate

async def first() -> str:
    Gate.done.append("first")
    return "1"

async def second(before: str) -> str:
    Gate.done.append("second")
    if Gate.fails:
        raise ValueError("not yet")
    return before + "2"

async def waits() -> str:
    Gate.begun.set()
    await Gate.open.wait()
    return "gone through"

@workflow(durable=True)
async def steps(ctx: Context, body: dict | None = None):
    return {"steps": await ctx.step(second, await ctx.step(first)), "body": body}

class Sheet(BaseModel):
    title: str
    photo: UploadFile

@workflow(durable=True)
async def handed_in(ctx: Context, sheet: Annotated[Sheet, Form()], page: Annotated[int, Query()] = 1):
    return {"title": sheet.title, "photo": (await sheet.photo.read()).decode(), "page": page}

@workflow
async def uploads(ctx: Context, sheet: Annotated[Sheet, Form()]):
    return sheet.title

@workflow
async def sends(ctx: Context):
    return Reply.stream(iter("a"))

SOURCES = [lambda: Reply.stream(iter("a"))]

@workflow
async def hidden_stream(ctx: Context):
    return SOURCES[0]()

@workflow(durable=True)
async def streamed(ctx: Context):
    return Reply.stream(iter("a"))

@workflow(durable=True, access=anonymous())
async def sleeps(ctx: Context):
    await ctx.sleep("30d")

@workflow(durable=True)
async def gated(ctx: Context):
    return await ctx.step(waits)

@workflow
async def inline(ctx: Context):
    return Reply(201, {"for": ctx.caller.name}, {"X-Kept": "yes"})

@workflow(stateless=True)
async def unrecorded(ctx: Context):
    return "at once"

@workflow
async def replies_202(ctx: Context):
    return Reply(202, "mine")
"""


class Gate:
    """What the workflows do, new in each test's event loop."""

    done: ClassVar[list[str]] = []
    fails = False
    begun: asyncio.Event
    open: asyncio.Event


class Server:
    """A whole application with its callers."""

    def __init__(self, client: AsyncClient, local: LocalTenant) -> None:
        self.client = client
        self.local = local

    async def ask(self, method: str, path: str, who: str = "", prefer: str = "", **more: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.local.token(who)}"} if who else {}
        headers |= {"Prefer": prefer} if prefer else {}
        headers |= more.pop("headers", {})
        return await self.client.request(method, path, headers=headers, **more)

    async def accepted(self, name: str, who: str = "lisa", prefer: str = "", **more: Any) -> str:
        """The path of a run that was accepted."""
        reply = await self.ask("POST", f"/triggers/{name}", who, prefer, **more)
        assert reply.status_code == 202, reply.text
        return f"/runs/{reply.json()['id']}"

    async def events(self, kind: str, run: str) -> list[Any]:
        """The events of the audit log about a run, as soon as there are some: they are written by and by."""
        async with asyncio.timeout(20):
            while True:
                listed = (await self.ask("GET", f"/audit?kind={kind}", "ada")).json()["events"]
                found = [each["fields"] for each in listed]
                if mine := [each for each in found if each["run"] == run.removeprefix("/runs/")]:
                    return mine
                await asyncio.sleep(0.05)

    async def state(self, run: str, state: str, who: str = "ada") -> Any:
        """The record of a run, when it is in this state or phase."""
        async with asyncio.timeout(20):
            while True:
                record = (await self.ask("GET", run, who)).json()
                if state in (record["state"], record["durable"]["phase"]):
                    return record
                await asyncio.sleep(0.02)


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
async def served(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    local_tenant: LocalTenant,
    anyio_backend: str,
) -> AsyncIterator[Server]:
    """One for all tests: a new one takes seconds."""
    folder = tmp_path_factory.mktemp("durable")
    (folder / "w.py").write_text(MODULE, encoding="utf-8")
    operators = [local_tenant.people["ada"]]
    with ExitStack() as stack:
        if request.param == "sqlite":
            url = put_sqlite(folder / "postern.db")
        else:
            url = stack.enter_context(request.getfixturevalue("postgres_databases").one())
        with chdir(folder):
            app = create_app(settings_for(local_tenant, folder, database_url=url, operators=operators))
            assert not app.catalog.snapshot.faults
        async with (
            app.router.lifespan_context(app),
            http_client(base_url="http://postern.test", transport=ASGITransport(app)) as client,
        ):
            yield Server(client, local_tenant)


@pytest.fixture
async def server(served: Server) -> Server:
    Gate.done, Gate.fails, Gate.begun, Gate.open = [], False, asyncio.Event(), asyncio.Event()
    return served


async def test_a_form_with_files_is_read_again_when_its_run_begins_and_its_record_only_counts_them(server: Server):
    parts: dict[str, Any] = {"data": {"title": "Cat"}, "files": {"photo": ("cat.txt", b"miaow")}}
    run = await server.accepted("handed-in?page=2", **parts)
    record = await server.state(run, "Succeeded")
    assert record["outputs"] == {"title": "Cat", "photo": "miaow", "page": 2}
    about = {"filename": "cat.txt", "content_type": "text/plain", "size": 5}
    assert record["inputs"] == {"title": "Cat", "photo": about}
    again = await server.ask("POST", f"{run}/resubmit", "lisa")
    assert (again.status_code, again.json()["code"]) == (409, "cannot-resubmit")
    wrong = await server.ask("POST", "/triggers/handed-in", "lisa", data={"title": "Cat"})
    assert wrong.json()["code"] == "unsupported-media-type"


async def test_a_durable_run_that_returns_a_stream_fails_and_says_what_to_return(server: Server):
    record = await server.state(await server.accepted("streamed"), "Failed")
    assert record["error"]["type"] == "StreamOfDurableRun"
    shown = await server.ask("GET", f"/runs/{record['id']}", "ada")
    assert "Return the content" in shown.json()["error"]["message"]


async def test_uploads_and_streams_are_answered_at_once_whatever_their_callers_prefer(server: Server):
    parts: dict[str, Any] = {"data": {"title": "Cat"}, "files": {"photo": ("cat.txt", b"miaow")}}
    for name, sent, replied in (("uploads", parts, '"Cat"'), ("sends", {}, "a")):
        reply = await server.ask("POST", f"/triggers/{name}", "lisa", "respond-async", **sent)
        assert (reply.status_code, reply.text) == (200, replied)
        assert "preference-applied" not in reply.headers


async def test_a_stream_that_the_code_did_not_show_fails_once_and_is_sent_from_then_on(server: Server):
    run = await server.accepted("hidden-stream", prefer="respond-async")
    record = await server.state(run, "Failed")
    assert record["error"]["type"] == "StreamOfAcceptedRun"
    shown = await server.ask("GET", f"/runs/{record['id']}", "ada")
    assert "send the request again" in shown.json()["error"]["message"]
    reply = await server.ask("POST", "/triggers/hidden-stream", "lisa", "respond-async")
    assert (reply.status_code, reply.text) == (200, "a")


async def test_a_202_leads_to_the_result(server: Server):
    reply = await server.ask("POST", "/triggers/steps", "lisa", json={"n": 1})
    assert (reply.status_code, reply.headers["retry-after"]) == (202, "1")
    assert reply.headers["location"] == f"/runs/{reply.headers['x-run-id']}/result"
    result = await server.ask("GET", reply.headers["location"], "lisa", "wait=20")
    assert (result.status_code, result.json()) == (200, {"steps": "12", "body": {"n": 1}})
    assert (result.headers["preference-applied"], result.headers["x-run-id"]) == ("wait=20", reply.headers["x-run-id"])
    assert (await server.ask("GET", reply.headers["location"], "backup-job")).status_code == 404


async def test_a_caller_that_prefers_not_to_wait_gets_a_202_for_any_recorded_workflow(server: Server):
    reply = await server.ask("POST", "/triggers/inline", "lisa", "respond-async")
    assert (reply.status_code, reply.headers["preference-applied"]) == (202, "respond-async")
    result = await server.ask("GET", reply.headers["location"], "lisa", "wait=20")
    assert (result.status_code, result.headers["x-kept"]) == (201, "yes")
    assert (await server.ask("POST", "/triggers/unrecorded", "lisa", "respond-async")).status_code == 200


async def test_a_trigger_replies_with_the_result_if_it_comes_in_time_and_else_with_202(server: Server):
    in_time = await server.ask("POST", "/triggers/steps", "lisa", "respond-async, wait=20")
    assert (in_time.status_code, in_time.json()["steps"]) == (200, "12")
    assert in_time.headers["preference-applied"] == "respond-async, wait=20"
    key = {"Idempotency-Key": "k1"}
    late = await server.ask("POST", "/triggers/gated", "lisa", "wait=1", headers=key)
    assert (late.status_code, late.headers["preference-applied"]) == (202, "wait=1")
    Gate.open.set()
    again = await server.ask("POST", "/triggers/gated", "lisa", "wait=20", headers=key)
    assert (again.status_code, again.json()) == (200, "gone through"), "the same run"
    assert again.headers["x-run-id"] == late.headers["x-run-id"]
    mine = await server.ask("POST", "/triggers/replies-202", "lisa", "wait=5")
    assert (mine.status_code, mine.json(), mine.headers.get("location")) == (202, "mine", None)


async def test_a_sleeping_run_is_cancelled_at_once(server: Server):
    run = await server.accepted("sleeps")
    record = await server.state(run, "waiting")
    assert (record["state"], record["durable"]["reason"]) == ("Waiting", "sleeping")
    assert record["durable"]["wakes_at"] is not None
    listed = (await server.ask("GET", "/runs?state=Waiting", "ada")).json()["runs"]
    assert [each["id"] for each in listed if each["durable"]["phase"] == "waiting"] == [run.removeprefix("/runs/")]
    waiting = asyncio.create_task(server.ask("GET", f"{run}/result", "", "wait=20"))
    cancelled = await server.ask("POST", f"{run}/cancel")
    assert (cancelled.status_code, cancelled.json()["state"]) == (200, "Cancelled")
    result = await waiting
    assert (result.status_code, result.json()["code"]) == (409, "run-cancelled")
    metrics = (await server.ask("GET", "/metrics")).text
    counted = [line for line in metrics.splitlines() if 'outcome="cancelled"' in line and 'workflow="sleeps"' in line]
    assert [line.rpartition(" ")[2] for line in counted] == ["1.0"]
    assert (await server.ask("POST", f"{run}/cancel")).json()["code"] == "run-ended"


async def test_a_running_run_is_cancelled_by_its_process(server: Server):
    run = await server.accepted("gated")
    await asyncio.wait_for(Gate.begun.wait(), 20)
    cancelled = await server.ask("POST", f"{run}/cancel", "lisa")
    assert (cancelled.status_code, cancelled.json()["state"]) == (200, "Cancelled")
    assert cancelled.json()["cancelled_by"] == cancelled.json()["caller"]


async def test_a_failed_run_is_resumed_from_the_step_that_failed(server: Server):
    Gate.fails = True
    run = await server.accepted("steps", json={"n": 7})
    failed = await server.state(run, "Failed")
    assert (failed["status"], [step["succeeded"] for step in failed["steps"]]) == (500, [True, False])
    assert (await server.ask("POST", f"{run}/resume", "lisa")).json()["code"] == "forbidden"
    Gate.fails = False
    resumed = await server.ask("POST", f"{run}/resume", "ada")
    assert (resumed.status_code, resumed.headers["location"]) == (202, f"{run}/result")
    result = await server.ask("GET", f"{run}/result", "lisa", "wait=20")
    assert (result.status_code, result.json()) == (200, {"steps": "12", "body": {"n": 7}})
    record = (await server.ask("GET", run, "ada")).json()
    assert Gate.done == ["first", "second", "second"], "the first step is not repeated"
    assert (record["durable"]["attempt"], record["durable"]["resumed"], record["error"]) == (2, 1, None)
    assert [step["succeeded"] for step in record["steps"]] == [True, True]
    again = await server.ask("POST", f"{run}/resume", "ada")
    assert (again.status_code, again.json()["code"]) == (409, "cannot-resume")
    [event] = await server.events("run-resumed", run)
    assert (event["object_id"], event["from_start"]) == (server.local.people["ada"], False)


async def test_a_failed_run_is_resumed_from_its_start_if_the_operator_says_so(server: Server):
    Gate.fails = True
    run = await server.accepted("steps")
    await server.state(run, "Failed")
    Gate.fails = False
    assert (await server.ask("POST", f"{run}/resume", "ada", json={"from_start": 1})).status_code == 400
    assert (await server.ask("POST", f"{run}/resume", "ada", json={"from_start": True})).status_code == 202
    await server.state(run, "Succeeded")
    assert Gate.done == ["first", "second", "first", "second"]


async def test_a_cancelled_run_goes_on_where_it_was(server: Server):
    run = await server.accepted("gated")
    await asyncio.wait_for(Gate.begun.wait(), 20)
    await server.ask("POST", f"{run}/cancel", "lisa")
    await server.state(run, "Cancelled")
    Gate.open.set()
    assert (await server.ask("POST", f"{run}/resume", "ada")).status_code == 202
    record = await server.state(run, "Succeeded")
    assert (record["outputs"], record["cancelled_by"]) == ("gone through", None)


async def test_an_inline_run_is_not_resumed(server: Server):
    reply = await server.ask("POST", "/triggers/inline", "lisa")
    refused = await server.ask("POST", f"/runs/{reply.headers['x-run-id']}/resume", "ada")
    assert (refused.status_code, refused.json()["code"]) == (409, "cannot-resume")


async def test_a_list_says_which_runs_can_be_resumed(server: Server):
    run = await server.accepted("inline", prefer="respond-async")
    await server.state(run, "Succeeded")
    inline = (await server.ask("POST", "/triggers/inline", "lisa")).headers["x-run-id"]
    listed = (await server.ask("GET", "/runs?check=resume&limit=200", "ada")).json()["runs"]
    found = {each["id"]: each["cannot_resume"] for each in listed}
    assert found[run.removeprefix("/runs/")] == "The run has succeeded. Resubmit it."
    assert found[inline] == "Only durable runs can be resumed. Resubmit this one."
    own = (await server.ask("GET", "/runs?check=resume", "lisa")).json()["runs"]
    assert {each["cannot_resume"] for each in own} == {"Operator role required."}


async def test_a_durable_run_is_resubmitted_once_for_a_key(server: Server):
    run = await server.accepted("inline", prefer="respond-async")
    await server.state(run, "Succeeded")
    headers = {"Authorization": f"Bearer {server.local.token('lisa')}", "Idempotency-Key": "k"}
    replies = [await server.client.post(f"{run}/resubmit", headers=headers) for _ in range(2)]
    assert [reply.status_code for reply in replies] == [201, 201]
    assert replies[0].json()["id"] == replies[1].json()["id"]
    assert [reply.headers.get("idempotent-replayed") for reply in replies] == [None, "true"]


async def test_a_durable_run_is_resubmitted_as_a_durable_run(server: Server):
    for name, prefer in (("steps", ""), ("inline", "respond-async")):
        run = await server.accepted(name, prefer=prefer)
        await server.state(run, "Succeeded")
        again = await server.ask("POST", f"{run}/resubmit", "lisa")
        assert (again.status_code, again.json()["resubmitted_from"]) == (201, run.removeprefix("/runs/"))
        new = again.headers["location"]
        assert (await server.state(new, "Succeeded"))["durable"]["attempt"] == 1
