"""`GET /approvals` and `POST /runs/{id}/approvals/{name}`: who decides about what, once."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, update
from structlog.testing import capture_logs

from postern.access import (
    Access,
    AccessFault,
    Caller,
    Policy,
    Refused,
    SpecificUsers,
    TenantUsers,
    bind,
    specific_users,
    tenant_users,
)
from postern.access.written import access_of, written
from postern.api.access import Standing
from postern.api.approval_actions import MOST_EXAMINED, check_approver, cursor_place, cursor_text, may_decide
from postern.errors import Problem
from postern.http_client import Response
from postern.journal.approvals import Approval
from postern.journal.audit_event import FIELDS, Kind
from postern.journal.durable_runs import NODE
from postern.journal.durable_tables import approvals, durable_runs
from postern.local_tenant import LocalTenant
from tests.api.installations import ADAS_RUN, ANONYMOUS_RUN, LISAS_RUN, UNKNOWN, RunApi, open_run_api
from tests.api.records import ADA, HERE, LISA, OURS
from tests.journal.engines import add
from tests.journal.recorded import NOON
from tests.journal.test_reads_of_durable_runs import approval_row, durable_row
from tests.table import table

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

PEOPLE = replace(tenant_users(), apps=False)
BY_LISA = replace(specific_users(LISA), apps=False)


@pytest.fixture
async def run_api(tmp_path: Path, local_tenant: LocalTenant, own_modules: None) -> AsyncIterator[RunApi]:
    """The API with Ada's durable run, which waits for a decision of Lisa's."""
    async with open_run_api(tmp_path, local_tenant) as run_api:
        run_api.change(ADAS_RUN, state="Waiting", ended_at=None, node=NODE)
        waits = {"reason": "approval", "waits_for": "manager"}
        add(run_api.engine, durable_runs, durable_row(ADAS_RUN, "waiting", **waits))
        add(run_api.engine, approvals, asked(5))
        yield run_api


def asked(number: int, who: TenantUsers = BY_LISA, name: str = "manager", **more: Any) -> dict[str, Any]:
    row = approval_row(ADAS_RUN, number, name, who=written(who), barred=json.dumps([ADA]), since=NOON)
    return row | {"data": '{"amount": 7}', "until": NOON + 100} | more


async def decide(run_api: RunApi, who: str, body: Any = None, run: str = ADAS_RUN, name: str = "manager") -> Response:
    sent = {"approved": True, "comment": "fine"} if body is None else body
    return await run_api.ask("POST", f"/runs/{run}/approvals/{name}", who, sent)


def change(run_api: RunApi, **values: Any) -> None:
    with run_api.engine.begin() as connection:
        connection.execute(update(approvals).values(**values))


def row(run_api: RunApi) -> Any:
    with run_api.engine.connect() as connection:
        return connection.execute(select(approvals).where(approvals.c.number == 5)).one()


async def test_the_decision_of_an_approver_stands_and_wakes_the_run(run_api: RunApi):
    with capture_logs() as logs:
        answer = await decide(run_api, "lisa", {"approved": False, "comment": "too much\n\u202emarker"})
    assert answer.status_code == 200
    found = answer.json()
    assert (found["run_id"], found["name"], found["state"]) == (ADAS_RUN, "manager", "rejected")
    assert (found["comment"], found["decided_by"]["object_id"]) == ("too much\n\\u202emarker", LISA)
    assert row(run_api).state == "rejected"
    assert run_api.came == [ADAS_RUN]
    (event,) = run_api.audit.take()
    assert set(event.fields) == set(FIELDS[Kind.APPROVAL_DECIDED])
    assert (event.kind, event.fields["decision"]) == (Kind.APPROVAL_DECIDED, "rejected")
    assert logs[-1]["event"] == "approval-decided"
    assert "marker" not in f"{logs}{event}"
    again = await decide(run_api, "lisa")
    assert (again.status_code, again.json()["code"], again.json()["state"]) == (409, "approval-decided", "rejected")
    assert row(run_api).state == "rejected"


async def test_a_decision_that_says_which_one_it_is_of_decides_no_other_one_of_the_same_name(run_api: RunApi):
    listed = (await run_api.ask("GET", "/approvals", "lisa")).json()["approvals"][0]["since"]
    change(run_api, since=NOON + 50)  # the run has gone on, and asks again
    answer = await decide(run_api, "lisa", {"approved": True, "since": listed})
    assert (answer.status_code, answer.json()["code"], row(run_api).state) == (409, "approval-decided", "waiting")
    assert (await decide(run_api, "lisa", {"approved": True, "since": 7})).status_code == 400
    listed = (await run_api.ask("GET", "/approvals", "lisa")).json()["approvals"][0]["since"]
    assert (await decide(run_api, "lisa", {"approved": True, "since": listed})).status_code == 200


async def test_a_secret_in_a_comment_is_not_kept(run_api: RunApi):
    token = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJsaXNhIn0.c2lnbmF0dXJlLXNpZ25hdHVyZQ"
    await decide(run_api, "lisa", {"approved": True, "comment": f"with {token}"})
    assert token not in row(run_api).comment


MAY_DECIDE = """
                  | lisa decides | people decide | no approval | not durable | no run
                  | 401          | 401           | 401         | 401         | 401
