"""Bodies as real senders send them, and replies as they expect them, through a whole application."""

import hashlib
import hmac
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from httpx2 import ASGITransport
from structlog.testing import capture_logs

from postern.assembly import create_app
from postern.http_client import AsyncClient, http_client
from postern.settings import load_settings
from tests.pipeline.pipelines import defaults_for

pytestmark = [pytest.mark.anyio, pytest.mark.process]

MODULE = """
import hashlib, hmac
from decimal import Decimal
from pydantic import BaseModel
from postern import Context, Reply, anonymous, workflow

class Pay(BaseModel):
    amount: float

class Price(BaseModel):
    net: Decimal

@workflow(access=anonymous())
async def typed(ctx: Context, pay: Pay):
    return {"over": pay.amount > 100, "under": pay.amount <= 100}

@workflow(access=anonymous())
async def price(ctx: Context, price: Price):
    return str(price.net)

@workflow(access=anonymous())
async def untyped(ctx: Context, body):
    return {"body": body}

@workflow(access=anonymous())
async def lenient(ctx: Context, body="default"):
    return {"body": body, "bytes": ctx.request.text}

@workflow(access=anonymous(), methods=["GET", "POST", "OPTIONS"])
async def hook(ctx: Context, body=None):
    if ctx.request.method == "OPTIONS":
        return Reply(200, None, {"WebHook-Allowed-Origin": ctx.request.headers["WebHook-Request-Origin"]})
    return Reply(200, ctx.request.query.get("validationToken"), {"Content-Type": "text/plain"})

@workflow(access=anonymous(), name="github")
async def github(ctx: Context, body=None):
    mac = "sha256=" + hmac.new(b"k", ctx.request.body, hashlib.sha256).hexdigest()
    return {
        "event": ctx.request.headers.get("X-GitHub-Event", "none"),
        "signed": mac == ctx.request.headers.get("X-Hub-Signature-256"),
        "body": body,
    }

@workflow(access=anonymous(), name="basic", secure_inputs=True)
async def secured(ctx: Context, body=None): ...

@workflow(access=anonymous())
async def bare(ctx: Context):
    return {"bytes": ctx.request.text}
"""


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[AsyncClient]:
    (tmp_path / "w.py").write_text(MODULE, encoding="utf-8")
    app = create_app(load_settings({}, folder=tmp_path, defaults=defaults_for(tmp_path)))
    assert not app.catalog.snapshot.faults
    async with (
        app.router.lifespan_context(app),
        http_client(base_url="http://postern.test", transport=ASGITransport(app)) as client,
    ):
        yield client


async def post(client: AsyncClient, name: str, body: bytes, content_type: str | None = "application/json") -> Any:
    headers = {} if content_type is None else {"Content-Type": content_type}
    return await client.post(f"/triggers/{name}", content=body, headers=headers)


@pytest.mark.parametrize(
    ("content_type", "before"),
    [
        ("application/json; charset=utf8", b""),
        ("text/json", b""),
        ("text/plain; charset=UTF-8", b""),
        (None, b""),
        ("application/json", b"\xef\xbb\xbf"),
    ],
)
async def test_what_plainly_is_json_reaches_the_workflow(client: AsyncClient, content_type: str, before: bytes):
    body = before + b'{"amount": 1}'
    assert (await post(client, "typed", body, content_type)).json() == {"over": False, "under": True}
    assert (await post(client, "untyped", body, content_type)).json() == {"body": {"amount": 1}}


