"""Requests of senders that sign their body, through a whole server with a Key Vault: who is admitted, what the caller
and the operator read, and what stands in the record."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from httpx2 import ASGITransport
from structlog.testing import capture_logs

from postern.assembly import Application, create_app, load_catalog
from postern.cli.workspace import local_defaults
from postern.http_client import AsyncClient, Response, http_client
from postern.local_tenant import LocalTenant
from postern.settings import load_settings
from tests.databases import put_sqlite
from tests.security.sender_signatures.signing import Headers, by_github, by_header, by_slack, by_stripe

pytestmark = [pytest.mark.anyio, pytest.mark.process, pytest.mark.usefixtures("own_modules")]

MODULE = """
from postern import Context, anonymous, github, hmac_header, slack, stripe, workflow

@workflow(access=anonymous(signed_by=github(("hook-new", "hook-old"))))
async def pushed(ctx: Context, event: dict[str, int]) -> list[str]:
    return [ctx.caller.kind, ctx.caller.name, str(event["n"])]

@workflow(access=anonymous(signed_by=stripe("hook-new")))
async def paid(ctx: Context, event: dict[str, int]) -> str:
    return "paid"

@workflow(access=anonymous(signed_by=slack("hook-new")), max_body_bytes=100)
async def asked(ctx: Context, event: dict[str, int]) -> str:
    return "asked"

@workflow(access=anonymous(signed_by=hmac_header(header="X-Sig", secret="hook-new", encoding="base64", prefix="v1=")))
async def sent(ctx: Context, event: dict[str, int]) -> str:
    return "sent"

@workflow(access=anonymous(signed_by=stripe("hook-third")))
async def replaced(ctx: Context, event: dict[str, int]) -> str:
    return "replaced"
"""

UNMADE = """
from postern import Context, anonymous, github, workflow

@workflow(access=anonymous(signed_by=github("never-made")))
async def unmade(ctx: Context) -> str:
    return "never"
"""

BODY = b'{"n": 7}'
NEW, OLD = "the-new-secret-of-the-sender", "the-old-secret-of-the-sender"


def stripe_now(secret: str, body: bytes) -> Headers:
    return by_stripe(secret, body, int(time.time()))


def slack_now(secret: str, body: bytes) -> Headers:
    return by_slack(secret, body, int(time.time()))


def in_header(secret: str, body: bytes) -> Headers:
    return by_header(secret, body, "sha256", "base64", "v1=")


SIGN = {"pushed": by_github, "paid": stripe_now, "asked": slack_now, "sent": in_header}


class World:
    """The application and its client, as an operator sees it too."""

    def __init__(self, client: AsyncClient, local: LocalTenant) -> None:
        self.client = client
        self.local = local

    async def post(self, name: str, headers: Headers, body: bytes = BODY) -> Response:
        """POST to a trigger."""
        url = f"/triggers/{name}"
        return await self.client.post(url, headers=[(b"content-type", b"application/json"), *headers], content=body)

    async def refusal(self, request_id: str) -> Any:
        """What an operator reads of a rejected request. Refusals are written a moment later."""
        async with asyncio.timeout(10):
            while True:
                for each in (await self.read("/refusals"))["refusals"]:
                    if request_id in each["request_ids"]:
                        return each
                await asyncio.sleep(0.02)

    async def read(self, path: str, method: str = "GET") -> Any:
        """What an operator reads."""
        headers = {"Authorization": f"Bearer {self.local.token('ada')}"}
        return (await self.client.request(method, path, headers=headers)).json()


def made(local: LocalTenant, folder: Path, module: str, patch: pytest.MonkeyPatch) -> Application:
    """The application of this module, which signs in at the vault as the local tenant's `postern`."""
    patch.setenv("AZURE_TENANT_ID", local.tenant_id)
    patch.setenv("AZURE_CLIENT_ID", local.applications["postern"].client_id)
    patch.setenv("AZURE_CLIENT_SECRET", local.client_secret("postern"))
    (folder / "hooks.py").write_text(module, encoding="utf-8")
    mine = {"workflows": str(folder), "database_url": put_sqlite(folder / ".journal.db"), "public_url": None}
    app = create_app(load_settings({}, folder=folder, defaults={**local_defaults(local), **mine}))
    assert not app.catalog.snapshot.faults
    return app


def client_of(app: Application) -> AsyncClient:
    return http_client(base_url="http://postern.test", transport=ASGITransport(app))


