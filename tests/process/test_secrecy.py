"""Nothing of a token, of the vault or of an exception's text appears in any output."""

import base64
import json
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from postern.local_tenant import LocalTenant
from tests.process.servers import Server, grams, leaked, running, settings_of

MARKER = "marker-of-an-exception-4f1d9b"
WORKFLOWS = f"""
from pydantic import BaseModel, ConfigDict
from postern import Context, anonymous, tenant_users, workflow

class Order(BaseModel):
    model_config = ConfigDict(extra="forbid")
    number: int

@workflow(access=anonymous(), path="/{{number}}")
async def open_trigger(ctx: Context, order: Order, number: int) -> int:
    return number

@workflow(access=tenant_users())
async def guarded(ctx: Context) -> str:
    return "came in"

@workflow(access=tenant_users())
async def length_of_secret(ctx: Context) -> int:
    secret = await ctx.secret("backup-job-client-secret")
    ctx.log.info("secret-read", client_secret=secret, length=len(secret))
    return len(secret)

@workflow(access=tenant_users())
async def raises(ctx: Context) -> None:
    raise ValueError("{MARKER}" + await ctx.secret("backup-job-client-secret"))

@workflow(access=tenant_users())
def raises_in_a_thread(ctx: Context) -> None:
    raise RuntimeError("{MARKER}")
"""


