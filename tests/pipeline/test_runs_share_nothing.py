"""Whatever a run does to what it is given, the next caller's run has everything as if it were the first."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from postern import CallError, Context
from postern.http_client import AsyncClient
from postern.local_tenant import LocalTenant
from tests.connections.counterparts import Counterpart, always, listening
from tests.pipeline.with_connections import served
from tests.reachable import VISITS, change, reachable

pytestmark = [pytest.mark.anyio, pytest.mark.process]

MODULE = """
from typing import Any
from pydantic import BaseModel
from postern import Context, Problem, anonymous, tenant_users, workflow
from tests.reachable import VISITS

class Order(BaseModel):
    items: list[dict[str, Any]] = [{"n": 1}]
    notes: dict[str, list[str]] = {"a": ["b"]}

@workflow(access=tenant_users(), methods=["POST"], path="/{number}")
async def visited(ctx: Context, order: Order, number: int) -> Any:
    return await VISITS[-1](ctx, order)

@workflow(access=anonymous())
async def open_visited(ctx: Context, body) -> Any:
    return await VISITS[-1](ctx, body)

@workflow(access=anonymous())
async def answers(ctx: Context) -> Any:
    return {"list": [1, {"a": []}]}

@workflow(access=anonymous())
async def fails(ctx: Context) -> Any:
    raise Problem(409, "no", members={"more": [{"a": 1}]})
