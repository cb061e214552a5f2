"""`/readyz` reports whether the server is ready, and only the names of failed checks."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from httpx2 import ASGITransport
from starlette.requests import Request
from structlog.testing import capture_logs

from postern.api.health import Readiness, folder_readable, journal_works, keys_usable
from postern.assembly import Application, create_app
from postern.errors import problem
from postern.http_client import AsyncClient, http_client
from postern.local_tenant import LocalTenant
from postern.settings import load_settings
from tests.pipeline.pipelines import settings_for
from tests.table import table

pytestmark = pytest.mark.anyio

REQUEST = Request({"type": "http", "method": "GET", "headers": []})


class Switch:
    """A check that works until it is switched off."""

    def __init__(self) -> None:
        self.reason: str | Exception = ""
        self.calls = 0

    async def __call__(self) -> str:
        self.calls += 1
        await asyncio.sleep(0)
        if isinstance(self.reason, Exception):
            raise self.reason
        return self.reason


async def ask(readiness: Readiness) -> tuple[int, dict[str, Any]]:
    answer = await readiness.answer(REQUEST)
    assert answer.headers["cache-control"] == "no-store"
    return answer.status_code, json.loads(bytes(answer.body))


@table("keys", [True, False])
@table("journal", [True, False])
@table("catalog", [True, False])
@table("stopping", [True, False])
async def test_it_is_ready_when_all_works_and_it_is_not_stopping(keys, journal, catalog, stopping):
    works = {"signing_keys": keys, "journal": journal, "catalog": catalog}
    switches = {name: Switch() for name in works}
    for name, working in works.items():
        switches[name].reason = "" if working else "MARKER"
    readiness = Readiness(switches)
    if stopping:
        readiness.stop()
    ready = all(works.values()) and not stopping
    assert await ask(readiness) == (
        200 if ready else 503,
        {
            "status": "ready" if ready else "not-ready",
            "checks": {name: "ok" if working else "failing" for name, working in works.items()},
        },
    )


async def test_why_a_check_fails_goes_to_the_log_once_and_nowhere_else():
    switch = Switch()
    readiness = Readiness({"journal": switch})
    with capture_logs() as logs:
        for reason in ("", "MARKER one", "MARKER two", "", ""):
            switch.reason = reason
            assert "MARKER" not in str(await ask(readiness))
    assert [(line["event"], line["check"], line.get("reason")) for line in logs] == [
        ("check-failing", "journal", "MARKER one"),
        ("check-ok", "journal", None),
    ]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (problem("journal-unavailable", reason="disk full"), "disk full"),
        (problem("journal-unavailable"), "journal-unavailable"),
        (ValueError("MARKER"), "ValueError"),
    ],
)
async def test_a_check_that_raises_fails(error, reason):
    switch = Switch()
    switch.reason = error
    with capture_logs() as logs:
        assert (await ask(Readiness({"journal": switch})))[0] == 503
    assert logs[0]["reason"] == reason


async def test_a_check_that_hangs_fails_and_the_others_answer():
    async def hangs() -> str:
        await asyncio.Event().wait()
        return ""

    status, document = await ask(Readiness({"journal": hangs, "catalog": Switch()}, patience=0.01))
    assert (status, document["checks"]) == (503, {"journal": "failing", "catalog": "ok"})


async def test_however_many_ask_at_a_time_each_check_is_made_once():
    switch = Switch()
    readiness = Readiness({"journal": switch})
    await asyncio.gather(*(ask(readiness) for _ in range(100)))
    assert switch.calls == 1
    await ask(readiness)
    assert switch.calls == 2


async def test_one_who_goes_away_does_not_end_the_check_for_others():
    readiness = Readiness({"journal": Switch()})
    first = asyncio.create_task(ask(readiness))
    second = asyncio.create_task(ask(readiness))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second)[0] == 200


async def test_signing_keys_work_when_tokens_of_every_tenant_can_be_decided_on():
    assert await keys_usable(lambda: True, lambda: {"t": "an old error"})() == ""
    assert await keys_usable(lambda: False, lambda: {"t": "no route"})() == "t: no route"
    assert await keys_usable(lambda: False, dict)() == "no usable signing keys yet"


async def test_the_journal_works_when_it_can_be_read_and_its_last_commit_went_well():
    async def read(query: Any) -> Any:
        return None

    async def broken(query: Any) -> Any:
        raise problem("journal-unavailable")

    assert await journal_works(lambda: True, read)() == ""
    assert await journal_works(lambda: False, read)() == "the last commit failed"
    assert (await ask(Readiness({"journal": journal_works(lambda: True, broken)})))[0] == 503


async def test_the_catalog_works_while_its_folder_can_be_listed(tmp_path: Path):
    folder = tmp_path / "workflows"
    folder.mkdir()
    check = folder_readable(folder)
    assert await check() == ""
    folder.rmdir()
    assert "No such file" in await check()


def client_of(app: Application) -> AsyncClient:
    return http_client(base_url="http://postern.test", transport=ASGITransport(app))


@pytest.mark.process
async def test_the_application_is_ready_when_the_keys_have_come_and_not_while_it_stops(
    local_tenant: LocalTenant, tmp_path: Path
):
    (tmp_path / "x.py").write_text("from postern import workflow\n@workflow\nasync def x(ctx): ...\n", encoding="utf-8")
    app = create_app(settings_for(local_tenant, tmp_path))
    async with client_of(app) as client:
        before = await client.get("/readyz")
        assert (before.status_code, before.json()["checks"]["signing_keys"]) == (503, "failing")
        async with app.router.lifespan_context(app) as state:
            async with asyncio.timeout(10):
                while (await client.get("/readyz")).status_code != 200:
                    await asyncio.sleep(0.01)
            assert (await client.get("/readyz")).json()["status"] == "ready"
            assert state is not None
            state["draining"]()
            stopping = await client.get("/readyz")
            assert (stopping.status_code, stopping.json()["status"]) == (503, "not-ready")
            assert (await client.get("/healthz")).status_code == 200


@pytest.mark.process
async def test_an_application_whose_folder_is_gone_is_not_ready(tmp_path: Path):
    folder = tmp_path / "workflows"
    folder.mkdir()
    app = create_app(
        load_settings(
            {}, folder=tmp_path, defaults={"workflows": str(folder), "database_url": f"sqlite:///{tmp_path}/runs.db"}
        )
    )
    async with app.router.lifespan_context(app), client_of(app) as client:
        assert (await client.get("/readyz")).status_code == 200
        folder.rmdir()
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.json()["checks"]["catalog"]) == (503, "failing")
        assert str(tmp_path) not in answer.text
        folder.mkdir()
        assert (await client.get("/readyz")).status_code == 200
        assert (await client.post("/readyz")).status_code == 405
