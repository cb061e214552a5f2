"""`GET /audit`: the events of the audit log for operators, filtered and page by page, and the state of its chains."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from postern.ids import id_at
from postern.journal.audit import Checkpoint, append, record_checkpoint
from postern.journal.audit_chain import Head, packed
from postern.journal.audit_event import AuditEvent, Kind
from postern.local_tenant import LocalTenant
from tests.api.installations import RunApi, open_run_api
from tests.api.records import ADA, LISA
from tests.journal.recorded import NOON

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

NODE = id_at(NOON)


@pytest.fixture
async def run_api(tmp_path: Path, local_tenant: LocalTenant, own_modules: None) -> AsyncIterator[RunApi]:
    """The API on a journal of its own, with three events."""
    async with open_run_api(tmp_path, local_tenant) as run_api:
        events = [
            AuditEvent(Kind.SIGN_IN, NOON + 1, {"object_id": ADA, "name": "Ada Okafor"}, ADA),
            AuditEvent(Kind.RECORD_VIEWED, NOON + 2, {"object_id": LISA, "run": "r"}, LISA, "payroll"),
            AuditEvent(Kind.SECRET_READ, NOON + 3, {"secret": "pay-key", "version": "1"}),
        ]
        with run_api.engine.begin() as connection:
            append(connection, NODE, Head(), packed(events))
        yield run_api


async def numbers(run_api: RunApi, **query: Any) -> list[int]:
    answer = await run_api.get(f"/audit?{urlencode(query)}", "operator")
    assert answer.status_code == 200, answer.text
    return [event["number"] for event in answer.json()["events"]]


async def test_an_event_has_its_place_in_the_chain_and_its_fields(run_api: RunApi):
    page = (await run_api.get("/audit?kind=record-viewed", "operator")).json()
    [event] = page["events"]
    assert len(event.pop("hash")) == 64
    assert event == {
        "node": NODE,
        "number": 2,
        "at": "2026-01-01T12:00:02.000Z",
        "kind": "record-viewed",
        "subject": LISA,
        "workflow": "payroll",
        "fields": {"object_id": LISA, "run": "r"},
    }
    assert page["next"] is None


async def test_events_are_filtered(run_api: RunApi):
    assert await numbers(run_api) == [3, 2, 1]
    assert await numbers(run_api, kind="sign-in") == [1]
    assert await numbers(run_api, who=LISA.upper()) == [2]
    assert await numbers(run_api, who="okafor") == [1]
    assert await numbers(run_api, workflow="payroll") == [2]
    assert await numbers(run_api, node=NODE, since="2026-01-01T12:00:02Z") == [3, 2]
    assert await numbers(run_api, until="2026-01-01T12:00:02Z") == [2, 1]


async def test_pages_follow_each_other(run_api: RunApi):
    first = (await run_api.get("/audit?limit=2", "operator")).json()
    second = (await run_api.get(f"/audit?limit=2&cursor={first['next']}", "operator")).json()
    assert [event["number"] for event in [*first["events"], *second["events"]]] == [3, 2, 1]
    assert second["next"] is None


@pytest.mark.parametrize("query", ["kind=nothing", "node=1", "who=", "workflow=", "since=now", "cursor=x", "state=x"])
async def test_a_wrong_filter_is_named(run_api: RunApi, query: str):
    answer = await run_api.get(f"/audit?{query}", "operator")
    assert (answer.status_code, answer.json()["code"]) == (400, "bad-filter")
    assert [error["where"] for error in answer.json()["errors"]] in ([query.partition("=")[0]], ["query"])


async def test_the_state_says_where_the_chains_end_and_who_signed(run_api: RunApi):
    before = (await run_api.get("/audit/state", "operator")).json()
    [chain] = before["chains"]
    assert len(chain.pop("head")) == 64
    assert chain == {"node": NODE, "first": 1, "last": 3, "last_at": "2026-01-01T12:00:03.000Z"}
    assert (before["checkpoint"], before["more_chains"]) == (None, False)
    with run_api.engine.begin() as connection:
        record_checkpoint(connection, Checkpoint("c", NODE, 1, NOON + 5, "{}", "signature", "key-1"))
    after = (await run_api.get("/audit/state", "operator")).json()
    assert after["checkpoint"] == {"node": NODE, "at": "2026-01-01T12:00:05.000Z", "signed": True, "key_id": "key-1"}