"""

MARK = "set-by-another-run"
WAYS = ("none", "basic", "header", "query", "entra", "oauth2")


@pytest.fixture
async def there() -> AsyncIterator[Counterpart]:
    """What connections lead to."""
    async with listening(always(200, b'{"a":[1]}', "Content-Type: application/json", "Set-Cookie: s=1")) as server:
        yield server


@pytest.fixture
async def server(
    tmp_path: Path, local_tenant: LocalTenant, there: Counterpart, own_modules: None, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[AsyncClient]:
    """A client of a Postern with a connection of each kind."""
    (tmp_path / "visited.py").write_text(MODULE, encoding="utf-8")
    own = local_tenant.applications["postern"]
    secret = {"key_vault": own.client_secret_name}
    client = {"client_id": own.client_id, "client_secret": secret, "scopes": ["https://graph.microsoft.com/.default"]}
    auths: dict[str, dict[str, Any]] = {
        "none": {"type": "none"},
        "basic": {"type": "basic", "username": "lisa", "password": secret},
        "header": {"type": "api_key", "header": "X-Api-Key", "key": secret},
        "query": {"type": "api_key", "query": "code", "key": secret},
        "entra": {"type": "entra", **client},
        "oauth2": {
            "type": "oauth2",
            "token_url": f"{local_tenant.authority}/{local_tenant.tenant_id}/oauth2/v2.0/token",
            **client,
        },
    }
    assert set(auths) == set(WAYS)
    connections = {way: {"base_url": f"{there.url}/v1", "auth": auth} for way, auth in auths.items()}
    async with served(tmp_path, local_tenant, connections, monkeypatch) as client_of_server:
        yield client_of_server


async def everything(ctx: Context, body: Any) -> dict[str, Any]:
    """What a run can get: its arguments, and what its context gives it."""
    given: dict[str, Any] = {"ctx": ctx, "body": body, "log": ctx.log, "own log": ctx.log.bind(a=1)}
    for way in WAYS:
        client = given[way] = ctx.connection(way)
        response = given[f"response of {way}"] = await client.get("/x", params={"a": "1"}, headers={"X-Own": "1"})
        given[f"JSON of {way}"] = response.json()
    given["result"] = await ctx.call("answers")
    given["handle"] = await ctx.call("answers", wait=False)
    given["result of the handle"] = await given["handle"].result()
    try:
        await ctx.call("fails")
    except CallError as error:
        given["error"] = error
    given["secret"] = await ctx.secret("postern-client-secret")
    given["step"] = await ctx.step(lambda: ctx.call("answers"))
    return given


def wire(there: Counterpart) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """What arrived since the last time, without what differs in each run."""
    own = ("traceparent", "authorization")
    received = [
        (each.method, each.target, [field for field in each.headers if field[0] not in own]) for each in there.received
    ]
    assert all(each.header("traceparent") for each in there.received)
    there.received.clear()
    return received


@pytest.mark.parametrize(("trigger", "body"), [("visited/7", {}), ("open-visited", {"a": [{"b": 1}]})])
async def test_nothing_that_a_run_can_change_reaches_the_next_run(
    server: AsyncClient, there: Counterpart, local_tenant: LocalTenant, trigger: str, body: Any
):
    changed: dict[int, str] = {}
    kept: list[Any] = []
    found: dict[str, list[str]] = {}

    async def first(ctx: Context, given: Any) -> Any:
        await everything(ctx, given)

    async def vandal(ctx: Context, given: Any) -> Any:
        things = reachable(await everything(ctx, given))
        kept.extend(things)
        for way, thing in things:
            if change(thing, MARK):
                changed[id(thing)] = way

    async def second(ctx: Context, given: Any) -> Any:
        things = reachable(await everything(ctx, given))
        kept.extend(things)
        found["shared"] = [way for way, thing in things if id(thing) in changed]
        found["marked"] = [way for way, thing in things if MARK in _values(thing)]
        found["ways"] = [way for way, _ in things]

    headers = {"Authorization": f"Bearer {local_tenant.token('ada')}"}
    sent = []
    for visit in (first, vandal, second):
        VISITS.append(visit)
        answer = await server.post(f"/triggers/{trigger}", json=body, headers=headers)
        VISITS.pop()
        sent.append(wire(there))
        assert answer.status_code == 200, answer.text
        record = await server.get(f"/runs/{answer.headers['x-run-id']}", headers=headers)
        assert record.json()["workflow"] == trigger.partition("/")[0]
        assert MARK not in record.text
        assert len(record.json()["calls"]) == 4
    assert found["shared"] == []
    assert found["marked"] == []
    assert sent[0] == sent[2]
    assert len(sent[0]) == len(WAYS)
    assert {f"['{way}']" for way in WAYS} <= set(changed.values())  # what a run is given, it may change
    assert len(found["ways"]) > 100


@pytest.mark.parametrize("name", ["run_id", "caller", "workflow", "recorded"])
async def test_a_run_cannot_pass_for_another(server: AsyncClient, name: str):
    """Its steps and calls are noted under its id."""

    async def visit(ctx: Context, _: Any) -> None:
        with pytest.raises(AttributeError):
            setattr(ctx, name, MARK)
        ctx.user = "set by the author"  # type: ignore[attr-defined]  # which is its own

    VISITS.append(visit)
    answer = await server.post("/triggers/open-visited", json={})
    VISITS.pop()
    assert answer.status_code == 200, answer.text


ASSIGNED: dict[str, Any] = {
    "headers": {"X-User": MARK},
    "params": {"user": MARK},
    "auth": ("user", MARK),
    "cookies": {"session": MARK},
    "event_hooks": {"request": [lambda request: asyncio.sleep(0)]},
    "timeout": 0.000001,
    "base_url": "https://elsewhere.example",
    "follow_redirects": True,
    "max_redirects": 0,
}


@pytest.mark.parametrize("name", ASSIGNED)
async def test_what_a_run_assigns_to_its_client_holds_in_that_run_only(
    server: AsyncClient, there: Counterpart, local_tenant: LocalTenant, name: str
):
    seen: list[Any] = []

    async def run(ctx: Context, _: Any) -> None:
        client = ctx.connection("header")
        assert client is ctx.connection("header")
        seen.append(getattr(client, name))
        setattr(client, name, ASSIGNED[name])
        seen.append(getattr(ctx.connection("header"), name))

    async def uses(ctx: Context, _: Any) -> None:
        await ctx.connection("header").get("/x")

    for visit in (uses, run, uses, run):
        VISITS.append(visit)
        answer = await server.post("/triggers/open-visited", json={})
        VISITS.pop()
        assert answer.status_code == 200, answer.text
    before, set_here, after, _ = map(_text, seen)
    assert before == after != set_here
    assert MARK not in json.dumps(wire(there))


def _text(value: Any) -> str:
    return repr(value).partition(" object at ")[0]


def _values(thing: object) -> list[Any]:
    if isinstance(thing, dict):
        return [*thing, *thing.values()]
    own = list(vars(thing).values()) if hasattr(thing, "__dict__") else []
    return own + (list(thing) if isinstance(thing, list | tuple | set) else [])
