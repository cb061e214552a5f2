"""Who cancelled, resubmitted or read a run: on the record, for those who may see it, and in the log."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from postern.local_tenant import LocalTenant
from tests.api.installations import ADAS_RUN, ANONYMOUS_RUN, LISAS_RUN, RUNNING, RunApi, open_run_api
from tests.api.records import ADA, LISA
from tests.journal.recorded import id_number

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
NEW = id_number(50)
ACTOR = {"kind": "user", "object_id": ADA, "client_id": "c", "name": "Ada"}


@pytest.fixture
async def run_api(tmp_path: Path, local_tenant: LocalTenant, own_modules: None) -> AsyncIterator[RunApi]:
    """The API on a journal of its own."""
    async with open_run_api(tmp_path, local_tenant) as run_api:
        yield run_api


def lines(logs: list[Any], *events: str) -> list[tuple[str, ...]]:
    """Event, run, caller and object id of the lines of these events."""
    return [
        (line["event"], line["run_id"], line["caller"], line["object_id"]) for line in logs if line["event"] in events
    ]


@pytest.mark.parametrize("here", [True, False])
@pytest.mark.parametrize("who", ["ada", "operator"])
async def test_who_cancels_a_run_is_on_its_record_and_in_the_log(run_api: RunApi, who: str, here: bool):
    """Shaped as `caller`. The first who asks for it stays."""
    run_api.cancels_here = here
    expected = run_api.local.claims("ada" if who == "ada" else "nightly-report")
    with capture_logs() as logs:
        answer = await run_api.post(f"/runs/{RUNNING}/cancel", who)
        if not here:
            await run_api.post(f"/runs/{RUNNING}/cancel", "listed operator")
    found = answer.json()["cancelled_by"]
    assert found.keys() == answer.json()["caller"].keys()
    assert (found["object_id"], found["client_id"]) == (expected["oid"], expected["azp"])
    assert found["kind"] == ("user" if who == "ada" else "application")
    assert (await run_api.get(f"/runs/{RUNNING}", "ada")).json()["cancelled_by"] == found
    first = ("run-cancel-requested", RUNNING, found["kind"], found["object_id"])
    assert lines(logs, "run-cancel-requested")[0] == first


@pytest.mark.parametrize(
    ("run_id", "who", "kind", "object_id"),
    [
        (ADAS_RUN, "ada", "user", ADA),
        (LISAS_RUN, "operator", "application", None),
        (ANONYMOUS_RUN, "", "anonymous", ""),
        (ANONYMOUS_RUN, "lisa", "user", LISA),
        (ANONYMOUS_RUN, "operator", "application", None),
        (ANONYMOUS_RUN, "expired", "anonymous", ""),
        (ANONYMOUS_RUN, "garbage", "anonymous", ""),
    ],
)
async def test_who_resubmits_a_run_is_on_the_new_ones_record_and_in_the_log(
    run_api: RunApi, run_id: str, who: str, kind: str, object_id: str | None
):
    """By a valid token, also where the run is visible without one. The id of an anonymous caller's run is not logged:
    it gives access."""
    object_id = run_api.local.applications["nightly-report"].object_id if object_id is None else object_id
    with capture_logs() as logs:
        answer = await run_api.post(f"/runs/{run_id}/resubmit", who)
    assert answer.status_code == 201
    found = (await run_api.get(answer.headers["location"], "operator")).json()["resubmitted_by"]
    assert (found["kind"], found["object_id"] or "") == (kind, object_id)
    logged = "" if run_id == ANONYMOUS_RUN else run_id
    assert lines(logs, "run-resubmitted") == [("run-resubmitted", logged, kind, object_id)]
    assert ANONYMOUS_RUN not in str(logs)


async def test_an_operator_who_acts_on_an_anonymous_run_sees_that_in_the_reply(run_api: RunApi):
    run_api.change(ANONYMOUS_RUN, state="Running", ended_at=None)
    mine = run_api.local.applications["nightly-report"].object_id
    answer = await run_api.post(f"/runs/{ANONYMOUS_RUN}/cancel", "operator")
    assert (answer.status_code, answer.json()["cancelled_by"]["object_id"]) == (202, mine)
    assert (await run_api.post(f"/runs/{ANONYMOUS_RUN}/cancel")).json()["cancelled_by"] is None


SEEN = [
    # run, reader, whether the two are seen
    (ADAS_RUN, "ada", True),
    (ADAS_RUN, "operator", True),
    (ADAS_RUN, "listed operator", True),
    (ANONYMOUS_RUN, "", False),
    (ANONYMOUS_RUN, "lisa", False),
    (ANONYMOUS_RUN, "garbage", False),
    (ANONYMOUS_RUN, "operator at other", False),
    (ANONYMOUS_RUN, "operator", True),
]


@pytest.mark.parametrize(("run_id", "who", "seen"), SEEN)
async def test_only_the_owner_and_operators_see_who_did_it(run_api: RunApi, run_id: str, who: str, seen: bool):
    """An anonymous caller's run is readable by any client that knows its id, and who an operator is, is not."""
    run_api.change(run_id, state="Cancelled", cancelled_by=json.dumps(ACTOR), resubmitted_by=json.dumps(ACTOR))
    record = (await run_api.get(f"/runs/{run_id}", who)).json()
    assert [record[name] for name in ("cancelled_by", "resubmitted_by")] == [ACTOR if seen else None] * 2
    listed = (await run_api.get("/runs", who)).json() if who in ("ada", "operator") else {"runs": [record]}
    assert [run["cancelled_by"] for run in listed["runs"] if run["id"] == run_id] == [ACTOR if seen else None]


@pytest.mark.parametrize(("state", "shown"), [("Cancelled", True), ("Running", True), ("Succeeded", False)])
async def test_a_run_that_ended_in_another_way_was_cancelled_by_no_one(run_api: RunApi, state: str, shown: bool):
    run_api.change(ADAS_RUN, state=state, cancelled_by=json.dumps(ACTOR))
    assert (await run_api.get(f"/runs/{ADAS_RUN}", "ada")).json()["cancelled_by"] == (ACTOR if shown else None)


@pytest.mark.parametrize("page", ["", "/tree", "/result"])
@pytest.mark.parametrize(
    ("run_id", "who", "logged"),
    [
        (ADAS_RUN, "ada", False),
        (ADAS_RUN, "operator", True),
        (LISAS_RUN, "listed operator", True),
        (ANONYMOUS_RUN, "operator", True),
        (ANONYMOUS_RUN, "", False),
        (ANONYMOUS_RUN, "lisa", False),
    ],
)
async def test_an_operators_view_of_anothers_run_is_a_line_in_the_log_and_no_write(
    run_api: RunApi, page: str, run_id: str, who: str, logged: bool
):
    before = run_api.rows()
    with capture_logs() as logs:
        await run_api.get(f"/runs/{run_id}{page}", who)
    found = lines(logs, "run-viewed")
    assert len(found) == logged
    assert all(line[1] == ("" if run_id == ANONYMOUS_RUN else run_id) and line[3] for line in found)
    assert run_api.rows() == before


async def test_an_operators_own_run_is_no_view_of_anothers(run_api: RunApi):
    gil = run_api.local.directory.people["gil"].object_id
    run_api.change(ADAS_RUN, object_id=gil)
    with capture_logs() as logs:
        assert (await run_api.get(f"/runs/{ADAS_RUN}", "listed operator")).status_code == 200
    assert lines(logs, "run-viewed") == []
