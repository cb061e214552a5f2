"""Findings in a whole server: what is seen in requests is listed, counted, logged and audited, and starts the alert."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from httpx2 import ASGITransport
from structlog.testing import capture_logs

from postern.assembly import Application, create_app
from postern.http_client import AsyncClient, http_client
from postern.local_tenant import LocalTenant
from postern.security import observed
from postern.security.findings import watch
from tests.pipeline.pipelines import settings_for

pytestmark = [pytest.mark.anyio, pytest.mark.process]

WORKFLOWS = """
from typing import Any
from postern import Context, specific_users, tenant_users, workflow

@workflow(access=tenant_users())
async def hello(ctx: Context) -> str:
    return "hello"

@workflow(access=specific_users("lisa"))
async def notify_security(ctx: Context, finding: dict[str, Any]) -> str:
    if finding["kind"] == "refusals-from-address":
        raise ValueError("cannot be sent")
    return f"{ctx.caller.kind}: {finding['kind']}"
"""


@dataclass
class Server:
    """A server with an alert. `token` is one of Ada's, who is an operator."""

    app: Application
    local: LocalTenant
    client: AsyncClient
    token: str

    async def call(self, token: str = "", address: str = "203.0.113.5") -> int:
        transport = ASGITransport(self.app, client=(address, 50_000))
        async with http_client(base_url="https://postern.test", transport=transport) as client:
            headers = {"Authorization": f"Bearer {token or self.token}"}
            return (await client.post("/triggers/hello", headers=headers)).status_code

    async def get(self, path: str) -> Any:
        headers = {"Authorization": f"Bearer {self.token}"}
        answer = await self.client.get(path, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json() if not path.startswith("/metrics") else answer.text

    async def until(self, path: str, ready: Callable[[Any], bool]) -> Any:
        async with asyncio.timeout(20):
            while not ready(found := await self.get(path)):
                await asyncio.sleep(0.02)
            return found

    async def findings(self, number: int = 1, query: str = "") -> list[dict[str, Any]]:
        document = await self.until(f"/findings{query}", lambda found: len(found["findings"]) >= number)
        return list(document["findings"])


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing waits for what may come later."""
    monkeypatch.setattr(observed, "SECONDS", 0.01)
    monkeypatch.setattr(watch, "LAG", 0.0)
    monkeypatch.setattr(watch, "TICK", 0.01)


@asynccontextmanager
async def serving(local: LocalTenant, folder: Path, **more: Any) -> AsyncIterator[Server]:
    (folder / "workflows.py").write_text(WORKFLOWS, encoding="utf-8")
    settings = settings_for(local, folder, operators=[local.people["ada"]], **more)
    app = create_app(settings)
    gone = more.get("findings") == {"run": "gone"}
    assert [fault.file.name for fault in app.catalog.snapshot.faults] == ["postern.toml"] * gone
    async with (
        app.router.lifespan_context(app),
        http_client(base_url="https://postern.test", transport=ASGITransport(app)) as client,
    ):
        yield Server(app, local, client, local.token("ada"))


async def test_a_token_from_two_networks_starts_the_alert(
    at_once: None, tmp_path: Path, local_tenant: LocalTenant, own_modules: None
):
    with capture_logs() as logs:
        async with serving(local_tenant, tmp_path, findings={"run": "notify-security"}) as server:
            assert await server.call() == await server.call(address="192.0.2.9") == 200
            [finding] = await server.findings()
            [alert] = (
                await server.until(
                    "/runs?workflow=notify-security",
                    lambda found: found["runs"] and found["runs"][0]["state"] == "Succeeded",
                )
            )["runs"]
            run = await server.get(f"/runs/{alert['id']}")
            metrics = await server.get("/metrics")
            [event] = (await server.until("/audit?kind=finding", lambda found: found["events"]))["events"]
            alerted = (await server.findings())[0]
    assert finding["kind"] == "token-from-two-networks"
    assert finding["caller"]["object_id"] == local_tenant.people["ada"]
    assert finding["evidence"]["networks"] == ["203.0.113.0/24", "192.0.2.0/24"]
    assert (alert["caller"]["kind"], alert["caller"]["object_id"]) == ("finding", None)
    assert run["outputs"] == "finding: token-from-two-networks"
    assert run["inputs"] == finding | {"alerted_at": None}
    assert alerted["alerted_at"] is not None
    assert event["fields"]["finding"] == finding["id"]
    assert event["subject"] == local_tenant.people["ada"]
    assert re.search(r'postern_findings_total{kind="token-from-two-networks",process="\w+"} 1', metrics)
    assert re.search(r'postern_alerts_total{process="\w+",result="succeeded"} 1', metrics)
    [line] = [line for line in logs if line["event"] == "finding"]
    assert (line["kind"], line["finding"]) == ("token-from-two-networks", finding["id"])
    assert server.token not in str(logs) + str(run) + str(finding)


async def test_an_operator_lists_and_acknowledges_findings(
    at_once: None, tmp_path: Path, local_tenant: LocalTenant, own_modules: None
):
    async with serving(local_tenant, tmp_path) as server:
        await server.call()
        await server.call(address="192.0.2.9")
        [finding] = await server.findings()
        path = f"/findings/{finding['id']}"
        assert await server.get(path) == finding
        others = {"Authorization": f"Bearer {local_tenant.token('lisa')}"}
        asked = [("GET", "/findings"), ("GET", path), ("POST", f"{path}/acknowledge")]
        assert [(await server.client.request(*each, headers=others)).status_code for each in asked] == [403] * 3
        own = {"Authorization": f"Bearer {server.token}"}
        marked = (await server.client.post(f"{path}/acknowledge", headers=own)).json()
        assert (marked["state"], marked["state_by"]["object_id"]) == ("acknowledged", local_tenant.people["ada"])
        assert (await server.get("/findings?state=new"))["findings"] == []
        one = f"/findings?kind=token-from-two-networks&caller={local_tenant.people['ada']}&limit=1"
        assert [each["id"] for each in (await server.get(one))["findings"]] == [finding["id"]]
        [event] = (await server.until("/audit?kind=finding-acknowledged", lambda found: found["events"]))["events"]
        assert event["fields"]["state"] == "acknowledged"
        for wrong in ("?kind=odd", "?state=old", "?caller=ada", "?since=now", "?other=1"):
            assert (await server.client.get(f"/findings{wrong}", headers=own)).status_code == 400
        unknown = await server.client.get("/findings/x", headers=own)
        assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown-finding")


async def test_a_failed_alert_is_logged_and_counted_and_a_missing_one_said(
    at_once: None, tmp_path: Path, local_tenant: LocalTenant, own_modules: None
):
    with capture_logs() as logs:
        async with serving(local_tenant, tmp_path, findings={"run": "notify-security"}) as server:
            for _ in range(120):
                await server.call("garbage")
            [finding] = await server.findings(query="?kind=refusals-from-address")
            await server.until("/metrics", lambda text: re.search(r'result="failed"} [1-9]', text) is not None)
        assert finding["caller"] is None
        [line] = [line for line in logs if line["event"] == "alert-failed"]
        assert (line["reason"], line["kind"]) == ("Failed", "refusals-from-address")
        logs.clear()
        async with serving(local_tenant, tmp_path, findings={"run": "gone"}) as server:
            await server.call(local_tenant.token("ada"))
    [line] = [line for line in logs if line["event"] == "alert-workflow-missing"]
    assert "no workflow of this name" in line["error"]
