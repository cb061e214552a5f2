"""Chains of calls through a real pipeline: the caller of each hop, what is recorded, and where a circle ends."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from postern.access import Caller
from postern.assembly import create_app
from postern.call_chain import MOST_DEPTH, chain_of
from postern.cli.workspace import local_defaults
from postern.connections import places
from postern.connections.places import MOST_OF_ENTRY
from postern.errors import Problem
from postern.http_client import AsyncClient, http_client, pool
from postern.ids import new_id
from postern.local_tenant import LocalTenant
from postern.settings import load_settings
from tests.connections.calling import serving
from tests.garbage import garbage
from tests.table import table

pytestmark = [pytest.mark.anyio, pytest.mark.process]

MODULE = """
import asyncio
from postern import CallError, Context, Problem, Retry, anonymous, specific_users, tenant_users, workflow

TRIED = []

@workflow(access=anonymous())
async def first(ctx: Context, name: str) -> dict:
    return {"first": await ctx.call("second", name)}

@workflow(access=tenant_users())
async def second(ctx: Context, name: str) -> dict:
    return {"second": await ctx.call("third", name, path="/rooms/7"), "by": ctx.caller.kind}

@workflow(access=specific_users("postern"), path="/rooms/{room}", stateless=False)
async def third(ctx: Context, name: str, room: int) -> dict:
    return {"name": name, "room": room, "by": ctx.caller.client_id}

@workflow(access=anonymous())
async def circle(ctx: Context) -> None:
    depth = ctx.request.chain.depth if ctx.request.chain else 0
    try:
        return await ctx.call("circle")
    except CallError as error:
        if error.status == 508:
            return [depth, error.code]
        raise

@workflow(access=anonymous())
async def counts(ctx: Context, body) -> int:
    TRIED.append(body)
    return len(TRIED)

@workflow(access=anonymous())
async def repeats(ctx: Context) -> list:
    tries = []

    async def twice_and_fail() -> list:
        found = [await ctx.call("counts", "a"), await ctx.call("counts", "b")]
        tries.append(found)
        if len(tries) < 3:
            raise TimeoutError
        return tries

    await ctx.call("counts", "before")
    return await ctx.step(twice_and_fail, retry=Retry(3, 0, 0, 0))

@workflow(access=anonymous())
async def fails(ctx: Context) -> None:
    raise Problem(503, "not today")

@workflow(access=anonymous())
async def calls_what_fails(ctx: Context) -> dict:
    try:
        await ctx.step(lambda: ctx.call("fails"))
    except CallError as error:
        return {"status": error.status, "detail": error.problem["detail"], "run_id": error.run_id}

@workflow(access=anonymous())
async def nested(ctx: Context, levels: int) -> int:
    return 1 if levels == 0 else 1 + await ctx.call("nested", levels - 1)

@workflow(access=anonymous())
async def twice(ctx: Context, levels: int) -> int:
    if levels == 0:
        return 1
    return 1 + sum(await asyncio.gather(ctx.call("twice", levels - 1), ctx.call("twice", levels - 1)))

@workflow(access=anonymous(), stateless=True)
async def light(ctx: Context) -> str:
    return "light"

