"""Triggers that require an authentication context, in a whole application: rows are tokens, columns are triggers."""

import json
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from httpx2 import ASGITransport
from sqlalchemy import create_engine, select

from postern.assembly import create_app
from postern.http_client import AsyncClient, http_client
from postern.journal.schema import refusals
from postern.local_tenant import LocalTenant
from tests.pipeline.pipelines import settings_for

pytestmark = [pytest.mark.anyio, pytest.mark.process]

MODULE = """
from postern import specific_users, tenant_users, workflow

@workflow(access=tenant_users())
async def plain(ctx): ...

@workflow(access=tenant_users(auth_context="strong"))
async def strong(ctx): ...

@workflow(access=tenant_users(auth_context="strongest"))
async def strongest(ctx): ...

@workflow(access=specific_users("lisa", auth_context="strong"))
async def listed(ctx): ...
"""

NAMES = ("plain", "strong", "strongest", "listed")
CP1, C1 = {"xms_cc": ["cp1"]}, {"acrs": ["c1"]}

MATRIX: list[tuple[str, str, dict[str, Any], str]] = [
    # who, what else the token has           plain strong strongest listed
    ("lisa", "no context", {}, "200 401 401 401"),
    ("lisa", "the context", C1, "200 200 401 200"),
    ("lisa", "the other one", {"acrs": ["c25"]}, "200 401 200 401"),
    ("lisa", "both", {"acrs": ["c1", "c25"]}, "200 200 200 200"),
    ("lisa", "no context, with cp1", CP1, "200 c1 c25 c1"),
    ("lisa", "the context, with cp1", C1 | CP1, "200 200 c25 200"),
    ("lisa", "the name of the context", {"acrs": ["strong"]}, "200 401 401 401"),
    ("lisa", "the context in capitals", {"acrs": ["C1"]}, "200 401 401 401"),
    ("lisa", "a text in place of a list", {"acrs": "c1"}, "401 401 401 401"),
    ("lisa", "a context that is no text", {"acrs": [1]}, "401 401 401 401"),
    ("lisa", "capabilities that are no list", {"xms_cc": "cp1"}, "401 401 401 401"),
    ("ada", "no context, with cp1", CP1, "200 c1 c25 401"),
    ("ada", "the context", C1 | CP1, "200 200 c25 401"),
    ("nightly-report", "an application", CP1, "200 401 401 401"),
    ("nightly-report", "an application with a context", C1 | CP1, "200 200 401 401"),
]


@asynccontextmanager
async def serving(local: LocalTenant, folder: Path) -> AsyncIterator[AsyncClient]:
    """A client of the application with these workflows."""
    (folder / "workflows.py").write_text(MODULE, encoding="utf-8")
    settings = settings_for(local, folder, auth_contexts={"strong": "c1", "strongest": "c25"})
    app = create_app(settings)
    assert not app.catalog.snapshot.faults
    async with (
        app.router.lifespan_context(app),
        http_client(base_url="http://postern.test", transport=ASGITransport(app)) as client,
    ):
        yield client


@pytest.fixture
async def client(local_tenant: LocalTenant, tmp_path: Path) -> AsyncIterator[AsyncClient]:
    async with serving(local_tenant, tmp_path) as client:
        yield client


async def outcome(client: AsyncClient, name: str, token: str, authority: str) -> str:
    """The status, or the context of the challenge."""
    answer = await client.post(f"/triggers/{name}", headers={"Authorization": f"Bearer {token}"})
    challenge = answer.headers.get("www-authenticate", "")
    if "insufficient_claims" not in challenge:
        return str(answer.status_code)
    begin = f'Bearer realm="", authorization_uri="{authority}/common/oauth2/authorize", error="insufficient_claims", '
    assert (answer.status_code, challenge[: len(begin)]) == (401, begin)
    claims = json.loads(b64decode(challenge.removeprefix(begin).removeprefix('claims="').removesuffix('"')))
    assert claims["access_token"]["acrs"]["essential"] is True
    context: str = claims["access_token"]["acrs"]["value"]
    assert context in answer.json()["detail"]
    return context


async def test_the_matrix_of_sign_ins_and_triggers(client: AsyncClient, local_tenant: LocalTenant):
    """A cell is the status, or the context that the challenge asks for. Only callers who may call are challenged."""
    for who, what, claims, expected in MATRIX:
        token = local_tenant.token(who, more=claims)
        for again in ("verified", "remembered"):
            found = [await outcome(client, name, token, local_tenant.authority) for name in NAMES]
            assert " ".join(found) == expected, (who, what, again)


async def test_the_caller_signs_in_again_with_the_claims_of_the_challenge_and_is_admitted(
    client: AsyncClient, local_tenant: LocalTenant
):
    """What MSAL does with `claims_challenge`; the local tenant meets any context."""
    weak = local_tenant.token("lisa", more=CP1)
    context = await outcome(client, "strong", weak, local_tenant.authority)
    strong = local_tenant.token("lisa", more=CP1 | {"acrs": [context]})
    assert await outcome(client, "strong", strong, local_tenant.authority) == "200"


async def test_the_refusal_is_on_record_with_the_context(local_tenant: LocalTenant, tmp_path: Path):
    async with serving(local_tenant, tmp_path) as client:
        token = local_tenant.token("lisa")
        answer = await client.post("/triggers/strong", headers={"Authorization": f"Bearer {token}"})
    assert answer.json()["detail"].startswith(
        "This trigger requires a sign-in that meets the authentication context c1"
    )
    engine = create_engine(f"sqlite:///{tmp_path}/.journal.db")
    with engine.connect() as connection:
        (refusal,) = [dict(row) for row in connection.execute(select(refusals)).mappings()]
    engine.dispose()
    assert (refusal["reason"], refusal["workflow"]) == ("auth-context", "strong")
    check = json.loads(refusal["checks"])[-1]
    assert (check["name"], check["passed"], check["expected"]) == ("auth-context", False, "c1")
