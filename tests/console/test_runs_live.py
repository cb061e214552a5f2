"""The pages of runs on a running server: real runs, real sessions, a journal that goes away."""

import asyncio
import re
from collections.abc import AsyncIterator
from html import unescape

import pytest
from httpx2 import ASGITransport
from structlog.testing import capture_logs

from postern.errors import problem
from postern.http_client import http_client
from postern.journal.reading.readers import Readers
from postern.local_tenant import LocalTenant
from tests.console.consoles import Browser, Console, open_console

pytestmark = [pytest.mark.anyio, pytest.mark.process]

FOREIGN = {"sec-fetch-site": "cross-site"}
"""What a browser sends from a page of another site."""

SENT = {"sent": "without a body to edit"}

WORKFLOWS = """
import asyncio

from pydantic import BaseModel

from postern import Context, Retry, tenant_users, workflow


class Booking(BaseModel):
    room: str
    seats: int


def ask_graph(room):
    if room == "7":
        raise TimeoutError("MARK-OF-THE-MESSAGE")


@workflow(access=tenant_users())
async def book(ctx: Context, body: Booking) -> str:
    await ctx.step(ask_graph, body.room, retry=Retry(count=1, interval=0.001, minimum=0.001))
    return f"booked {body.room}"


@workflow(access=tenant_users())
async def wait(ctx: Context) -> None:
    await asyncio.sleep(600)


@workflow(access=tenant_users(guests=False))
async def members(ctx: Context) -> str:
    return "members"


@workflow(access=tenant_users(), secure_inputs=True)
async def hushed(ctx: Context, body: dict) -> str:
    raise ValueError(str(body))
"""


@pytest.fixture(scope="module")
async def console(local_tenant: LocalTenant, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Console]:
    folder = tmp_path_factory.mktemp("runs")
    (folder / "examples.py").write_text(WORKFLOWS, encoding="utf-8")
    async with open_console(local_tenant, folder) as opened:
        yield opened


@pytest.fixture(scope="module")
async def operator(console: Console) -> Browser:
    return await console.signed_in("ada")


@pytest.fixture(scope="module")
async def lisa(console: Console) -> Browser:
    return await console.signed_in("lisa")


async def run_of(console: Console, who: str, name: str, body: object, **headers: str) -> str:
    """Call a trigger, and return the id of the run."""
    token = {"Authorization": f"Bearer {console.local.token(who)}", **headers}
    transport = ASGITransport(console.app, client=("127.0.0.1", 1))
    async with http_client(base_url="http://127.0.0.1:8080", transport=transport) as client:
        answer = await client.post(f"/triggers/{name}", json=body, headers=token)
    return str(answer.headers["x-run-id"])


async def running_one(browser: Browser) -> str:
    """The run of `wait`, as soon as the list has it."""
    async with asyncio.timeout(30):
        while True:
            page = await browser.get("/console/runs?workflow=wait&state=Running")
            if found := re.search(r'href="/console/runs/([0-9a-f-]{36})"', page.text):
                return found[1]


async def test_a_failed_run_is_found_opened_and_resubmitted_with_another_body(console: Console, operator: Browser):
    run_id = await run_of(console, "lisa", "book", {"room": "7", "seats": 2})
    listed = await operator.get("/console/runs?state=Failed&workflow=book")
    assert f'href="/console/runs/{run_id}"' in listed.text
    assert "TimeoutError: MARK-OF-THE-MESSAGE" in listed.text
    page = await operator.get(f"/console/runs/{run_id}")
    assert re.search(r"Failed after [^<]* in step ask_graph", page.text)
    assert "2 attempts" in page.text
    asked = await operator.get(f"/console/runs/{run_id}/resubmit")
    assert "Lisa" in asked.text
    wrong = await operator.post(f"/console/runs/{run_id}/resubmit", data={"body": '{"room": 8}'})
    assert (wrong.status_code, "/seats" in wrong.text) == (409, True)
    with capture_logs() as logs:
        done = await operator.post(f"/console/runs/{run_id}/resubmit", data={"body": '{"room": "8", "seats": 1}'})
    assert done.status_code == 303
    assert [line["run_id"] for line in logs if line["event"] == "run-resubmitted"] == [run_id]
    new = (await operator.get(done.headers["location"])).text
    assert "Succeeded in" in new
    assert "booked 8" in new
    assert f'from <a href="/console/runs/{run_id}">' in new