async def half(text: str) -> str:
    return text[: len(text) // 2]

@workflow(access=tenant_users(), durable=True)
async def long(ctx: Context, name: str) -> dict:
    return {"half": await ctx.step(half, name), "by": ctx.caller.client_id}

@workflow(access=anonymous())
async def calls_long(ctx: Context) -> dict:
    return await ctx.call("long", "whole")

@workflow(access=anonymous())
async def calls_later(ctx: Context) -> list:
    handles = [await ctx.call("long", "whole", wait=False), await ctx.call("counts", "c", wait=False)]
    return [[handle.done, await handle.result()] for handle in handles]

@workflow(access=anonymous())
async def calls_light(ctx: Context) -> str:
    return await ctx.call("light")

@workflow(access=anonymous())
async def waits(ctx: Context) -> None:
    await asyncio.sleep(0.3)

@workflow(access=anonymous(), timeout=0.2)
async def gathers(ctx: Context, names: list[str]) -> list:
    return await asyncio.gather(*(ctx.call(name) for name in names))

@workflow(access=anonymous(), timeout=0.2)
async def gathers_steps(ctx: Context, names: list[str]) -> list:
    return await asyncio.gather(*(ctx.step(lambda name=name: ctx.call(name)) for name in names))
"""


@pytest.fixture
async def server(
    tmp_path: Path, local_tenant: LocalTenant, own_modules: None, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[AsyncClient]:
    """A client of a Postern that listens, so that it can call itself."""
    (tmp_path / "chain.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.setenv("AZURE_TENANT_ID", local_tenant.tenant_id)
    monkeypatch.setenv("AZURE_CLIENT_ID", local_tenant.client_id)
    monkeypatch.setenv("AZURE_CLIENT_SECRET", local_tenant.client_secret("postern"))
    applications: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await applications[0](scope, receive, send)

    async with serving(app) as url:
        mine = {"workflows": str(tmp_path), "database_url": f"sqlite:///{tmp_path}/.journal.db", "public_url": url}
        people = {**local_tenant.people, "postern": local_tenant.applications["postern"].object_id}
        applications.append(
            create_app(
                load_settings({}, folder=tmp_path, defaults={**local_defaults(local_tenant), **mine, "people": people})
            )
        )
        assert not applications[0].catalog.snapshot.faults
        async with (
            applications[0].router.lifespan_context(applications[0]),
            http_client(base_url=url) as client,
        ):
            yield client


async def ask(server: AsyncClient, path: str, token: str = "") -> Any:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    answer = await server.get(path, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_chain_goes_through_every_mode_as_posterns_own_application(
    server: AsyncClient, local_tenant: LocalTenant
):
    answer = await server.post("/triggers/first", json="Ada")
    expected = {"first": {"second": {"name": "Ada", "room": 7, "by": local_tenant.client_id}, "by": "application"}}
    assert (answer.status_code, answer.json()) == (200, expected)
    operator, run_id = local_tenant.token("ada"), answer.headers["x-run-id"]
    tree = await ask(server, f"/runs/{run_id}/tree", operator)
    names = []
    node = {"calls": [{"name": "first", "status": 200, "run": tree}]}
    traces, parents = set(), []
    while node["calls"]:
        [call] = node["calls"]
        assert call["status"] == 200
        node = call["run"]
        names.append((call["name"], node["workflow"], node["state"]))
        record = await ask(server, f"/runs/{node['id']}", operator)
        traces.add(record["trace_id"])
        parents.append(record["parent_run_id"])
        assert [made["run_id"] for made in record["calls"]] == [below["run"]["id"] for below in node["calls"]]
    assert names == [(name, name, "Succeeded") for name in ("first", "second", "third")]
    assert parents[:2] == [None, run_id]
    assert len(traces) == 1
    assert "truncated" not in tree


async def test_a_circle_ends_sixteen_calls_deep(server: AsyncClient, local_tenant: LocalTenant):
    answer = await server.post("/triggers/circle")
    assert (answer.status_code, answer.json()) == (200, [MOST_DEPTH, "loop-detected"])
    tree = await ask(server, f"/runs/{answer.headers['x-run-id']}/tree", local_tenant.token("ada"))
    depth = 0
    while tree["calls"] and "run" in tree["calls"][0]:
        tree, depth = tree["calls"][0]["run"], depth + 1
    assert depth == MOST_DEPTH
    async with asyncio.timeout(10):
        while not (found := await ask(server, "/refusals?reason=loop-detected", local_tenant.token("ada")))["refusals"]:
            await asyncio.sleep(0.05)  # refusals are written by and by
    assert [refusal["workflow"] for refusal in found["refusals"]] == ["circle"]


async def test_a_step_that_is_repeated_triggers_each_of_its_calls_once(server: AsyncClient):
    answer = await server.post("/triggers/repeats")
    assert answer.json() == [[2, 3], [2, 3], [2, 3]]
    record = await ask(server, f"/runs/{answer.headers['x-run-id']}")
    assert [call["name"] for call in record["calls"]] == ["counts"] * 7


async def test_a_call_waits_for_a_durable_run_and_a_handle_reads_its_result_later(
    server: AsyncClient, local_tenant: LocalTenant
):
    result = {"half": "wh", "by": local_tenant.client_id}
    waited = await server.post("/triggers/calls-long")
    assert (waited.status_code, waited.json()) == (200, result), waited.text
    later = await server.post("/triggers/calls-later")
    assert (later.status_code, later.json()) == (200, [[False, result], [False, 1]]), later.text
    [first, second] = (await ask(server, f"/runs/{later.headers['x-run-id']}"))["calls"]
    assert (first["name"], first["status"], second["name"]) == ("long", 202, "counts")


async def test_what_a_called_run_came_to_is_reported_once(server: AsyncClient, local_tenant: LocalTenant):
    """Neither the call nor the step around it requests again what has ended."""
    answer = await asyncio.wait_for(server.post("/triggers/calls-what-fails"), 4)
    assert (answer.json()["status"], answer.json()["detail"]) == (503, "not today")
    operator = local_tenant.token("ada")
    record = await ask(server, f"/runs/{answer.headers['x-run-id']}", operator)
    [call] = record["calls"]
    assert (call["name"], call["status"], call["error"]) == ("fails", 503, "CallError")
    assert call["run_id"] == answer.json()["run_id"]
    assert [len(step["attempts"]) for step in record["steps"]] == [1]


async def test_a_stateless_workflow_is_called_without_a_key(server: AsyncClient):
    assert (await server.post("/triggers/calls-light")).json() == "light"


@table(
    ("names", "status"),
    [
        (["light", "light"], 200),
        (["waits", "waits"], 504),
        (["waits", "fails"], 500),
        (["fails", "fails"], 500),
        (["nowhere", "waits"], 500),
    ],
)
@pytest.mark.parametrize("workflow", ["gathers", "gathers-steps"])
async def test_calls_at_the_same_time_leave_no_garbage_however_they_end(
    server: AsyncClient, workflow: str, names: list[str], status: int
):
    """Each of them is a task of its own, which keeps the error that it ended with. What is left of the server of an
    earlier test may be found once, garbage of calls each time."""
    await server.post(f"/triggers/{workflow}", json=names)  # what is made once
    for _ in range(2):
        with garbage() as found:
            answer = await server.post(f"/triggers/{workflow}", json=names)
        assert answer.status_code == status
        ours = {name: count for name, count in found.items() if ".connections." in name or ".authoring." in name}
        if not ours:
            break
    assert not ours


async def test_many_chains_at_a_time_do_not_wait_for_one_another(server: AsyncClient):
    answers = await asyncio.gather(*(server.post("/triggers/first", json=str(number)) for number in range(40)))
    assert [answer.json()["first"]["second"]["name"] for answer in answers] == [str(number) for number in range(40)]


# More calls than there are connections


@asynccontextmanager
async def many_callers(server: AsyncClient) -> AsyncIterator[AsyncClient]:
    """A client with a connection for each request."""
    async with AsyncClient(base_url=server.base_url, transport=pool(None, most=1000, kept=10), timeout=60) as client:
        yield client


@pytest.mark.parametrize(("workflow", "chains", "levels", "runs"), [("twice", 105, 2, 7), ("nested", 110, 6, 7)])
async def test_chains_end_although_their_calls_need_more_connections_than_there_are(
    server: AsyncClient, workflow: str, chains: int, levels: int, runs: int
):
    """More runs than an entry has connections call the same workflow, which calls it again."""
    assert chains > MOST_OF_ENTRY
    async with many_callers(server) as callers:
        answers = await asyncio.gather(*(callers.post(f"/triggers/{workflow}", json=levels) for _ in range(chains)))
    assert {(answer.status_code, answer.text) for answer in answers} == {(200, str(runs))}


async def test_a_run_that_cannot_wait_for_its_calls_gets_503_and_so_does_every_run_above_it(
    server: AsyncClient, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(places, "MOST_OF_ENTRY", 0)
    monkeypatch.setattr(places, "STEP_OF_ENTRY", 1)
    monkeypatch.setattr(places, "MOST_WAITING", 0)
    answer = await server.post("/triggers/nested", json=1)
    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "too-many-calls", "5")
    monkeypatch.setattr(places, "most_of_entry", lambda level: 1 if level == 1 else 0)
    answer = await server.post("/triggers/nested", json=2)
    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "too-many-calls", "5")
    record = await ask(server, f"/runs/{answer.headers['x-run-id']}")
    assert (record["state"], record["error"]["type"]) == ("Failed", "too-many-calls")
    assert [(call["name"], call["status"], call["error"]) for call in record["calls"]] == [("nested", 503, "CallError")]


# What the pipeline reads


DEPTHS: tuple[tuple[list[str], int, str | None], ...] = (
    (["0"], 200, None),
    (["16"], 200, None),
    (["016"], 200, None),
    (["17"], 508, "loop-detected"),
    (["999999999"], 508, "loop-detected"),
    (["9999999999"], 400, "bad-header"),
    ([""], 400, "bad-header"),
    (["-1"], 400, "bad-header"),
    (["1.0"], 400, "bad-header"),
    (["one"], 400, "bad-header"),
    (["1", "1"], 400, "bad-header"),
)


async def test_the_depth_of_a_request_is_a_number_up_to_sixteen(server: AsyncClient):
    found = []
    for fields, _, code in DEPTHS:
        answer = await server.post("/triggers/light", headers=[("Postern-Depth", field) for field in fields])
        found.append((fields, answer.status_code, answer.json()["code"] if code else None))
    assert tuple(found) == DEPTHS


OWN, OTHER = "11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222"
PARENT = new_id()


@table(
    ("caller", "own_client", "parents", "believed"),
    [
        (Caller("application", client_id=OWN), OWN, [PARENT], True),
        (Caller("application", client_id=OTHER), OWN, [PARENT], False),
        (Caller("application", client_id=""), None, [PARENT], False),
        (Caller("user", client_id=OWN), OWN, [PARENT], False),
        (Caller("anonymous"), OWN, [PARENT], True),
        (Caller("anonymous"), OWN, [PARENT, PARENT], False),
        (Caller("anonymous"), OWN, [PARENT.upper()], False),
        (Caller("anonymous"), OWN, ["' OR 1=1 --"], False),
        (Caller("anonymous"), OWN, [], False),
    ],
)
def test_a_parent_is_believed_to_postern_itself_and_to_who_knows_its_id(
    caller: Caller, own_client: str | None, parents: list[str], believed: bool
):
    headers = [(b"postern-depth", b"1"), *[(b"postern-parent-run", parent.encode()) for parent in parents]]
    assert chain_of(headers, caller, own_client) == (1, PARENT if believed else "")


def test_a_depth_is_rejected_without_its_value():
    with pytest.raises(Problem) as caught:
        chain_of([(b"postern-depth", b"Marker")], Caller("anonymous"), None)
    assert "Marker" not in caught.value.reason + caught.value.detail
