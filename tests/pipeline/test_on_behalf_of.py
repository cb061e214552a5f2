"""Runs that act on behalf of their callers, from the request to the API on the other side."""

import asyncio
import gc
import json
import logging
import time
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import jwt
import pytest

from postern import CallError, Context
from postern.assembly import create_app
from postern.authoring.consent import ConsentRequired
from postern.cli.workspace import local_defaults
from postern.connections.faults import ConnectionFault
from postern.http_client import AsyncClient, Response
from postern.local_tenant import LocalTenant, serve
from postern.local_tenant.on_behalf_of import CLAIMS
from postern.server.protocol import GuardedProtocol
from postern.settings import load_settings
from tests.connections.counterparts import Counterpart, always, in_turn, listening, reply
from tests.memory import held_texts
from tests.modules import no_modules_left
from tests.pipeline.with_connections import served
from tests.reachable import VISITS, reachable

pytestmark = [pytest.mark.anyio, pytest.mark.process]

MODULE = """
import asyncio
from typing import Any
from postern import Context, anonymous, tenant_users, workflow
from tests.reachable import VISITS

@workflow(access=tenant_users(apps=False))
async def visited(ctx: Context, body) -> Any:
    return await VISITS[-1](ctx)

@workflow(access=tenant_users(apps=False))
def in_thread(ctx: Context) -> Any:
    return asyncio.run(VISITS[-1](ctx))

@workflow(access=tenant_users(apps=False), timeout=0.1)
async def stubborn(ctx: Context) -> Any:
    return await VISITS[-1](ctx)

@workflow(access=tenant_users(apps=False), connections=["other"])
async def narrow(ctx: Context) -> Any:
    return await VISITS[-1](ctx)

@workflow(access=tenant_users())
async def for_all(ctx: Context) -> Any:
    return await VISITS[-1](ctx)

@workflow(access=anonymous())
async def open_to_all(ctx: Context) -> Any:
    return await VISITS[-1](ctx)
"""

OF_CALLER = {
    "type": "entra",
    "on_behalf_of": True,
    "client_secret": {"key_vault": "postern-client-secret"},
    "scopes": ["https://graph.microsoft.com/.default"],
}


OK = always(200, b'{"a":1}', "Content-Type: application/json")


@pytest.fixture(scope="module")
def tenant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalTenant]:
    """A tenant of this module's own, which refuses exchanges."""
    with serve(LocalTenant.open(tmp_path_factory.mktemp("tenant"))) as tenant:
        yield tenant