@pytest.fixture(scope="module")
async def world(local_tenant: LocalTenant, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    local_tenant.put_secret("hook-new", NEW)
    local_tenant.put_secret("hook-old", OLD)
    local_tenant.put_secret("hook-third", "first")
    with pytest.MonkeyPatch.context() as patch:
        app = made(local_tenant, tmp_path_factory.mktemp("hooks"), MODULE, patch)
        async with app.router.lifespan_context(app), client_of(app) as client:
            yield World(client, local_tenant)


@pytest.mark.parametrize("name", SIGN)
async def test_each_sender_is_admitted_by_its_signature_alone(world: World, name: str) -> None:
    """Rows are requests, and none but the sender's own starts a run."""
    sign, token = SIGN[name], world.local.token("ada")
    bearer = [(b"authorization", b"Bearer " + token.encode())]
    others = [SIGN[other](NEW, BODY) for other in SIGN if other != name]
    rows: list[tuple[Headers, bytes, int]] = [
        (sign(NEW, BODY), BODY, 200),
        ([*sign(NEW, BODY), *bearer], BODY, 200),
        ([*sign(NEW, BODY), (b"authorization", b"Basic c2VuZGVyOng=")], BODY, 200),
        ([], BODY, 401),
        (bearer, BODY, 401),
        (sign("another", BODY), BODY, 401),
        (sign(NEW, BODY), b'{"n": 8}', 401),
        (sign(NEW, BODY) * 2, BODY, 401),
        (sign(NEW, b"not json"), b"not json", 400),
        (sign("another", b"not json"), b"not json", 401),
        *[(headers, BODY, 401) for headers in others],
    ]
    for number, (headers, body, status) in enumerate(rows):
        answer = await world.post(name, headers, body)
        assert (number, answer.status_code) == (number, status), answer.text
        if status == 401:
            assert answer.json()["detail"] == "The request needs the signature of its sender."
            assert answer.headers["www-authenticate"] == "Signature"


async def test_the_workflow_sees_an_anonymous_caller_with_the_name_of_the_sender(world: World) -> None:
    assert (await world.post("pushed", by_github(NEW, BODY))).json() == ["anonymous", "github", "7"]


async def test_both_secrets_are_accepted_where_the_author_names_two(world: World) -> None:
    assert (await world.post("pushed", by_github(OLD, BODY))).status_code == 200
    assert (await world.post("paid", stripe_now(OLD, BODY))).status_code == 401


async def test_a_body_that_is_too_large_is_not_signed_and_not_read(world: World) -> None:
    body = b'{"n": ' + b"7" * 200 + b"}"

    assert (await world.post("asked", slack_now(NEW, body), body)).status_code == 413


async def test_a_new_version_of_a_secret_takes_effect_without_a_restart(world: World) -> None:
    """The former version stops working with it."""
    assert (await world.post("replaced", stripe_now("first", BODY))).status_code == 200
    world.local.put_secret("hook-third", "second")

    assert (await world.post("replaced", stripe_now("second", BODY))).status_code == 200
    assert (await world.post("replaced", stripe_now("first", BODY))).status_code == 401


async def test_a_missing_secret_is_503_until_the_server_has_looked_for_it_and_a_fault_then(
    local_tenant: LocalTenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = made(local_tenant, tmp_path, UNMADE, monkeypatch)
    async with client_of(app) as client:
        with capture_logs() as logs:
            answer = await World(client, local_tenant).post("unmade", by_github(NEW, b""), b"")
        assert (answer.status_code, answer.json()["code"]) == (503, "identity-unavailable")
        assert answer.headers["retry-after"] == "10"
        assert "never-made" not in answer.text
        reason = f"the secret never-made is not in the Key Vault {local_tenant.key_vault_url}. "
        reason += (
            "Set it in the local tenant: postern secrets set never-made. The vault is that of POSTERN_KEY_VAULT_URL."
        )
        assert [line["reason"] for line in logs if line["event"] == "request-refused"] == [reason]

        async with app.router.lifespan_context(app), asyncio.timeout(20):
            while not app.catalog.snapshot.faults:
                await asyncio.sleep(0.01)

    (fault,) = app.catalog.snapshot.faults
    assert fault.cause == f"WorkflowFault: signed_by=: {reason}"
    assert fault.still_serving == ()


async def test_the_refusal_says_which_check_failed_and_has_no_signature(
    world: World, local_tenant: LocalTenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = made(local_tenant, tmp_path, MODULE, monkeypatch)  # whose refusals have no others to be counted with
    async with app.router.lifespan_context(app), client_of(app) as client:
        own, headers = World(client, local_tenant), by_github("another", BODY)
        first = (await own.post("pushed", headers)).json()["request_id"]
        second = (await own.post("paid", [])).json()["request_id"]
        records = [await own.refusal(each) for each in (first, second)]

    assert [record["reason"] for record in records] == ["sender-signature"] * 2
    (failed,) = records[0]["checks"]
    assert failed["expected"] == "the HMAC of the body with the secret hook-new or hook-old"
    (failed,) = records[1]["checks"]
    assert (failed["expected"], failed["found"]) == ("the header Stripe-Signature, once", "no such header")
    shown = json.dumps(records)
    assert headers[0][1].decode() not in shown
    assert NEW not in shown


async def test_an_operator_resubmits_a_run_of_a_sender_without_a_signature(world: World) -> None:
    run = (await world.post("pushed", by_github(NEW, BODY))).headers["x-run-id"]
    record = await world.read(f"/runs/{run}")
    assert (record["caller"]["kind"], record["caller"]["name"]) == ("anonymous", "github")

    again = await world.read(f"/runs/{run}/resubmit", "POST")

    assert again["resubmitted_from"] == run
    assert again["caller"]["kind"] == "anonymous"
    assert again["status"] == 200


def test_a_secret_that_the_vault_does_not_have_is_a_fault_of_its_file(
    tmp_path: Path, local_tenant: LocalTenant
) -> None:
    """It ends when the secret is there."""
    (tmp_path / "hooks.py").write_text(UNMADE, encoding="utf-8")
    missing = {"never-made": "the secret never-made is not in the Key Vault. Make it"}
    mine = {"workflows": str(tmp_path)}
    settings = load_settings({}, folder=tmp_path, defaults={**local_defaults(local_tenant), **mine})
    catalog = load_catalog(settings, missing_secrets=lambda: dict(missing))

    (fault,) = catalog.snapshot.faults
    assert fault.cause == "WorkflowFault: signed_by=: the secret never-made is not in the Key Vault. Make it"
    assert catalog.snapshot.triggers == {}
    missing.clear()
    assert set(catalog.load().triggers) == {"unmade"}


def test_without_a_key_vault_no_sender_is_served(tmp_path: Path) -> None:
    (tmp_path / "hooks.py").write_text(MODULE, encoding="utf-8")

    (fault,) = load_catalog(load_settings({}, folder=tmp_path, defaults={"workflows": str(tmp_path)})).snapshot.faults

    assert "set POSTERN_KEY_VAULT_URL" in fault.cause
