"""For whom a token is: the audiences of the settings, and Postern's client id in tokens of version 2.0."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
from httpx2 import ASGITransport
from sqlalchemy import create_engine, select
from structlog.testing import capture_logs

from postern.assembly import create_app
from postern.http_client import AsyncClient, http_client
from postern.journal.schema import refusals
from postern.local_tenant import LocalTenant
from tests.pipeline.pipelines import settings_for
from tests.process.servers import until

pytestmark = [pytest.mark.anyio, pytest.mark.process]

WORKFLOWS = """
from postern import tenant_users, workflow

@workflow(access=tenant_users())
async def usual(ctx):
    return "came in"

@workflow(access=tenant_users(audiences=["api://other"]))
async def own(ctx):
    return "came in"
"""
URI, OTHER = "api://postern", "99999999-9999-9999-9999-999999999999"


@asynccontextmanager
async def serving(local: LocalTenant, folder: Path, **settings: Any) -> AsyncIterator[AsyncClient]:
    (folder / "workflows.py").write_text(WORKFLOWS, encoding="utf-8")
    app = create_app(settings_for(local, folder, **settings))
    assert not app.catalog.snapshot.faults
    async with (
        app.router.lifespan_context(app),
        http_client(base_url="http://postern.test", transport=ASGITransport(app)) as client,
    ):
        yield client


TOKENS: list[tuple[str, Literal[1, 2], str, str]] = [
    # audience, version, the usual workflow, the one with audiences=, with the client id set, the same without
    ("own", 2, "200 401", "401 401"),
    ("own", 1, "401 401", "401 401"),
    (URI, 1, "200 401", "200 401"),
    (URI, 2, "200 401", "200 401"),
    (OTHER, 2, "401 401", "401 401"),
    (OTHER, 1, "401 401", "401 401"),
    ("api://other", 2, "401 200", "401 200"),
    ("api://other", 1, "401 200", "401 200"),
]


@pytest.mark.parametrize("known", [True, False])
async def test_the_client_id_is_an_audience_of_v2_tokens_but_not_where_a_workflow_names_others(
    local_tenant: LocalTenant, tmp_path: Path, own_modules: None, known: bool
):
    """A token whose audience a trigger accepts also reads its caller's runs."""
    own = local_tenant.client_id
    settings = {"client_id": own} if known else {}
    async with serving(local_tenant, tmp_path, audience=[URI], **settings) as client:
        for audience, version, *expected in TOKENS:
            aud = own if audience == "own" else audience
            token = local_tenant.token("ada", audience=aud, version=version)
            headers = {"Authorization": f"Bearer {token}"}
            found = [(await client.post(f"/triggers/{name}", headers=headers)).status_code for name in ("usual", "own")]
            assert " ".join(map(str, found)) == expected[0 if known else 1], (audience, version)
            runs = await client.get("/runs", headers=headers)
            assert runs.status_code == (200 if 200 in found else 401), (audience, version)


async def test_an_operator_by_a_v2_token_is_one(local_tenant: LocalTenant, tmp_path: Path, own_modules: None):
    own, ada = local_tenant.client_id, local_tenant.people["ada"]
    async with serving(local_tenant, tmp_path, audience=[URI], client_id=own, operators=[ada]) as client:
        tokens = {
            local_tenant.token("ada", audience=own): 200,
            local_tenant.token("ada", audience=own, version=1): 401,
            local_tenant.token("ada", audience="api://other"): 403,
        }
        for token, status in tokens.items():
            answer = await client.get("/workflows", headers={"Authorization": f"Bearer {token}"})
            assert answer.status_code == status


@pytest.mark.parametrize(
    ("audience", "configured", "trigger", "setting"),
    [
        ("own", ["api://{own}"], "usual", "POSTERN_AUDIENCE"),
        ("own", [URI], "usual", "POSTERN_AUDIENCE"),
        (URI + "/", [URI], "usual", "POSTERN_AUDIENCE"),
        ("api://Other", [URI], "own", "audiences= of the workflow"),
    ],
)
async def test_an_audience_that_could_be_ours_tells_the_operator_what_to_add_and_the_caller_whom_to_ask(
    local_tenant: LocalTenant, tmp_path: Path, own_modules: None, audience: str, configured: list[str], trigger, setting
):
    """On the record of the refusal and in the log."""
    own = local_tenant.client_id
    aud = own if audience == "own" else audience
    settings = [each.format(own=own) for each in configured]
    with capture_logs() as lines:
        async with serving(local_tenant, tmp_path, audience=settings) as client:
            headers = {"Authorization": f"Bearer {local_tenant.token('ada', audience=aud)}"}
            answer = await client.post(f"/triggers/{trigger}", headers=headers)
        engine = create_engine(f"sqlite:///{tmp_path / '.journal.db'}")
        with engine.connect() as connection:
            checks = json.loads(until(lambda: connection.execute(select(refusals.c.checks)).scalar()))
        engine.dispose()
    hint = f"The audience {aud} could be yours. If it is, add it to {setting}: it is compared exactly"
    assert [check.get("hint") for check in checks if check["name"] == "audience"] == [hint]
    assert [line["hint"] for line in lines if line["event"] == "request-refused"] == [hint]
    assert "give the request_id to the operator" in answer.json()["detail"]
    assert "POSTERN_AUDIENCE" not in answer.text


async def test_a_token_for_graph_is_named_for_the_operator_and_its_caller_hears_the_constant_sentence(
    local_tenant: LocalTenant, tmp_path: Path, own_modules: None
):
    graph = "00000003-0000-0000-c000-000000000000"
    forged = local_tenant.mint(local_tenant.claims("ada", audience=graph), {"nonce": "n"})
    forged = forged[:-8] + ("AAAAAAAA" if not forged.endswith("AAAAAAAA") else "BBBBBBBB")
    with capture_logs() as lines:
        async with serving(local_tenant, tmp_path, audience=[URI]) as client:
            unsigned = await client.post("/triggers/usual", headers={"Authorization": f"Bearer {forged}"})
            good = local_tenant.token("ada", audience=graph)
            signed = await client.post("/triggers/usual", headers={"Authorization": f"Bearer {good}"})
            none = await client.post("/triggers/usual")
    assert unsigned.json()["detail"] == none.json()["detail"]
    assert "Request one with the scope api://postern/.default" in signed.json()["detail"]
    hints = [line.get("hint", "") for line in lines if line["event"] == "request-refused"]
    assert ["Microsoft Graph" in hint for hint in hints] == [True, True, False]
