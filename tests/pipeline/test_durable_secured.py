"""What a secured durable workflow takes and returns is for the run's own caller only, and lies sealed meanwhile."""

from pathlib import Path
from typing import Any

import pytest

from postern.http_client import AsyncClient
from postern.local_tenant import LocalTenant
from tests.pipeline.with_connections import served

pytestmark = [pytest.mark.anyio, pytest.mark.process]

MARKER = "marker-5b1f0c"
MODULE = """
from postern import Context, workflow

async def twice(text: str) -> str:
    return text * 2

@workflow(durable=True, secure_inputs=True, secure_outputs=True)
async def hides(ctx: Context, body: dict) -> dict:
    return {"twice": await ctx.step(twice, body["text"])}

@workflow(durable=True, secure_inputs=True)
async def fails(ctx: Context, body: dict) -> None:
    await ctx.step(twice, body["text"])
    raise ValueError(body["text"])

@workflow(durable=True)
async def large(ctx: Context) -> str:
    return "x" * 100_000
"""


def files_with(marker: str, folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file() and marker.encode() in path.read_bytes()]


async def test_results_of_secured_runs_are_for_their_callers(
    tmp_path: Path, local_tenant: LocalTenant, own_modules: None, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "w.py").write_text(MODULE, encoding="utf-8")
    async with served(tmp_path, local_tenant, {}, monkeypatch) as client:

        async def ask(method: str, path: str, who: str, **more: Any) -> Any:
            headers = {"Authorization": f"Bearer {local_tenant.token(who)}", "Prefer": "wait=20"}
            return await client.request(method, path, headers=headers, **more)

        assert isinstance(client, AsyncClient)
        mine = await ask("POST", "/triggers/hides", "lisa", json={"text": MARKER})
        assert (mine.status_code, mine.json()) == (200, {"twice": MARKER * 2})
        place = f"/runs/{mine.headers['x-run-id']}/result"
        assert (await ask("GET", place, "lisa")).json() == mine.json(), "again"
        operator = await ask("GET", place, "ada")
        assert (operator.status_code, operator.json()["code"]) == (409, "reply-not-kept")
        failed = await ask("POST", "/triggers/fails", "lisa", json={"text": MARKER})
        assert failed.json()["code"] == "workflow-failed"
        assert MARKER not in failed.text
        long = await ask("POST", "/triggers/large", "lisa")
        assert (await ask("GET", f"/runs/{long.headers['x-run-id']}/result", "ada")).content == long.content
        assert len(long.content) > 64 * 1024, "more than a record has"
    assert files_with(MARKER, tmp_path) == []
