"""Runs that a whole server starts itself: by the clock and after failures, inline and durable, and what shows them."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from httpx2 import ASGITransport

from postern.assembly import Application, application, create_app
from postern.assembly.outside import Outside
from postern.assembly.part import Part
from postern.assembly.schedules import schedules_part
from postern.http_client import AsyncClient, http_client
from postern.local_tenant import LocalTenant
from postern.schedules.scheduler import Scheduler
from postern.settings.role import Role
from tests.pipeline.pipelines import settings_for

pytestmark = [pytest.mark.anyio, pytest.mark.process]

WORKFLOWS = """
from typing import Any
from postern import Context, specific_users, tenant_users, workflow

@workflow(schedule="* * * * *", on_failure="notify-me")
async def minutely(ctx: Context) -> str:
    raise ValueError(f"no such table, {ctx.caller.kind}")

@workflow(schedule="* * * * *", timezone="Europe/Madrid", durable=True, access=specific_users("lisa"))
async def lasting(ctx: Context, given: str = "by the clock") -> str:
    return f"{ctx.caller.kind} {given} {ctx.request.headers['Postern-Scheduled-Time']}"

@workflow(access=specific_users("lisa"), on_failure="minutely-too")
async def notify_me(ctx: Context, failure: dict[str, Any]) -> str:
    raise RuntimeError(failure["error"]["message"])

@workflow
async def minutely_too(ctx: Context, failure: dict[str, Any]) -> str:
    return "never"

@workflow(access=tenant_users(), stateless=True)
async def pretend(ctx: Context) -> str:
    return f"{ctx.caller.kind} {ctx.request.headers['Postern-Scheduled-Time']}"
"""


MINUTE = 60.0
BEGINNING = 1_900_000_020.0  # a whole minute, and 20 s


@dataclass
class Server:
    """A server whose clock goes on by hand. `token` is one of Ada's, who is an operator."""

    app: Application
    client: AsyncClient
    token: str
    clock: "Clock"

    async def get(self, path: str) -> Any:
        answer = await self.client.get(path, headers={"Authorization": f"Bearer {self.token}"})
        assert answer.status_code == 200, answer.text
        return answer.text if path.startswith("/metrics") else answer.json()

    async def until(self, path: str, ready: Callable[[Any], bool]) -> Any:
        async with asyncio.timeout(20):
            while not ready(found := await self.get(path)):
                await asyncio.sleep(0.02)
            return found

    async def ended(self, kind: str, number: int = 1) -> list[dict[str, Any]]:
        """The runs of this kind, when so many have ended."""
        ready = {"Succeeded", "Failed"}
        found = await self.until(
            f"/runs?kind={kind}", lambda found: len([run for run in found["runs"] if run["state"] in ready]) >= number
        )
        return [await self.get(f"/runs/{run['id']}") for run in found["runs"]]


@dataclass
class Clock:
    """What the server takes for the time, and what it does then."""

    at: float = BEGINNING
    scheduler: Scheduler | None = None

    def started(self, part: object) -> None:
        if isinstance(part, Scheduler):
            self.scheduler = part

    async def advance(self, seconds: float) -> None:
        assert self.scheduler is not None
        self.at += seconds
        await self.scheduler.step()


@asynccontextmanager
async def serving(local: LocalTenant, folder: Path, role: Role = Role.ALL) -> AsyncIterator[Server]:
    (folder / "workflows.py").write_text(WORKFLOWS, encoding="utf-8")
    settings, clock = settings_for(local, folder, operators=[local.people["ada"]]), Clock()
    app = create_app(settings, role=role, outside=Outside(now=lambda: clock.at, started=clock.started))
    assert not app.catalog.snapshot.faults
    async with (
        app.router.lifespan_context(app),
        http_client(base_url="https://postern.test", transport=ASGITransport(app)) as client,
    ):
        yield Server(app, client, local.token("ada"), clock)


async def test_runs_start_by_the_clock_and_after_failures(tmp_path: Path, local_tenant: LocalTenant, own_modules: None):
    async with serving(local_tenant, tmp_path) as server:
        await server.clock.advance(0)
        assert (await server.get("/runs"))["runs"] == []
        await server.clock.advance(MINUTE)
        by_workflow = {run["workflow"]: run for run in await server.ended("schedule", 2)}
        [told] = await server.ended("failure")
        await server.clock.advance(1)
        workflows = {each["name"]: each for each in (await server.get("/workflows"))["workflows"]}
        metrics = await server.get("/metrics")
        pretended = await server.client.post(
            "/triggers/pretend",
            headers={"Authorization": f"Bearer {server.token}", "Postern-Scheduled-Time": "2030-03-17T17:48:00Z"},
        )
        assert pretended.json() == "user 2030-03-17T17:48:00Z"
        assert len((await server.get("/runs"))["runs"]) == 3  # the failure of notify-me starts nothing
    inline, lasting = by_workflow["minutely"], by_workflow["lasting"]
    assert inline["caller"] == {
        "kind": "schedule",
        "object_id": None,
        "client_id": None,
        "name": "schedule * * * * * UTC",
    }
    assert (inline["state"], inline["error"]["message"]) == ("Failed", "no such table, schedule")
    assert (lasting["state"], lasting["error"]) == ("Succeeded", None)
    assert (lasting["state"], lasting["outputs"]) == ("Succeeded", "schedule by the clock 2030-03-17T17:48:00Z")
    assert lasting["durable"] is not None
    assert (told["workflow"], told["caller"]["name"]) == ("notify-me", "failure of minutely")
    assert (told["inputs"]["run_id"], told["inputs"]["state"]) == (inline["id"], "Failed")
    assert told["state"] == "Failed"
    assert workflows["notify-me"]["schedule"] is None
    assert workflows["minutely"]["on_failure"] == "notify-me"
    assert workflows["lasting"]["schedule"] == {
        "expression": "* * * * *",
        "timezone": "Europe/Madrid",
        "missed": "skip",
        "next": ["2030-03-17T18:49:00+01:00", "2030-03-17T18:50:00+01:00", "2030-03-17T18:51:00+01:00"],
    }
    assert re.search(r'postern_schedules_total{outcome="started",process="\w+"} 2', metrics)
    assert re.search(r'postern_failure_notices_total{outcome="started",process="\w+"} 1', metrics)


@pytest.mark.parametrize(("role", "starts"), [(Role.HTTP, False), (Role.WORKER, True)])
async def test_of_the_roles_a_worker_looks_at_the_clock(
    tmp_path: Path,
    local_tenant: LocalTenant,
    own_modules: None,
    monkeypatch: pytest.MonkeyPatch,
    role: Role,
    starts: bool,
):
    made: list[Part] = []

    def spied(*arguments: Any, **options: Any) -> Part:
        made.append(schedules_part(*arguments, **options))
        return made[-1]

    monkeypatch.setattr(application, "schedules_part", spied)
    (tmp_path / "workflows.py").write_text(WORKFLOWS, encoding="utf-8")
    create_app(settings_for(local_tenant, tmp_path), role=role)
    [part] = made
    assert bool(part.tasks) is starts