@pytest.mark.parametrize("content_type", ["text/csv", "application/x-www-form-urlencoded", None, "text/plain"])
async def test_what_is_no_json_is_rejected_or_left_to_the_default_with_a_line_in_the_log(
    client: AsyncClient, content_type: str
):
    for name in ("typed", "untyped"):
        assert (await post(client, name, b"a=b", content_type)).json()["code"] == "unsupported-media-type"
    assert (await post(client, "bare", b"a=b", content_type)).json() == {"bytes": "a=b"}
    with capture_logs() as lines:
        assert (await post(client, "lenient", b"a=b", content_type)).json() == {"body": "default", "bytes": "a=b"}
        await post(client, "lenient", b"{}")
        await post(client, "lenient", b"")
        await post(client, "bare", b"a=b")
    (line,) = (line for line in lines if line["event"] == "body-not-parsed")
    assert (line["workflow"], line["bytes"]) == ("lenient", 3)
    assert "a=b" not in str(line)


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999"])
async def test_no_limit_is_passed_by_a_number_that_is_none(client: AsyncClient, number: str):
    for name in ("typed", "untyped", "lenient"):
        answer = await post(client, name, f'{{"amount": {number}}}'.encode())
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid-json")


async def test_money_keeps_its_digits(client: AsyncClient):
    assert (await post(client, "price", b'{"net": 99999999999999999.99}')).json() == "99999999999999999.99"


async def test_handshakes_of_senders_succeed(client: AsyncClient):
    """Microsoft Graph's and SharePoint's, that of CloudEvents, and Trello's."""
    token = await client.post("/triggers/hook?validationToken=abc%20def")
    assert (token.content, token.headers["content-type"]) == (b"abc def", "text/plain")
    asked = await client.options("/triggers/hook", headers={"WebHook-Request-Origin": "eventgrid.azure.net"})
    assert (asked.status_code, asked.headers["webhook-allowed-origin"]) == (200, "eventgrid.azure.net")
    head = await client.head("/triggers/hook?validationToken=abc")
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", "3")
    assert (await client.head("/triggers/bare")).status_code == 405


BOM = b"\xef\xbb\xbf"


@pytest.mark.parametrize(
    ("body", "content_type"),
    [(b'{"a": 1.50}', "application/json"), (b'{"a": "\\u00fc"}', None), (BOM + b"[1]", "text/plain"), (b"a=b", "x/y")],
)
async def test_a_signed_delivery_is_resubmitted_as_it_came(client: AsyncClient, body: bytes, content_type: str | None):
    mac = "sha256=" + hmac.new(b"k", body, hashlib.sha256).hexdigest()
    headers = {"X-GitHub-Event": "issues", "X-Hub-Signature-256": mac}
    headers |= {"Content-Type": content_type} if content_type else {}
    first = await client.post("/triggers/github", content=body, headers=headers)
    assert (first.json()["event"], first.json()["signed"]) == ("issues", True)
    again = await client.post(f"/runs/{first.headers['x-run-id']}/resubmit")
    assert (again.status_code, again.json()["outputs"]) == (201, first.json())
    third = await client.post(f"/runs/{again.json()['id']}/resubmit")
    assert (third.status_code, third.json()["outputs"]) == (201, first.json())


@pytest.mark.parametrize("header", ["Authorization", "Cookie", "X-Gitlab-Token"])
async def test_a_delivery_whose_credential_is_not_recorded_is_not_resubmitted(client: AsyncClient, header: str):
    first = await client.post("/triggers/github", headers={header: "hunter2"})
    run = f"/runs/{first.headers['x-run-id']}"
    again = await client.post(f"{run}/resubmit")
    assert (again.status_code, again.json()["code"]) == (409, "cannot-resubmit")
    assert "credentials" in again.json()["detail"]
    assert "hunter2" not in (await client.get(run)).text


async def test_headers_stay_out_of_records_where_bodies_do(client: AsyncClient, tmp_path: Path):
    for name, marker in (("basic", "hunter2"), ("github", "found")):
        await client.post(f"/triggers/{name}", headers={"X-Marker": marker})
    with closing(sqlite3.connect(tmp_path / ".journal.db")) as database:
        kept = dict(database.execute("SELECT workflow, request_headers FROM runs"))
    assert kept["basic"] is None
    assert ["x-marker", "found"] in json.loads(kept["github"])
