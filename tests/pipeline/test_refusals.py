"""The records of the pipeline's refusals, in a real application with a real tenant."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import structlog
from cryptography.hazmat.primitives.asymmetric import rsa
from httpx2 import ASGITransport
from sqlalchemy import Connection, create_engine, select
from structlog.testing import capture_logs

from postern.access import Guarded, checks
from postern.assembly import create_identity, load_catalog, tenants
from postern.assembly.refusals import examiner
from postern.authoring.context import Services
from postern.http_client import AsyncClient, http_client
from postern.identity import Identity, fetch_keys
from postern.journal import schema
from postern.journal.refusal import as_text
from postern.journal.refusals import Refusals, Row
from postern.local_tenant import LocalTenant
from postern.runs.runner import Runner
from postern.triggers.pipeline import Pipeline
from postern.triggers.secure_transport import Identification
from tests.databases import put_sqlite
from tests.pipeline.pipelines import settings_for
from tests.runs.records import Records

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("own_modules"), pytest.mark.slow]

JSON = {"content-type": "application/json"}
WORKFLOWS = """
from postern import anonymous, specific_users, tenant_users, workflow

@workflow(access=specific_users("lisa"))
async def payroll(ctx): ...

@workflow(access=tenant_users(), max_body_bytes=10)
async def small(ctx, body: dict[str, int]): ...

@workflow(access=anonymous())
async def hello(ctx, body: dict[str, int]): ...
"""


class World:
    """A pipeline whose refusals are recorded in a database of its own."""

    def __init__(
        self, client: AsyncClient, pipeline: Pipeline, identity: Identity, refusals: Refusals, engine: Any
    ) -> None:
        self.client = client
        self.pipeline = pipeline
        self.identity = identity
        self.refusals = refusals
        self.engine = engine

    async def post(self, path: str, token: str | None = None, **more: Any) -> dict[str, Any]:
        """POST, and the problem that came back."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        answer = await self.client.request(
            more.pop("method", "POST"), path, headers=headers | more.pop("headers", {}), **more
        )
        document: dict[str, Any] = answer.json()
        return document

    async def row(self, **more: Any) -> Row:
        """The only row, when its token has been looked at."""
        async with _examiners(self.refusals):
            await self.refusals.flush()
        (found,) = self.rows()
        return found

    def rows(self) -> list[Row]:
        with self.engine.connect() as connection:
            found = connection.execute(select(schema.refusals).order_by(schema.refusals.c.id)).mappings()
            return [{**each, "checks": json.loads(each["checks"]), "claimed": _read(each["claimed"])} for each in found]


def _read(text: str | None) -> Any:
    return None if text is None else json.loads(text)


@asynccontextmanager
async def _examiners(refusals: Refusals) -> AsyncIterator[None]:
    task = asyncio.create_task(refusals.run())
    async with asyncio.timeout(10):
        while not all(window.examined for window in refusals._windows):
            await asyncio.sleep(0.001)
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


@pytest.fixture
async def world(tmp_path: Path, local_tenant: LocalTenant) -> AsyncIterator[World]:
    folder = tmp_path / "workflows"
    folder.mkdir()
    (folder / "pipelines.py").write_text(WORKFLOWS, encoding="utf-8")
    settings = settings_for(local_tenant, folder)
    engine = create_engine(put_sqlite(tmp_path / "postern.db"))
    catalog = load_catalog(settings)
    assert not catalog.snapshot.faults
    log = structlog.get_logger("test")

    async def write(operation: Callable[[Connection], int]) -> int:
        with engine.begin() as connection:
            return operation(connection)

    async with http_client(settings.ca_bundle) as out:
        identity = create_identity(settings, lambda of: partial(fetch_keys, out, of))
        at = time.time()
        identity._now = lambda: at  # the texts of checks have the time in them: one for all of them
        identity.serve(tenants(settings, catalog.snapshot))
        identification = Identification(identity.recall, identity.identify)
        refusals = Refusals(write, examiner(identity), log)
        runner = Runner(Services(None, None, log), Records(), lambda _: None)  # type: ignore[arg-type]
        pipeline = Pipeline(
            triggers=lambda: catalog.snapshot.triggers,
            recall=identification.recall,
            identify=identification.identify,
            start=runner.start,
            refused=refusals.take,
            max_body_bytes=1000,
            log=log,
            count=lambda *_: None,
        )
        async with http_client(base_url="http://postern.test", transport=ASGITransport(pipeline)) as client:
            yield World(client, pipeline, identity, refusals, engine)
    runner.close()
    engine.dispose()


async def explained(world: World, workflow: str, token: str) -> list[dict[str, Any]]:
    """What `postern explain TOKEN` would show."""
    made, caller = await world.identity.examine(token)
    policy = world.pipeline.triggers()[workflow].policy
    assert isinstance(policy, Guarded)
    made += checks(policy, caller) if caller else []
    return [
        {"name": each.name, "passed": each.passed, "expected": as_text(each.expected), "found": as_text(each.found)}
        for each in made
    ]


def tokens(local: LocalTenant) -> dict[str, tuple[str, str, bool]]:
    """Refused tokens: the check that fails first, and whether their bearer is verified."""
    foreign = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    header, payload, _ = local.token("lisa").split(".")
    return {
        "not on the list": (local.token("ada"), "listed", True),
        "an application": (local.token("backup-job"), "listed", True),
        "expired": (local.token("lisa", expired=True), "expiry", True),
        "for another audience": (local.token("lisa", wrong_audience=True), "audience", True),
        "of another tenant": (local.token("lisa", other_tenant=True), "known-tenant", False),
        "by another key": (local.mint(local.claims("lisa"), key=foreign), "signature", False),
        "unknown kid": (local.mint(local.claims("lisa"), {"kid": "unknown"}), "key-published", False),
        "without signature": (f"{header}.{payload}.", "signature", False),
        "not a token": ("not-a-token", "form", False),
    }


