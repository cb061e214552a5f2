"""Idempotency-Key on triggers: a request that is sent again does not run again."""

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

MODULE = """
import asyncio
from postern import Context, Problem, Reply, anonymous, workflow
RAN = []
GATE = asyncio.Event()

@workflow(access=anonymous())
async def book(ctx: Context, body=None):
    RAN.append(body)
    return Reply(201, {"number": len(RAN)}, {"Location": "/bookings/1"})

@workflow(access=anonymous())
async def fails(ctx: Context):
    RAN.append(None)
    raise Problem(409, "fully booked")

@workflow(access=anonymous(), secure_outputs=True)
async def hidden(ctx: Context):
    return "for the caller only"

@workflow(access=anonymous(), stateless=True)
async def forgets(ctx: Context):
    return "x"

@workflow(access=anonymous(), methods=["POST"])
async def waits(ctx: Context):
    RAN.append("waits")
    await GATE.wait()
    return len(RAN)

@workflow(access=anonymous(), stateless=True)
async def opens(ctx: Context):
    GATE.set()
"""


@pytest.fixture
async def client(tmp_path: Path, database_url: str) -> AsyncIterator[AsyncClient]:
    (tmp_path / "w.py").write_text(MODULE, encoding="utf-8")
    settings = load_settings({}, folder=tmp_path, defaults=defaults_for(tmp_path) | {"database_url": database_url})
    app = create_app(settings)
    assert not app.catalog.snapshot.faults
    async with (
        app.router.lifespan_context(app),
        http_client(base_url="http://postern.test", transport=ASGITransport(app)) as client,
    ):
        yield client


async def test_the_same_key_and_body_give_the_stored_reply_again(client: AsyncClient):
    keyed = {"Idempotency-Key": "order-1"}
    first = await client.post("/triggers/book", json={"a": 1}, headers=keyed)
    again = await client.post("/triggers/book", json={"a": 1}, headers=keyed)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.content == again.content == b'{"number":1}'
    assert first.headers["x-run-id"] == again.headers["x-run-id"]
    assert again.headers.get_list("x-run-id") == [first.headers["x-run-id"]]
    assert again.headers["location"] == "/bookings/1"
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    other = await client.post("/triggers/book", json={"a": 1}, headers={"Idempotency-Key": "order-2"})
    assert other.json() == {"number": 2}


async def test_a_problem_that_the_workflow_meant_is_given_again_too(client: AsyncClient):
    keyed = {"Idempotency-Key": "k"}
    first = await client.post("/triggers/fails", headers=keyed)
    again = await client.post("/triggers/fails", headers=keyed)
    assert (first.status_code, first.content) == (again.status_code, again.content)
    assert (again.status_code, again.headers["idempotent-replayed"]) == (409, "true")


async def test_the_same_key_with_another_body_is_rejected(client: AsyncClient):
    keyed = {"Idempotency-Key": "k"}
    await client.post("/triggers/book", json={"a": 1}, headers=keyed)
    answer = await client.post("/triggers/book", json={"a": 2}, headers=keyed)
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency-key-reused")
    assert (await client.post("/triggers/book", json={"a": 2})).json() == {"number": 2}


async def test_of_many_at_once_one_runs_and_the_others_have_to_wait(client: AsyncClient):
    keyed = {"Idempotency-Key": "k"}
    many = [asyncio.create_task(client.post("/triggers/waits", headers=keyed)) for _ in range(20)]
    done: set[asyncio.Task[object]] = set()
    while len(done) < 19:
        done, _ = await asyncio.wait(many, return_when=asyncio.FIRST_COMPLETED)
    await client.post("/triggers/opens")
    answers = await asyncio.gather(*many)
    codes = sorted(answer.status_code for answer in answers)
    assert codes == [200] + [409] * 19
    for answer in answers:
        if answer.status_code == 409:
            assert (answer.json()["code"], answer.headers["retry-after"]) == ("run-in-progress", "1")
    assert (await client.post("/triggers/waits", headers=keyed)).json() == 1


async def test_a_reply_that_is_kept_out_of_records_is_not_given_again_and_does_not_run_again(client: AsyncClient):
    keyed = {"Idempotency-Key": "k"}
    first = await client.post("/triggers/hidden", headers=keyed)
    again = await client.post("/triggers/hidden", headers=keyed)
    assert (again.status_code, again.json()["code"]) == (409, "reply-not-kept")
    assert again.json()["run_id"] == first.headers["x-run-id"]


@pytest.mark.parametrize("key", [b"", b"x" * 256, b"a b", "\u00e9".encode("latin-1")])
async def test_a_key_that_is_none_is_rejected_and_nothing_runs(client: AsyncClient, key: bytes):
    answer = await client.post("/triggers/book", json={}, headers={b"idempotency-key": key})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad-idempotency-key")
    assert (await client.post("/triggers/book", json={})).json() == {"number": 1}


async def test_a_workflow_that_keeps_no_records_takes_no_key(client: AsyncClient):
    answer = await client.post("/triggers/forgets", headers={"Idempotency-Key": "k"})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad-idempotency-key")
