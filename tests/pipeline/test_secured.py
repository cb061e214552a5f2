"""A mark that a caller sends to secured workflows in every way is nowhere in the database or the log afterwards."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from httpx2 import ASGITransport
from sqlalchemy import update

from postern.assembly import create_app
from postern.http_client import AsyncClient, http_client
from postern.journal.database.engine import open_engine
from postern.journal.schema import idempotency_keys
from postern.local_tenant import LocalTenant
from postern.runs.idempotency import fingerprint
from tests.logs.in_memory import Log
from tests.pipeline.pipelines import settings_for

pytestmark = [pytest.mark.anyio, pytest.mark.process]

MARK = "4711-sesame"

MODULE = """
from postern import Context, Problem, Reply, Retry, anonymous, workflow

def step():
    raise type(f"Error{MARKS[-1]}", (LookupError,), {})(MARKS[-1])

MARKS = []

async def does(ctx, body, part):
    mark = body["mark"]
    MARKS.append(mark)
    match body["way"]:
        case "problem":
            raise Problem(409, mark, title=mark, code=mark, members={mark: mark}, headers={"X-Note": mark}, reason=mark)
        case "exception":
            raise type(f"Error{mark}", (LookupError,), {})(mark)
        case "step":
            await ctx.step(step, name=f"pay {mark}", retry=Retry(count=0))
        case "call":
            await ctx.call(f"to-{mark}", {"mark": mark})
        case "not JSON":
            return {mark: object()}
    return Reply(201, {mark: mark, "to": part}, {"Location": f"/{mark}", "X-Note": mark})

@workflow(access=anonymous(), secure_inputs=True, secure_outputs=True, path="/{part}")
async def hides(ctx: Context, body: dict, part: str):
    return await does(ctx, body, part)

@workflow(access=anonymous(), secure_inputs=True, secure_outputs=True)
def pays(ctx: Context, body: dict):
    return 1
"""

WAYS = ("returns", "problem", "exception", "step", "call", "not JSON")


class Server:
    """An application with one database file."""

    def __init__(self, client: AsyncClient, local: LocalTenant, database: Path) -> None:
        self.client = client
        self.local = local
        self.database = database

    async def record(self, run_id: str) -> Any:
        headers = {"Authorization": f"Bearer {self.local.token('ada')}"}
        return (await self.client.get(f"/runs/{run_id}", headers=headers)).json()

    def written(self) -> str:
        """All that a backup of the database has."""
        with closing(sqlite3.connect(self.database)) as connection:
            return "\n".join(connection.iterdump())


@pytest.fixture
async def server(tmp_path: Path, local_tenant: LocalTenant) -> AsyncIterator[Server]:
    workflows = tmp_path / "workflows"
    workflows.mkdir()
    (workflows / "w.py").write_text(MODULE, encoding="utf-8")
    database = tmp_path / "journal.db"
    operators = [local_tenant.people["ada"]]
    app = create_app(settings_for(local_tenant, workflows, database_url=f"sqlite:///{database}", operators=operators))
    assert not app.catalog.snapshot.faults
    async with (
        app.router.lifespan_context(app),
        http_client(base_url="http://postern.test", transport=ASGITransport(app)) as client,
    ):
        yield Server(client, local_tenant, database)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.usefixtures("restored_logs")
async def test_a_mark_of_a_secured_run_is_in_no_record_backup_or_log(server: Server, way: str):
    log = Log("json")
    answer = await server.client.post(
        f"/triggers/hides/{MARK}?q={MARK}",
        json={"way": way, "mark": MARK},
        headers={"X-Note": MARK, "Idempotency-Key": f"key-{MARK}", "User-Agent": MARK},
    )
    assert (MARK in answer.text) == (way in ("returns", "problem"))
    record = await server.record(answer.headers["x-run-id"])
    assert (record["inputs_note"], record["headers"]) == ("secured", None)
    assert len(record["steps"]) == (way == "step")
    assert len(record["calls"]) == (way == "call")
    assert (record["error"] is None) == (way == "returns")
    assert MARK not in str(record)
    assert MARK not in server.written()
    assert "hmac-sha256:" in server.written()
    assert MARK not in str(log.lines)


async def test_a_secured_run_says_why_it_cannot_be_resubmitted(server: Server):
    started = await server.client.post("/triggers/hides/1", json={"way": "returns", "mark": "a"})
    headers = {"Authorization": f"Bearer {server.local.token('ada')}"}
    path = f"/runs/{started.headers['x-run-id']}"
    again = await server.client.post(f"{path}/resubmit", headers=headers)
    assert (again.status_code, again.json()["code"]) == (409, "cannot-resubmit")
    assert again.json()["detail"] == "The inputs of the run are not recorded, because its workflow is secured."
    result = await server.client.get(f"{path}/result", headers=headers)
    assert (result.json()["code"], result.json()["detail"]) == (
        "reply-not-kept",
        "The outputs of the run are not recorded, because its workflow is secured.",
    )


async def test_a_key_of_a_secured_run_is_compared_also_with_a_row_of_release_0_1(server: Server):
    sent: dict[str, Any] = {
        "content": b'{"pin":1}',
        "headers": {"Idempotency-Key": "k", "Content-Type": "application/json"},
    }
    first = await server.client.post("/triggers/pays", **sent)
    assert first.json() == 1
    assert (await server.client.post("/triggers/pays", **sent)).json()["code"] == "reply-not-kept"
    engine = open_engine(f"sqlite:///{server.database}", writing=True)
    with engine.begin() as connection:
        plain = fingerprint("POST", "/triggers/pays", b"", "application/json", b'{"pin":1}')
        connection.execute(update(idempotency_keys).values(fingerprint=plain))
    engine.dispose()
    assert (await server.client.post("/triggers/pays", **sent)).json()["code"] == "reply-not-kept"
    other = await server.client.post("/triggers/pays", **sent | {"content": b'{"pin":2}'})
    assert other.json()["code"] == "idempotency-key-reused"
