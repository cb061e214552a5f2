"""A run that is under way in this process is known here, before the journal has it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from httpx2 import ASGITransport

from postern.assembly import create_app
from postern.http_client import AsyncClient, http_client
from postern.settings import load_settings
from tests.pipeline.pipelines import defaults_for

pytestmark = [pytest.mark.anyio, pytest.mark.process]

WAITS = """
import asyncio
from postern import Context, anonymous, workflow
from tests.pipeline.test_underway import BEGUN

async def waits(ctx: Context) -> None:
    BEGUN.append(ctx.run_id)
    await asyncio.Event().wait()

recorded = workflow(access=anonymous())(waits)
unrecorded = workflow(access=anonymous(), name="unrecorded", stateless=True)(waits)
"""

BEGUN: list[str] = []


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[AsyncClient]:
    (tmp_path / "long.py").write_text(WAITS, encoding="utf-8")
    app = create_app(load_settings({}, folder=tmp_path, defaults=defaults_for(tmp_path)))
    async with (
        app.router.lifespan_context(app),
        http_client(base_url="http://postern.test", transport=ASGITransport(app)) as client,
    ):
        BEGUN.clear()
        yield client


async def begun(client: AsyncClient, name: str) -> "tuple[asyncio.Task[object], str]":
    task: asyncio.Task[object] = asyncio.create_task(client.post(f"/triggers/{name}"))
    while not BEGUN:
        await asyncio.sleep(0)
    return task, f"/runs/{BEGUN[0]}"


async def test_a_run_is_seen_and_cancelled_from_its_first_moment(client: AsyncClient):
    task, run = await begun(client, "waits")
    record, result, tree = [await client.get(f"{run}{rest}") for rest in ("", "/result", "/tree")]
    assert (record.status_code, record.json()["state"], result.status_code, tree.status_code) == (
        200,
        "Running",
        202,
        200,
    )
    cancelled = await client.post(f"{run}/cancel")
    assert (cancelled.status_code, cancelled.json()["state"]) == (200, "Cancelled")
    await task


async def test_a_run_that_is_never_recorded_stays_unknown(client: AsyncClient):
    task, run = await begun(client, "unrecorded")
    assert (await client.get(run)).status_code == 404
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