@pytest.fixture(scope="module", params=["json", "console"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, local_tenant: LocalTenant
) -> Iterator[Server]:
    """`postern serve` with a vault, and with either form of log."""
    folder = tmp_path_factory.mktemp("secrecy")
    (folder / "workflows").mkdir()
    (folder / "workflows" / "triggers.py").write_text(WORKFLOWS, encoding="utf-8")
    environ = {
        **settings_of(local_tenant, folder / "workflows"),
        "POSTERN_LOG_FORMAT": request.param,
        "POSTERN_KEY_VAULT_URL": local_tenant.key_vault_url,
        "POSTERN_AZURE_CREDENTIAL": "client_secret",
        "AZURE_TENANT_ID": local_tenant.tenant_id,
        "AZURE_CLIENT_ID": local_tenant.client_id,
        "AZURE_CLIENT_SECRET": local_tenant.client_secret("postern"),
    }
    with running("serve", folder, environ) as started:
        yield started


def tokens(local: LocalTenant) -> dict[str, str]:
    """A good token, and each kind of spoilt one."""
    good = local.token("lisa")
    header, payload, signature = good.split(".")
    foreign = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    none = base64.urlsafe_b64encode(json.dumps({"alg": "none"}).encode()).rstrip(b"=").decode()
    return {
        "good": good,
        "expired": local.token("lisa", expired=True),
        "for another audience": local.token("lisa", wrong_audience=True),
        "of another tenant": local.token("lisa", other_tenant=True),
        "version 1": local.token("ada", version=1),
        "by another key": local.mint(local.claims("lisa"), key=foreign),
        "unknown kid": local.mint(local.claims("lisa"), {"kid": "unknown"}),
        "odd claims": local.mint({**local.claims("lisa"), "oid": [1], "exp": "never"}),
        "alg none": f"{none}.{payload}.",
        "truncated": good[:-40],
        "without signature": f"{header}.{payload}",
        "signature changed": f"{header}.{payload}.{signature[:-4]}AAAA",
        "not ASCII": f"{good}ÿ",
    }


def requests(token: str) -> list[dict[str, Any]]:
    """The places where a token may stray to, right and wrong."""
    as_bytes = token.encode("latin-1")
    quoted = as_bytes.decode("ascii", "replace").replace("\ufffd", "%FF")
    signature = quoted.rpartition(".")[2] or "x"
    basic = base64.b64encode(b"lisa:" + as_bytes)
    received: list[dict[str, Any]] = [
        {"headers": [(b"authorization", value)]}
        for value in (
            b"Bearer " + as_bytes,
            b"bearer  " + as_bytes,
            b"Basic " + as_bytes,
            b"Basic " + basic,
            as_bytes,
            b"Bearer " + as_bytes + b", Bearer " + as_bytes,
            b'Bearer "' + as_bytes + b'"',
            b"Bearer " + as_bytes + b"\x80",
        )
    ]
    received += [
        {"headers": [(b"authorization", b"Bearer " + as_bytes)] * 2},
        {"headers": [(b"cookie", b"access_token=" + as_bytes)]},
        {"headers": [(b"x-token", as_bytes)]},
        {"headers": [(b"proxy-authorization", b"Bearer " + as_bytes)]},
        {"headers": [(b"x-" + signature[:60].encode(), b"1")]},
        {"headers": [(b"content-type", as_bytes)], "content": as_bytes},
        {"headers": [(b"content-encoding", as_bytes)], "content": as_bytes},
        {"headers": [(b"host", signature.encode())]},
        {"headers": [(b"traceparent", as_bytes), (b"x-request-id", as_bytes), (b"x-forwarded-for", as_bytes)]},
        {"url": f"/triggers/guarded?access_token={quoted}"},
        {"url": f"/triggers/open-trigger/1?token={quoted}", "json": {"number": 1}},
        {"url": f"/triggers/guarded/{quoted}"},
        {"url": f"/triggers/{quoted}"},
        {"url": f"/triggers/{signature}"},
        {"url": f"/triggers/guarded/{signature}?sig={signature}"},
        {"url": f"/{quoted}"},
        {"url": f"/triggers/open-trigger/{quoted}", "json": {"number": 1}},
        {"url": "/triggers/open-trigger/1", "json": {"number": token}},
        {"url": "/triggers/open-trigger/1", "json": token},
        {"url": "/triggers/open-trigger/1", "content": as_bytes, "headers": [(b"content-type", b"application/json")]},
        {"url": "/triggers/open-trigger/1", "data": {"access_token": token}},
        {"method": signature[:30].upper().replace("_", "-")},
    ]
    return received


def test_no_token_appears_in_an_answer_or_in_the_log(server: Server, local_tenant: LocalTenant):
    """Misplaced, forged or good: nothing of its payload or signature comes out, in 12 characters or more."""
    secret: set[str] = set()
    for kind, token in tokens(local_tenant).items():
        parts = token.split(".")[1:]
        pieces = grams(*parts, *(part.lower() for part in parts), *(part.upper() for part in parts))
        secret |= pieces
        for n, received in enumerate(requests(token)):
            request = {"method": "POST", "url": "/triggers/guarded", **received}
            answer = server.client.request(**request)
            assert answer.status_code < 500 or answer.status_code == 501, (kind, n)
            found = leaked(pieces, answer.text + str(answer.headers))
            assert not found, (kind, n, answer.text)
    assert not leaked(secret, server.output)
    assert "Traceback" not in server.output


def test_the_places_where_a_token_would_have_come_in(server: Server, local_tenant: LocalTenant):
    """So that the test above is not of a server that answers nothing: the good ones do come in."""
    token = local_tenant.token("lisa")
    assert [
        server.client.request("POST", "/triggers/guarded", **received).status_code for received in requests(token)[:3]
    ] == [
        200,
        200,
        401,
    ]


def test_no_secret_of_the_vault_appears_in_the_log(server: Server, local_tenant: LocalTenant):
    """Not even where a workflow logs it under a telling name, or raises it."""
    secret = local_tenant.client_secret("backup-job")
    own = local_tenant.client_secret("postern")
    token = local_tenant.token("ada")
    answer = server.post("length-of-secret", token)
    assert (answer.status_code, answer.json()) == (200, len(secret))
    failed = [server.post(name, token) for name in ("raises", "raises-in-a-thread")]
    assert [answer.status_code for answer in failed] == [500, 500]
    reported = "".join(answer.text + str(answer.headers) for answer in failed)
    server.says("RuntimeError")
    assert "secret-read" in server.output
    assert not leaked(grams(secret, own, MARKER), reported + server.output)


PRINTS = """
import logging, sys
from pydantic import BaseModel, field_validator
from postern import Context, anonymous, workflow

log = logging.getLogger("of.mine")

class Patient(BaseModel):
    name: str

    @field_validator("name")
    @classmethod
    def check(cls, name: str) -> str:
        print("validates", name)
        log.warning("validates %s", name)
        return name

async def keep(name: str) -> None:
    print("keeps", name)

def say(name: str) -> None:
    print("says", name, end="")
    print(name, file=sys.stderr)
    log.info("name %s", name)
    log.error("failed for %s", name, exc_info=ValueError(name))

@workflow(access=anonymous(), secure_inputs=True)
async def hushed(ctx: Context, patient: Patient) -> str:
    say(patient.name)
    await ctx.step(keep, patient.name)
    return "kept"

@workflow(access=anonymous(), secure_outputs=True)
def hushed_in_a_thread(ctx: Context, patient: Patient) -> str:
    say(patient.name)
    return "kept"

@workflow(access=anonymous())
def prints(ctx: Context, name: str) -> None:
    say(name)
"""


def test_what_a_secured_workflow_prints_and_logs_is_in_no_output_and_no_record(server: Server):
    """Only how many lines there were. Those of another workflow are in the log with the run's id, and on its record."""
    marker = "patient-of-ward-7b3e1c"
    (server.folder / "workflows" / "prints.py").write_text(PRINTS, encoding="utf-8")
    shown = server.answers("prints", 200, json="name-to-be-seen").headers["x-run-id"]
    hushed = [
        server.answers(name, 200, json={"name": marker}).headers["x-run-id"]
        for name in ("hushed", "hushed-in-a-thread")
    ]
    server.says(r"name-to-be-seen")
    database = server.folder / "var" / "postern.db"
    with sqlite3.connect(database) as connection:
        rows = connection.execute("SELECT run_id, kept, secured, lines FROM run_logs").fetchall()
    connection.close()
    counts = {row[0]: (row[1], row[2]) for row in rows}
    assert [counts[run_id] for run_id in hushed] == [(0, 4), (0, 4)]
    assert counts[shown] == (5, 0)
    assert ("name-to-be-seen" in str(rows), marker in str(rows)) == (True, False)
    assert marker not in server.output
    assert "name-to-be-seen" in server.output