KINDS = (
    "not on the list",
    "an application",
    "expired",
    "for another audience",
    "of another tenant",
    "by another key",
    "unknown kid",
    "without signature",
    "not a token",
)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_rejected_token_leaves_every_check_and_whom_it_names(
    world: World, local_tenant: LocalTenant, kind: str
):
    token, reason, verified = tokens(local_tenant)[kind]
    problem = await world.post("/triggers/payroll", token)
    row = await world.row()
    assert (problem["status"], problem["request_id"]) == (401, row["id"])
    assert (row["reason"], row["code"], row["status"]) == (reason, "unauthenticated", 401)
    assert (row["workflow"], row["client_address"], row["count"]) == ("payroll", "127.0.0.1", 1)
    assert row["checks"] == await explained(world, "payroll", token)
    if kind == "not a token":
        assert row["claimed"] is None
    else:
        assert row["claimed"]["verified"] is verified
        who = "ada" if kind == "not on the list" else "backup-job" if kind == "an application" else "lisa"
        assert row["claimed"]["object_id"] == local_tenant.claims(who)["oid"]


async def test_without_a_token_the_checks_are_those_of_the_refusal(world: World):
    await world.post("/triggers/payroll")
    row = await world.row()
    assert (row["reason"], row["claimed"]) == ("credentials", None)
    assert row["checks"] == [
        {
            "name": "credentials",
            "passed": False,
            "expected": "Authorization: Bearer",
            "found": "no Authorization field",
        }
    ]


@pytest.mark.parametrize(
    ("code", "status", "workflow", "request_"),
    [
        ("unknown-trigger", 404, "", {"path": "/triggers/a-secret-that-strayed/here"}),
        ("unknown-trigger", 404, "hello", {"path": "/triggers/hello/a-secret-that-strayed"}),
        ("method-not-allowed", 405, "payroll", {"path": "/triggers/payroll", "method": "GET"}),
        ("invalid-json", 400, "hello", {"path": "/triggers/hello", "content": b"{", "headers": JSON}),
        ("unsupported-media-type", 415, "hello", {"path": "/triggers/hello", "content": b"a-secret-that-strayed"}),
        ("body-too-large", 413, "hello", {"path": "/triggers/hello", "content": b"x" * 2000}),
    ],
)  # fmt: skip
async def test_other_refusals_are_on_record_by_their_code_and_their_token_is_not_looked_at(
    world: World, local_tenant: LocalTenant, code: str, status: int, workflow: str, request_: dict[str, Any]
):
    with capture_logs() as lines:
        await world.post(token=local_tenant.token("lisa"), **request_)
    row = await world.row()
    assert (row["reason"], row["code"], row["status"], row["workflow"]) == (code, code, status, workflow)
    assert (row["claimed"], row["checks"]) == (None, [])
    assert "strayed" not in str(row) + str(lines)


async def test_a_caller_who_is_rejected_after_admission_is_verified(world: World, local_tenant: LocalTenant):
    await world.post("/triggers/small", local_tenant.token("ada"), content=b"x" * 11)
    row = await world.row()
    assert row["reason"] == "body-too-large"
    assert row["claimed"]["verified"] is True
    assert all(each["passed"] for each in row["checks"])


async def test_the_first_of_a_window_has_its_line_and_the_rest_have_one_together(
    world: World, local_tenant: LocalTenant
):
    with capture_logs() as lines:
        ids = [(await world.post("/triggers/payroll", local_tenant.token("ada")))["request_id"] for _ in range(20)]
        row = await world.row()
        await world.refusals.aclose()
    assert row["request_ids"].split() == ids
    lines_ = [
        (line["event"], line.get("request_id"), line.get("count")) for line in lines if "refused" in line["event"]
    ]
    assert lines_ == [("request-refused", ids[0], None), ("requests-refused", None, 19)]


async def test_nothing_of_any_token_is_in_a_row_or_a_line(world: World, local_tenant: LocalTenant):
    given = [token for token, _, _ in tokens(local_tenant).values() if "." in token]
    with capture_logs() as lines:
        for token in given:
            for path in ("/triggers/payroll", "/triggers/nothing", f"/triggers/payroll?access_token={token}"):
                await world.post(path, token)
            await world.post(f"/triggers/{token}")
        async with _examiners(world.refusals):
            await world.refusals.aclose()
    everything = str(world.rows()) + str(lines)
    assert len(world.rows()) == 7
    for token in given:
        for part in token.split("."):
            assert not part or part not in everything


async def test_only_those_who_are_not_let_in_wait_in_a_flood(
    world: World, local_tenant: LocalTenant, monkeypatch: pytest.MonkeyPatch
):
    examined: list[str] = []

    def wait(address: str, now: float) -> float:
        examined.append(address)
        return 0.0

    monkeypatch.setattr(world.pipeline.throttle, "wait", wait)
    ada = local_tenant.token("ada")
    codes = [
        (await world.post("/triggers/small", ada, content=b"x" * 20, headers=JSON))["code"],
        (await world.post("/triggers/small", ada, content=b"{", headers=JSON))["code"],
        (await world.post("/triggers/hello", content=b"{", headers=JSON))["code"],
    ]
    assert "unauthenticated" not in codes
    assert not examined
    for path in ("/triggers/payroll", "/triggers/nothing"):
        await world.post(path, ada)
    assert len(examined) == 2