@pytest.fixture(scope="module")
async def api() -> AsyncIterator[Counterpart]:
    """The API that connections lead to."""
    async with listening(OK) as server:
        yield server


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the workflows and the database."""
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
async def postern(folder: Path, tenant: LocalTenant, api: Counterpart) -> AsyncIterator[AsyncClient]:
    """A client of a Postern with a connection and a trigger on behalf of the caller."""
    (folder / "visited.py").write_text(MODULE, encoding="utf-8")
    connections = {"me": {"base_url": f"{api.url}/v1", "auth": OF_CALLER}}
    key = {"X-Key": {"key_vault": "postern-client-secret"}}
    triggers = {"pay": {"url": f"{api.url}/pay", "auth": OF_CALLER, "headers": key}}
    with no_modules_left(), pytest.MonkeyPatch.context() as patch:
        async with served(folder, tenant, connections, patch, triggers=triggers, http=GuardedProtocol) as client:
            yield client


@pytest.fixture
def there(api: Counterpart) -> Counterpart:
    """The API as if it were new."""
    api.received.clear()
    api.answer = OK
    return api


@pytest.fixture
def server(postern: AsyncClient, tenant: LocalTenant, there: Counterpart) -> Iterator[AsyncClient]:
    """The client, and no refusal is left."""
    yield postern
    tenant.faults.on_behalf_of.restore()
    VISITS.clear()


async def get(ctx: Context) -> Any:
    return (await ctx.connection("me").get("/x")).status_code


def headers(tenant: LocalTenant, who: str = "lisa") -> dict[str, str]:
    return {"Authorization": f"Bearer {tenant.token(who)}"}


async def run(
    server: AsyncClient, name: str, visit: Callable[[Context], Awaitable[Any]], sent: dict[str, str]
) -> Response:
    VISITS.append(visit)
    try:
        return await server.post(f"/triggers/{name}", headers=sent)
    finally:
        VISITS.pop()


def who_of(there: Counterpart) -> list[str]:
    """The object ids for whom requests arrived at the API."""
    tokens = [each.header("authorization").removeprefix("Bearer ") for each in there.received]
    return [jwt.decode(token, options={"verify_signature": False})["oid"] for token in tokens]


@pytest.mark.parametrize("name", ["visited", "in-thread"])
async def test_the_api_gets_a_token_of_the_caller_and_not_the_caller_s_own(
    server: AsyncClient, tenant: LocalTenant, there: Counterpart, name: str
):
    for who in ("lisa", "gil", "lisa"):
        sent = headers(tenant, who)
        answer = await run(server, name, get, sent)
        assert (answer.status_code, answer.json()) == (200, 200), answer.text
        assert there.received[-1].header("authorization") != sent["Authorization"]
    people = [tenant.people[who] for who in ("lisa", "gil", "lisa")]
    assert who_of(there) == people


async def test_a_trigger_is_called_on_behalf_of_the_caller_beside_its_headers(
    server: AsyncClient, tenant: LocalTenant, there: Counterpart
):
    async def call(ctx: Context) -> Any:
        return await ctx.call("pay", {"sum": 1})

    answer = await run(server, "visited", call, headers(tenant))
    assert (answer.status_code, answer.json()) == (200, {"a": 1}), answer.text
    assert who_of(there) == [tenant.people["lisa"]]
    assert there.received[0].header("x-key") == tenant.client_secret("postern")


async def test_many_callers_at_once_each_get_their_own(server: AsyncClient, tenant: LocalTenant, there: Counterpart):
    async def mine(ctx: Context) -> Any:
        await ctx.connection("me").get(f"/{ctx.caller.object_id}")

    callers = [headers(tenant, who) for who in ("lisa", "gil", "ada", "lisa", "ada") for _ in range(6)]
    VISITS.append(mine)
    answers = await asyncio.gather(*(server.post("/triggers/visited", headers=each) for each in callers))
    assert {answer.status_code for answer in answers} == {200}
    named = [each.target.rpartition("/")[2] for each in there.received]
    assert named == who_of(there)
    assert len(named) == 30


async def test_a_401_of_the_api_leads_to_one_new_exchange(server: AsyncClient, tenant: LocalTenant, there: Counterpart):
    there.answer = in_turn(reply(401), reply(200))
    before = tenant.faults.on_behalf_of.requests
    assert (await run(server, "visited", get, headers(tenant))).json() == 200
    tokens = [each.header("authorization") for each in there.received]
    assert len(set(tokens)) == 2
    assert tenant.faults.on_behalf_of.requests - before == 2


async def error_of(server: AsyncClient, tenant: LocalTenant, answer: Response) -> dict[str, Any]:
    """The record of the error that an answer came from."""
    record = await server.get(f"/runs/{answer.headers['x-run-id']}", headers=headers(tenant, "ada"))
    found: dict[str, Any] = record.json()["error"]
    return found


@pytest.mark.parametrize(
    ("name", "who", "text"),
    [
        ("for-all", "lisa", "applications may call this workflow"),
        ("open-to-all", "lisa", "the callers of this workflow are anonymous"),
    ],
)
@pytest.mark.parametrize("way", ["connection", "call"])
async def test_a_workflow_that_cannot_have_such_runs_sends_nothing(
    server: AsyncClient, tenant: LocalTenant, there: Counterpart, name: str, who: str, text: str, way: str
):
    before = tenant.faults.on_behalf_of.requests

    async def visit(ctx: Context) -> Any:
        return await get(ctx) if way == "connection" else await ctx.call("pay", {})

    answer = await run(server, name, visit, headers(tenant, who))
    assert (answer.status_code, answer.json()["code"]) == (500, "workflow-failed")
    error = await error_of(server, tenant, answer)
    assert text in error["message"]
    assert "apps=False" in error["message"]
    assert (there.received, tenant.faults.on_behalf_of.requests) == ([], before)


async def test_it_is_decided_when_the_connection_is_asked_for(server: AsyncClient, tenant: LocalTenant):
    async def visit(ctx: Context) -> Any:
        with pytest.raises(ConnectionFault, match="apps=False"):
            ctx.connection("me")
        with pytest.raises(CallError, match="apps=False"):
            await ctx.call("pay", {})

    assert (await run(server, "for-all", visit, headers(tenant))).status_code == 200


async def test_an_application_is_told_that_it_is_none(server: AsyncClient, tenant: LocalTenant):
    async def visit(ctx: Context) -> Any:
        with pytest.raises(ConsentRequired) as raised:
            ctx.connection("me")
        return raised.value.reason

    answer = await run(server, "for-all", visit, headers(tenant, "nightly-report"))
    assert answer.json() == "application"


@pytest.mark.parametrize("prefer", [{}, {"Prefer": "respond-async"}])
async def test_a_resubmitted_run_has_no_token_of_its_caller(
    server: AsyncClient, tenant: LocalTenant, there: Counterpart, prefer: dict[str, str]
):
    first = await run(server, "visited", get, headers(tenant))
    told: list[str] = []

    async def visit(ctx: Context) -> Any:
        try:
            ctx.connection("me")
        except ConsentRequired as error:
            told.append(f"{error.reason}: {error}")

    VISITS.append(visit)
    again = await server.post(f"/runs/{first.headers['x-run-id']}/resubmit", headers=headers(tenant) | prefer)
    assert again.status_code == 201, again.text
    async with asyncio.timeout(20):
        while not told:
            await asyncio.sleep(0.01)
    assert told[0].startswith("resubmitted: ")
    assert "Caller: call the workflow again" in told[0]
    assert len(there.received) == 1


async def test_a_step_up_goes_to_the_caller_as_a_challenge(server: AsyncClient, tenant: LocalTenant):
    tenant.faults.on_behalf_of.refuse(50076)
    answer = await run(server, "visited", get, headers(tenant))
    assert (answer.status_code, answer.json()["code"]) == (401, "sign-in-required")
    challenge = answer.headers["www-authenticate"]
    assert challenge.startswith('Bearer realm="", error="insufficient_claims", claims="')
    assert b64decode(challenge.partition('claims="')[2].removesuffix('"')).decode() == CLAIMS
    error = await error_of(server, tenant, answer)
    assert error["type"] == "sign-in-required"
    assert "AADSTS50076" in json.dumps(error)


C1 = '{"access_token":{"acrs":{"essential":true,"value":"c1"}}}'
CHALLENGED = reply(
    401, b"", f'WWW-Authenticate: Bearer error="insufficient_claims", claims="{b64encode(C1.encode()).decode()}"'
)


async def test_a_challenge_of_the_api_goes_to_the_caller_who_answers_it_with_a_new_sign_in(
    server: AsyncClient, tenant: LocalTenant, there: Counterpart, caplog: pytest.LogCaptureFixture
):
    """The first sign-in does not meet what the API asks for, so Entra rejects the exchange. The second one does."""
    there.answer = in_turn(CHALLENGED)
    answer = await run(server, "visited", get, headers(tenant))
    assert (answer.status_code, answer.json()["code"]) == (401, "sign-in-required")
    asked = b64decode(answer.headers["www-authenticate"].partition('claims="')[2].removesuffix('"'))
    assert json.loads(asked)["access_token"]["acrs"] == {"essential": True, "value": "c1"}
    assert len(there.received) == 1, "the request is not repeated with a token that does not meet the claims"
    there.answer = in_turn(CHALLENGED, reply(200, b"{}", "Content-Type: application/json"))
    strong = {"Authorization": f"Bearer {tenant.token('lisa', more={'acrs': ['c1']})}"}
    assert (await run(server, "visited", get, strong)).json() == 200
    tokens = [each.header("authorization").removeprefix("Bearer ") for each in there.received[-2:]]
    assert [jwt.decode(each, options={"verify_signature": False})["acrs"] for each in tokens] == [["c1"], ["c1"]]
    assert tokens[0] != tokens[1]
    assert C1 not in caplog.text


def _late(tenant: LocalTenant) -> str:
    """It expired a moment ago, within the leeway for clocks."""
    now = int(time.time())
    return tenant.mint(tenant.claims("lisa") | {"iat": now - 3600, "nbf": now - 3600, "exp": now - 20})


def _revoked(tenant: LocalTenant) -> str:
    token = tenant.token("lisa")
    tenant.sign_ins.revoke(tenant.people["lisa"], time.time())
    return token


CALLERS: dict[str, tuple[Callable[[LocalTenant], str], int, str, str]] = {
    "member": (lambda tenant: tenant.token("lisa"), 200, "", ""),
    "guest": (lambda tenant: tenant.token("gil"), 200, "", ""),
    "token of version 1.0": (lambda tenant: tenant.token("lisa", version=1), 200, "", ""),
    "application": (lambda tenant: tenant.token("nightly-report"), 401, "unauthenticated", ""),
    "expired long ago": (lambda tenant: tenant.token("lisa", expired=True), 401, "unauthenticated", ""),
    "expired meanwhile": (_late, 401, "sign-in-required", "AADSTS500133"),
    "revoked": (_revoked, 401, "sign-in-required", "AADSTS50173"),
}


@pytest.mark.parametrize("which", CALLERS)
async def test_callers(server: AsyncClient, tenant: LocalTenant, which: str):
    made, status, code, text = CALLERS[which]
    try:
        answer = await run(server, "visited", get, {"Authorization": f"Bearer {made(tenant)}"})
    finally:
        tenant.sign_ins.revoked.clear()
    assert answer.status_code == status, answer.text
    if code:
        assert answer.json()["code"] == code
        assert text in answer.json()["detail"]
        assert 'error="invalid_token"' in answer.headers["www-authenticate"] or code == "unauthenticated"


async def test_missing_consent_says_that_an_administrator_grants_it(server: AsyncClient, tenant: LocalTenant):
    tenant.faults.on_behalf_of.refuse(65001)

    async def visit(ctx: Context) -> Any:
        with pytest.raises(ConsentRequired) as raised:
            await get(ctx)
        assert raised.value.connect_path == ""
        return [raised.value.reason, str(raised.value)]

    reason, text = (await run(server, "visited", visit, headers(tenant))).json()
    assert reason == "consent"
    assert "Administrator of the tenant" in text
    assert "Grant admin consent" in text


async def test_options_of_a_workflow_hold_for_it_too(server: AsyncClient, tenant: LocalTenant):
    async def visit(ctx: Context) -> Any:
        with pytest.raises(LookupError, match="connections= of @workflow"):
            ctx.connection("me")

    assert (await run(server, "narrow", visit, headers(tenant))).status_code == 200


async def test_code_that_a_run_left_behind_has_no_caller_any_more(server: AsyncClient, tenant: LocalTenant):
    kept: list[Any] = []

    async def visit(ctx: Context) -> Any:
        kept.append(ctx.connection("me"))
        kept.append(ctx)
        return await get(ctx)

    assert (await run(server, "visited", visit, headers(tenant))).status_code == 200
    client, ctx = kept
    with pytest.raises(ConnectionFault, match="the run has ended"):
        await client.get("/x")
    ctx._clients.clear()
    with pytest.raises(ConsentRequired):
        ctx.connection("me")


async def test_a_run_that_goes_on_after_its_timeout_has_no_caller_any_more(server: AsyncClient, tenant: LocalTenant):
    """Its caller has a reply already."""
    ended, told = asyncio.Event(), asyncio.Event()
    said: list[str] = []

    async def visit(ctx: Context) -> Any:
        ctx.connection("me")
        while not ended.is_set():
            try:
                await ended.wait()
            except asyncio.CancelledError:
                continue
        with pytest.raises(ConnectionFault) as raised:
            await get(ctx)
        said.append(str(raised.value))
        told.set()

    answer = await run(server, "stubborn", visit, headers(tenant))
    assert answer.status_code == 504
    ended.set()
    async with asyncio.timeout(20):
        await told.wait()
    assert "the run has ended" in said[0]


OF_THE_CLIENT = "list: [(b'Host', "
"""The headers that the caller's own client may still have, which is in this process too. The server's are in lower
case."""


def texts(digest: bytes, size: int) -> list[str]:
    """The objects of the server that hold a text, or bytes, in which there is one of this digest and size."""
    gc.collect()
    found = [
        f"{type(holder).__name__}: {repr(holder)[:200]}"
        for holder, each in held_texts(size)
        if len(each) < 1_000_000 and _has(each, digest, size)
    ]
    return [each for each in found if not each.startswith(OF_THE_CLIENT)]


def _has(text: str | bytes, digest: bytes, size: int) -> bool:
    """Whether a token in the text has this digest. The search itself must not hold the token."""
    content = text.encode("utf-8", "replace") if isinstance(text, str) else text
    begin = content.find(b"eyJ")
    while begin >= 0:
        if sha256(content[begin : begin + size]).digest() == digest:
            return True
        begin = content.find(b"eyJ", begin + 1)
    return False


def _content(folder: Path) -> bytes:
    """Of the database and its log."""
    return b"".join(path.read_bytes() for path in folder.glob(".journal.db*"))


def sent_token(tenant: LocalTenant, who: str) -> tuple[dict[str, str], bytes, int]:
    token = tenant.token(who)
    return {"Authorization": f"Bearer {token}"}, sha256(token.encode()).digest(), len(token)


@pytest.mark.parametrize("refuses", [0, 65001, 50076], ids=["exchanged", "consent", "step-up"])
async def test_the_token_of_the_caller_is_nowhere_after_the_run(
    server: AsyncClient,
    tenant: LocalTenant,
    folder: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    refuses: int,
):
    """Not in memory, with the context still at hand, nor in the database, its log, our log or an answer."""
    caplog.set_level(logging.DEBUG)
    if refuses:
        tenant.faults.on_behalf_of.refuse(refuses)
    kept: list[Any] = []
    while_it_runs: list[str] = []
    told: list[tuple[bytes, int]] = []

    async def visit(ctx: Context) -> Any:
        kept.append(ctx)
        while_it_runs.extend(texts(*told[0]))
        return await get(ctx)

    async def once() -> tuple[str, str]:
        sent, digest, size = sent_token(tenant, "lisa")
        told.append((digest, size))
        answer = await run(server, "visited", visit, sent)
        assert (answer.status_code == 200) == (refuses == 0)
        return answer.headers["x-run-id"], answer.text + str(answer.headers)

    run_id, answered = await once()
    await server.post("/triggers/open-to-all")  # the connection has another request
    digest, size = told[0]
    for kind in ("CallerToken", "list"):  # the search finds it where it is: the headers are a list of pairs
        assert any(each.startswith(kind) for each in while_it_runs)
    assert texts(digest, size) == []
    record = (await server.get(f"/runs/{run_id}", headers=headers(tenant, "ada"))).text
    files = _content(folder)
    out = "".join(capfd.readouterr())
    for where in (answered, record, files, caplog.text, out):
        assert not _has(where, digest, size)


async def test_no_public_name_of_a_context_leads_to_the_token(server: AsyncClient, tenant: LocalTenant):
    sent = headers(tenant)
    token = sent["Authorization"].removeprefix("Bearer ")
    found: list[str] = []
    private: list[Any] = []

    async def visit(ctx: Context) -> Any:
        response = await ctx.connection("me").get("/x")
        things = reachable({"ctx": ctx, "client": ctx.connection("me"), "response": response, "log": ctx.log})
        for way, thing in things:
            values = [*vars(thing).values()] if hasattr(thing, "__dict__") else []
            values += [*thing] if isinstance(thing, list | tuple | set) else []
            values += [*thing.values()] if isinstance(thing, dict) else []
            found.extend(way for value in values if token in f"{value!r}")
        private.append(repr(ctx.request._raw_headers))
        return len(things)

    answer = await run(server, "visited", visit, sent)
    assert answer.status_code == 200, answer.text
    assert answer.json() > 20
    assert found == []
    assert token not in private[0]


def test_without_such_a_connection_nothing_looks_at_tokens_again(tmp_path: Path, local_tenant: LocalTenant):
    mine = {"workflows": str(tmp_path), "database_url": f"sqlite:///{tmp_path}/.journal.db"}
    settings = load_settings({}, folder=tmp_path, defaults={**local_defaults(local_tenant), **mine})
    assert create_app(settings).pipeline.start.__name__ == "of_request"