async def test_a_running_run_is_cancelled(console: Console, operator: Browser):
    done = await run_of(console, "ada", "book", {"room": "9", "seats": 1})
    first = (await operator.get("/console/runs")).text
    poll = unescape(re.findall(r'id="news"[^>]*hx-get="([^"]*)"', first)[0])
    calling = asyncio.ensure_future(run_of(console, "ada", "wait", None))
    running = await running_one(operator)
    assert running != done
    assert "1 newer run" in (await operator.get(poll, **{"hx-request": "true"})).text
    assert "Running for" in (await operator.get(f"/console/runs/{running}")).text
    answer = await operator.post(f"/console/runs/{running}/cancel")
    assert (answer.status_code, answer.headers["location"]) == (303, f"/console/runs/{running}")
    assert await calling == running
    page = (await operator.get(f"/console/runs/{running}", **{"hx-request": "true"})).text
    assert "Cancelled after" in page
    assert 'hx-trigger="every 2s"' not in page
    again = await operator.post(f"/console/runs/{running}/cancel")
    assert (again.status_code, "has ended already" in again.text) == (409, True)


async def test_lisa_gets_404_for_the_run_of_ada_everywhere(console: Console, lisa: Browser):
    run_id = await run_of(console, "ada", "book", {"room": "ada's room", "seats": 2})
    own = await run_of(console, "lisa", "book", {"room": "10", "seats": 2})
    listed = (await lisa.get("/console/runs")).text
    assert own in listed
    assert run_id not in listed
    for path in (f"?caller={console.local.directory.people['ada'].object_id}", "?text=ada%27s", "/new?above=" + own):
        assert run_id not in (await lisa.get(f"/console/runs{path}")).text
    for path in ("", "?after=0", "?bodies=whole", "/cancel", "/resubmit"):
        for headers in ({}, {"hx-request": "true"}):
            seen = await lisa.get(f"/console/runs/{run_id}{path}", **headers)
            assert (seen.status_code, "Ada" in seen.text, "room" in seen.text) == (404, False, False)
    for action in ("cancel", "resubmit"):
        assert (await lisa.post(f"/console/runs/{run_id}/{action}", data={"body": "{}"})).status_code == 404
        foreign = await lisa.post(f"/console/runs/{own}/{action}", FOREIGN, data={"body": ""})
        assert foreign.status_code == 403


async def test_a_resubmit_by_a_person_whom_the_workflow_does_not_admit_is_on_record_with_its_checks(
    console: Console, operator: Browser, lisa: Browser
):
    run_id = await run_of(console, "lisa", "members", None)
    asked = await lisa.get(f"/console/runs/{run_id}/resubmit")
    assert "that you are no guest" in asked.text
    with capture_logs() as logs:
        assert (await lisa.post(f"/console/runs/{run_id}/resubmit", data=SENT)).status_code == 403
    assert [line["reason"] for line in logs if line["event"] == "request-refused"] == ["no-guests"]
    assert (await operator.post(f"/console/runs/{run_id}/resubmit", data=SENT)).status_code == 303


async def test_secured_inputs_are_on_no_page(console: Console, operator: Browser):
    run_id = await run_of(console, "lisa", "hushed", {"name": "MARK-OF-A-SECRET"}, **{"x-header": "MARK-OF-A-HEADER"})
    for path in (f"/{run_id}", f"/{run_id}/resubmit", f"/{run_id}/cancel", "", "?workflow=hushed", "?text=MARK-OF"):
        seen = await operator.get(f"/console/runs{path}")
        assert seen.status_code == 200
        assert not re.search("MARK-OF-A", seen.text)
    refused = await operator.post(f"/console/runs/{run_id}/resubmit", data={"body": '{"name": "x"}'})
    assert (refused.status_code, "its workflow is secured" in refused.text) == (409, True)


async def test_a_journal_that_is_away_is_said_and_the_pages_recover(
    console: Console, operator: Browser, monkeypatch: pytest.MonkeyPatch
):
    run_id = await run_of(console, "ada", "book", {"room": "11", "seats": 1})
    kept = Readers.read

    async def away(self: Readers, query: object, *rest: object) -> object:
        if "sessions" in getattr(getattr(query, "func", None), "__module__", ""):
            return await kept(self, query, *rest)  # type: ignore[arg-type]
        raise TimeoutError

    with monkeypatch.context() as patch:
        patch.setattr(Readers, "read", away)
        for path in ("", f"/{run_id}", f"/{run_id}/cancel", f"/{run_id}/resubmit", f"/new?above={run_id}"):
            seen = await operator.get(f"/console/runs{path}")
            assert seen.status_code == 503, path
            assert problem("journal-unavailable").title in seen.text
    for path in ("", f"/{run_id}"):
        assert (await operator.get(f"/console/runs{path}")).status_code == 200