ada               | 401          | 403           | 404         | 409         | 404
lisa              | 200          | 200           | 404         | 409         | 404
gil               | 401          | 200           | 404         | 409         | 404
operator          | 401          | 401           | 404         | 409         | 404
backup-job        | 404          | 404           | 404         | 409         | 404
expired           | 401          | 401           | 401         | 401         | 401
ada elsewhere     | 401          | 401           | 401         | 401         | 401
garbage           | 401          | 401           | 401         | 401         | 401
"""
"""Rows are tokens, columns are approvals of Ada's run, who is barred. Gil is an operator, and so is an application:
they see the run, so they are told what is wrong. An application never decides."""


async def test_who_may_decide_about_what(run_api: RunApi):
    add(run_api.engine, approvals, asked(6, PEOPLE, "people"))
    paths = [(ADAS_RUN, "manager"), (ADAS_RUN, "people"), (ADAS_RUN, "other"), (ANONYMOUS_RUN, "other"), (UNKNOWN, "x")]
    for line in MAY_DECIDE.strip("\n").splitlines()[1:]:
        who, *expected = (part.strip() for part in line.split("|"))
        change(run_api, state="waiting")
        found = [str((await decide(run_api, who, run=run, name=name)).status_code) for run, name in paths]
        assert found == expected, who


async def test_what_is_not_the_callers_looks_like_nothing_at_all(run_api: RunApi):
    add(run_api.engine, approvals, asked(6, name="finance"))
    named = ((ADAS_RUN, "manager"), (ADAS_RUN, "other"), (UNKNOWN, "manager"), (LISAS_RUN, "manager"))
    answers = [await decide(run_api, "backup-job", run=run, name=name) for run, name in named]
    assert len({str(answer.json() | {"request_id": ""}) for answer in answers}) == 1


@pytest.mark.parametrize(
    ("values", "status", "code"),
    [
        ({"until": NOON + 60}, 409, "approval-decided"),
        ({"until": None}, 200, None),
        ({"state": "timed-out"}, 409, "approval-decided"),
        ({"state": "approved"}, 409, "approval-decided"),
        ({"state": "ended"}, 409, "run-ended"),
        ({"number": -1}, 404, "unknown-approval"),
        ({"barred": json.dumps([ADA, LISA])}, 403, "self-approval"),
        ({"who": written(specific_users("nobody"))}, 404, "unknown-approval"),
        ({"who": written(replace(specific_users(LISA), clients=("11111111-1111-1111-1111-111111111111",)))}, 404, None),
    ],
)
async def test_the_approval_decides(run_api: RunApi, values: dict[str, Any], status: int, code: str | None):
    change(run_api, **values)
    answer = await decide(run_api, "lisa")
    assert answer.status_code == status
    assert code is None or answer.json()["code"] == code


async def test_who_resumed_the_run_meanwhile_is_barred(run_api: RunApi):
    with run_api.engine.begin() as connection:
        connection.execute(update(durable_runs).values(resumed_by=json.dumps([[HERE, LISA]])))
    assert (await decide(run_api, "lisa")).json()["code"] == "self-approval"
    assert row(run_api).state == "waiting"


@pytest.mark.parametrize(
    ("values", "code"), [({"node": "here"}, "run-not-durable"), ({"state": "Succeeded", "ended_at": 1.0}, "run-ended")]
)
async def test_who_sees_the_run_reads_why_it_waits_for_no_decision(run_api: RunApi, values: dict[str, Any], code: str):
    run_api.change(ADAS_RUN, **values)
    with run_api.engine.begin() as connection:
        connection.execute(update(durable_runs).values(phase="ended"))
    for who, expected in (("ada", code), ("lisa", "unknown-approval")):
        assert (await decide(run_api, who, name="other")).json()["code"] == expected


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"approved": "true"},
        {"approved": 1},
        {"approved": None, "comment": ""},
        {"approved": True, "comment": 7},
        {"approved": True, "comment": "x" * 1001},
        {"approved": True, "who": "lisa"},
    ],
)
async def test_what_is_no_decision_decides_nothing(run_api: RunApi, body: Any):
    answer = await decide(run_api, "lisa", body)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-body")
    assert row(run_api).state == "waiting"


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
async def test_a_link_that_is_opened_decides_nothing(run_api: RunApi, method: str):
    answer = await run_api.ask(method, f"/runs/{ADAS_RUN}/approvals/manager?approved=true", "lisa")
    assert answer.status_code == 405
    assert (
        await run_api.ask("POST", f"/runs/{ADAS_RUN}/approvals/manager?approved=true", "lisa", {})
    ).status_code == 400
    assert row(run_api).state == "waiting"


async def test_the_list_has_what_waits_for_its_reader_and_no_other_part_of_the_run(run_api: RunApi):
    add(run_api.engine, approvals, asked(6, PEOPLE, "people", since=NOON + 1, until=None, elsewhere=1))
    add(run_api.engine, approvals, asked(7, state="approved"), asked(8, until=NOON + 60))
    found = (await run_api.get("/approvals", "lisa")).json()
    assert found == {
        "approvals": [
            {
                "run_id": ADAS_RUN,
                "name": "manager",
                "workflow": "hello",
                "data": {"amount": 7},
                "data_missing": False,
                "since": "2026-01-01T12:00:00.000Z",
                "until": "2026-01-01T12:01:40.000Z",
                "begun_elsewhere": False,
            },
            {
                "run_id": ADAS_RUN,
                "name": "people",
                "workflow": "hello",
                "data": {"amount": 7},
                "data_missing": False,
                "since": "2026-01-01T12:00:01.000Z",
                "until": None,
                "begun_elsewhere": True,
            },
        ],
        "next": None,
    }
    names = {who: [each["name"] for each in (await run_api.get("/approvals", who)).json()["approvals"]] for who in WHO}
    assert names == {"ada": [], "gil": ["people"], "backup-job": [], "operator": []}
    for who in ("", "expired", "ada elsewhere", "garbage"):
        assert (await run_api.get("/approvals", who)).status_code == 401


WHO = ("ada", "gil", "backup-job", "operator")


async def test_pages_of_the_list_follow_one_another_whatever_is_open_beside(run_api: RunApi):
    others = replace(specific_users(ADA), apps=False)
    add(run_api.engine, approvals, *(asked(100 + n, others, since=NOON - 1 + n / 1e4) for n in range(MOST_EXAMINED)))
    add(run_api.engine, approvals, *(asked(5000 + n, name=f"n{n}", since=NOON + 2) for n in range(4)))
    names, cursor, pages = [], "", 0
    while cursor is not None:
        answer = (await run_api.get(f"/approvals?limit=2{cursor and '&cursor=' + cursor}", "lisa")).json()
        names += [each["name"] for each in answer["approvals"]]
        assert len(answer["approvals"]) <= 2
        cursor, pages = answer["next"], pages + 1
    assert names == ["manager", "n0", "n1", "n2", "n3"]
    assert pages <= 5


@pytest.mark.parametrize("query", ["cursor=x", "limit=0", "state=waiting"])
async def test_a_bad_query_of_the_list_is_a_problem(run_api: RunApi, query: str):
    assert (await run_api.get(f"/approvals?{query}", "lisa")).json()["code"] == "bad-filter"


async def test_data_that_does_not_open_is_shown_as_missing(run_api: RunApi):
    change(run_api, data="{")
    answer = await run_api.get("/approvals", "lisa")
    assert (answer.json()["approvals"][0]["data"], answer.json()["approvals"][0]["data_missing"]) == (None, True)


async def test_the_record_of_the_run_says_who_decided_with_which_comment(run_api: RunApi):
    await decide(run_api, "lisa")
    for who, by, comment in (("ada", LISA, "fine"), ("operator", LISA, "fine")):
        (approval,) = (await run_api.get(f"/runs/{ADAS_RUN}", who)).json()["approvals"]
        assert (approval["name"], approval["state"]) == ("manager", "approved")
        assert (approval["decided_by"]["object_id"], approval["comment"]) == (by, comment)


def bound(access: Access) -> Policy:
    return bind(access, people={}, tenants=[HERE], audiences=[OURS])


PERSON = Caller("user", LISA, HERE, "c", OURS)
ASKED = Approval("1", 1, "n", "w", "", frozenset({ADA}), False, 0.0, None)
LISTED = replace(specific_users(LISA), apps=False)


@table(
    ("access", "caller", "what", "error"),
    [
        (LISTED, PERSON, Standing.NONE, None),
        (LISTED, replace(PERSON, object_id=ADA), Standing.NONE, "unknown-approval"),
        (LISTED, replace(PERSON, object_id=ADA), Standing.OWNER, "listed"),
        (LISTED, replace(PERSON, kind="application"), Standing.NONE, "unknown-approval"),
        (LISTED, replace(PERSON, kind="application"), Standing.OPERATOR, "people-only"),
        (specific_users(LISA), replace(PERSON, kind="application"), Standing.OPERATOR, "unknown-approval"),
        (specific_users(LISA), replace(PERSON, kind="finding"), Standing.OPERATOR, "unknown-approval"),
        (LISTED, replace(PERSON, tenant_id="other"), Standing.NONE, "unknown-approval"),
        (LISTED, replace(PERSON, audience="api://other"), Standing.NONE, "unknown-approval"),
        (PEOPLE, replace(PERSON, object_id=ADA), Standing.NONE, "self-approval"),
        (PEOPLE, replace(PERSON, object_id=ADA), Standing.OPERATOR, "self-approval"),
        (None, PERSON, Standing.OPERATOR, "unknown-approval"),
    ],
)
def test_the_decision_about_who_decides(access: TenantUsers | None, caller: Caller, what: Standing, error: str | None):
    policy = None if access is None else bound(access)
    found = None
    try:
        check_approver(policy, ASKED, caller, what)
    except Refused as refused:
        found = refused.failed.name
    except Problem as shown:
        found = shown.code
    assert found == error
    assert may_decide(policy, ASKED, caller) == (error is None)


def test_who_has_only_to_sign_in_again_is_told_so():
    policy = bind(
        replace(LISTED, auth_context="strong"),
        people={},
        tenants=[HERE],
        audiences=[OURS],
        auth_contexts={"strong": "c1"},
    )
    assert may_decide(policy, ASKED, PERSON)
    with pytest.raises(Refused) as refused:
        check_approver(policy, ASKED, replace(PERSON, capabilities=frozenset({"cp1"})), Standing.NONE)
    assert "acrs" in refused.value.claims


GUIDS = st.lists(st.uuids().map(str), max_size=3)


@given(
    st.builds(
        lambda people, clients, guests, tenants: specific_users(
            *(people or ["lisa"]), clients=clients or None, guests=guests, tenants=tenants or None
        ),
        st.lists(st.sampled_from(["lisa", "ada"]), max_size=2),
        GUIDS,
        st.booleans(),
        GUIDS,
    )
    | st.just(tenant_users())
)
def test_an_access_mode_is_read_as_it_was_written(access: SpecificUsers):
    assert access_of(written(access)) == access


@given(st.floats(0, 1e11), st.uuids().map(str), st.integers(0, 2**31))
def test_a_place_is_read_as_it_was_written(since: float, run_id: str, number: int):
    assert cursor_place(cursor_text((since, run_id, number))) == (since, run_id, number)


def test_a_name_that_is_gone_admits_nobody():
    with pytest.raises(AccessFault):
        bound(specific_users("gone"))
