"""A whole server whose operator ends access: at triggers, at the run API, with a slow body, and in an outage."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from httpx2 import ASGITransport

from postern.assembly import create_app
from postern.http_client import AsyncClient, Response, http_client
from postern.local_tenant import LocalTenant
from postern.security.revocation import revocations as module
from postern.triggers.large_bodies import LARGE, LargeBodies
from tests.pipeline.pipelines import settings_for

pytestmark = [pytest.mark.anyio, pytest.mark.process]

WORKFLOWS = """
from postern import anonymous, tenant_users, workflow

@workflow(access=anonymous())
async def hello(ctx):
    return "hello"

@workflow(access=tenant_users())
async def guarded(ctx, body=None):
    return ctx.caller.name
"""


class Server:
    def __init__(self, client: AsyncClient, local: LocalTenant) -> None:
        self.client = client
        self.local = local
        self.lisas = local.token("lisa")

    async def ask(self, method: str, path: str, token: str = "", **more: object) -> Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return await self.client.request(method, path, headers=headers, **more)  # type: ignore[arg-type]

    async def revoke(self, **body: object) -> Response:
        token = self.local.token("nightly-report", roles=["Postern.Operator"])
        lisa = {"kind": "caller", "subject": self.local.people["lisa"]}
        return await self.ask("POST", "/revocations", token, json=lisa | body)

    async def lisa(self) -> int:
        return (await self.ask("POST", "/triggers/guarded", self.lisas)).status_code


@pytest.fixture
async def server(tmp_path: Path, local_tenant: LocalTenant, own_modules: None) -> AsyncIterator[Server]:
    (tmp_path / "workflows.py").write_text(WORKFLOWS, encoding="utf-8")
    app = create_app(settings_for(local_tenant, tmp_path))
    async with (
        app.router.lifespan_context(app),
        http_client(base_url="http://postern.test", transport=ASGITransport(app)) as client,
    ):
        yield Server(client, local_tenant)


async def test_the_next_request_after_the_revocation_is_refused_and_the_others_are_not(server: Server):
    ada = server.local.token("ada")
    assert await server.lisa() == 200
    assert (await server.revoke()).status_code == 201
    answer = await server.ask("POST", "/triggers/guarded", server.lisas)
    assert answer.status_code == 401
    assert answer.json()["code"] == "unauthenticated"
    assert "An operator ended the access of this person" in answer.headers["WWW-Authenticate"]
    assert 290 < int(answer.headers["Retry-After"]) <= 300
    assert (await server.ask("GET", "/runs", server.lisas)).status_code == 401
    assert (await server.ask("POST", "/triggers/guarded", ada)).status_code == 200


async def test_a_token_that_is_requested_at_once_is_refused_too_because_it_is_dated_back(server: Server):
    await server.revoke()
    answer = await server.ask("POST", "/triggers/guarded", server.local.token("lisa"))
    assert (answer.status_code, "Retry-After" in answer.headers) == (401, True)


async def test_a_client_that_handles_challenges_is_told_which_token_to_request(server: Server):
    await server.revoke()
    token = server.local.mint(server.local.claims("lisa") | {"xms_cc": ["cp1"]})
    answer = await server.ask("POST", "/triggers/guarded", token)
    challenge = answer.headers["WWW-Authenticate"]
    assert answer.headers.get_list("WWW-Authenticate") == [challenge]
    assert 'error="insufficient_claims"' in challenge
    assert f'authorization_uri="{server.local.authority}/' in challenge
    assert "Retry-After" in answer.headers


async def test_a_body_that_is_still_arriving_when_access_ends_starts_no_run(server: Server):
    began, goes_on = asyncio.Event(), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield b'{"a":'
        began.set()
        await goes_on.wait()
        yield b"1}"

    assert await server.lisa() == 200
    headers = {"Authorization": f"Bearer {server.lisas}", "Content-Type": "application/json"}
    sending = asyncio.create_task(server.client.post("/triggers/guarded", content=slowly(), headers=headers))
    await began.wait()
    await asyncio.sleep(0)
    await server.revoke()
    goes_on.set()
    assert (await sending).status_code == 401


async def test_a_large_body_that_waits_for_its_turn_when_access_ends_starts_no_run(
    server: Server, monkeypatch: pytest.MonkeyPatch
):
    waits, goes_on = asyncio.Event(), asyncio.Event()

    async def in_turn(_: LargeBodies, read: Callable[[], object], *__: object) -> object:
        waits.set()
        await goes_on.wait()
        return read()

    monkeypatch.setattr(LargeBodies, "read", in_turn)
    sending = asyncio.create_task(server.ask("POST", "/triggers/guarded", server.lisas, json="x" * (LARGE + 1)))
    await waits.wait()
    await server.revoke()
    goes_on.set()
    assert (await sending).status_code == 401


@pytest.mark.parametrize("path", ["/revocations", "/workflows/guarded/signed-urls"])
async def test_an_operator_whose_access_ends_while_a_body_arrives_does_nothing_with_it(server: Server, path: str):
    began, goes_on = asyncio.Event(), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        began.set()
        await goes_on.wait()
        yield b'{"kind":"token","subject":"a-token-id"}' if path == "/revocations" else b"{}"

    token = server.local.token("lisa", roles=["Postern.Operator"])
    assert (await server.ask("GET", "/revocations", token)).status_code == 200
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    sending = asyncio.create_task(server.client.post(path, content=slowly(), headers=headers))
    await began.wait()
    await server.revoke()
    goes_on.set()
    assert (await sending).status_code == 401


async def test_a_server_that_cannot_read_revocations_refuses_tokens_and_is_not_ready_until_it_can(
    server: Server, monkeypatch: pytest.MonkeyPatch
):
    assert await server.lisa() == 200
    with monkeypatch.context() as broken:
        broken.setattr(module, "PATIENCE", 0.0)
        broken.setattr(module, "rules", lambda *_: 1 / 0)
        while await server.lisa() == 200:
            await asyncio.sleep(0.01)
        answer = await server.ask("POST", "/triggers/guarded", server.lisas)
        assert (answer.status_code, answer.json()["code"]) == (503, "revocations-unavailable")
        assert answer.headers["Retry-After"] == "5"
        assert (await server.ask("GET", "/runs", server.lisas)).json()["code"] == "revocations-unavailable"
        assert (await server.ask("POST", "/triggers/hello")).status_code == 200
        ready = await server.ask("GET", "/readyz")
        assert (ready.status_code, ready.json()["checks"]["revocations"]) == (503, "failing")
    while await server.lisa() != 200:
        await asyncio.sleep(0.01)
    assert (await server.ask("GET", "/readyz")).status_code == 200


async def test_it_is_counted_and_dated_for_operators(server: Server):
    await server.revoke()
    text = (await server.ask("GET", "/metrics")).text
    [count] = [line for line in text.splitlines() if line.startswith("postern_revocations{")]
    assert count.endswith(" 1.0")
    [age] = [line for line in text.splitlines() if line.startswith("postern_revocations_age_seconds{")]
    assert 0.0 <= float(age.rpartition(" ")[2]) < module.PATIENCE
