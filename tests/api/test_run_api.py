"""The run API over HTTP: a real journal's database, real tokens, and a catalog of real workflows."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from postern.api import run_actions
from postern.journal.run_logs import Lines, LogLine, add_lines
from postern.journal.schema import runs
from postern.local_tenant import LocalTenant
from tests.api.installations import ADAS_RUN, ANONYMOUS_RUN, LISAS_RUN, RUNNING, UNKNOWN, RunApi, open_run_api
from tests.api.records import ADA, LISA
from tests.journal.recorded import NOON, id_number

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@pytest.fixture
async def run_api(tmp_path: Path, local_tenant: LocalTenant, own_modules: None) -> AsyncIterator[RunApi]:
    """The API on a journal of its own."""
    async with open_run_api(tmp_path, local_tenant) as run_api:
        yield run_api


SEEN = """
                  | anonymous's | ada's | lisa's | unknown
                  | 200         | 404   | 404    | 404
ada               | 200         | 200   | 404    | 404
lisa              | 200         | 404   | 200    | 404
ada at other      | 200         | 200   | 404    | 404
operator          | 200         | 200   | 200    | 404
listed operator   | 200         | 200   | 200    | 404
operator at other | 200         | 200   | 404    | 404
expired           | 200         | 401   | 401    | 401
ada elsewhere     | 200         | 401   | 401    | 401
garbage           | 200         | 401   | 401    | 401
"""
"""Rows are tokens, columns are runs."""


async def test_who_sees_which_run(run_api: RunApi):
    ids = (ANONYMOUS_RUN, ADAS_RUN, LISAS_RUN, UNKNOWN)
    for line in SEEN.strip("\n").splitlines()[1:]:
        who, *expected = (part.strip() for part in line.split("|"))
        assert [str((await run_api.get(f"/runs/{run_id}", who)).status_code) for run_id in ids] == expected, who


async def test_a_run_of_another_looks_like_none_at_all(run_api: RunApi):
    for who in ("", "ada", "garbage"):
        answers = [await run_api.get(f"/runs/{run_id}", who) for run_id in (LISAS_RUN, UNKNOWN)]
        documents = [answer.json() | {"request_id": ""} for answer in answers]
        assert documents[0] == documents[1]
        assert answers[0].headers == answers[1].headers


@pytest.mark.parametrize("path", ["1", id_number(1).upper(), "019b796d-d600-4000-8000-000000000001", "..", "%2e"])
async def test_what_is_no_id_of_ours_is_no_run(run_api: RunApi, path: str):
    for page in ("", "/result"):
        assert (await run_api.get(f"/runs/{path}{page}", "operator")).status_code == 404


async def test_messages_of_errors_are_for_operators(run_api: RunApi):
    messages = [(await run_api.get(f"/runs/{ADAS_RUN}", who)).json()["error"]["message"] for who in ("ada", "operator")]
    assert messages == [None, "why"]


@pytest.mark.parametrize(
    ("who", "message"),
    [("operator", "why"), ("listed operator", "why"), *((who, None) for who in ("", "ada", "expired", "garbage"))],
)
async def test_every_page_decides_alike_who_reads_the_message_of_an_anonymous_run(
    run_api: RunApi, who: str, message: str | None
):
    """The record, its own after a cancel or resubmit, and the list."""
    shown = [(await run_api.get(f"/runs/{ANONYMOUS_RUN}", who)).json()["error"]["message"]]
    if message:
        runs_listed = (await run_api.get("/runs?caller=anonymous", who)).json()["runs"]
        shown += [run["error"]["message"] for run in runs_listed]
    run_api.cancels_here = True
    run_api.change(ANONYMOUS_RUN, state="Running")
    shown.append((await run_api.post(f"/runs/{ANONYMOUS_RUN}/cancel", who)).json()["error"]["message"])
    assert set(shown) == {message}


@pytest.mark.parametrize(
    ("who", "ids"),
    [
        ("operator", [RUNNING, LISAS_RUN, ADAS_RUN, ANONYMOUS_RUN]),
        ("listed operator", [RUNNING, LISAS_RUN, ADAS_RUN, ANONYMOUS_RUN]),
        ("ada", [RUNNING, ADAS_RUN]),
        ("ada at other", [RUNNING, ADAS_RUN]),
        ("lisa", [LISAS_RUN]),
        ("backup-job", []),
    ],
)
async def test_a_list_has_all_runs_for_operators_and_for_others_their_own(run_api: RunApi, who: str, ids: list[str]):
    answer = await run_api.get("/runs", who)
    assert [run["id"] for run in answer.json()["runs"]] == ids
    assert answer.json()["next"] is None
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")


async def test_a_list_is_filtered_and_others_stay_out_of_sight(run_api: RunApi):
    for query, who, ids in (
        ("workflow=payroll", "operator", [LISAS_RUN]),
        ("caller=anonymous&state=Failed", "operator", [ANONYMOUS_RUN]),
        (f"caller={LISA}", "ada", []),
        (f"caller={ADA}&text=ada", "ada", [RUNNING, ADAS_RUN]),
        ("since=2026-01-01T12:00:03Z&until=2026-01-01T12:00:03Z", "operator", [LISAS_RUN]),
    ):
        answer = await run_api.get(f"/runs?{query}", who)
        assert [run["id"] for run in answer.json()["runs"]] == ids, query


async def test_pages_follow_one_another_and_a_cursor_is_good_for_its_reader_and_filters_only(run_api: RunApi):
    first = (await run_api.get("/runs?limit=1", "ada")).json()
    second = (await run_api.get(f"/runs?limit=5&cursor={first['next']}", "ada")).json()
    assert [run["id"] for page in (first, second) for run in page["runs"]] == [RUNNING, ADAS_RUN]
    assert second["next"] is None
    for path, who in (("/runs?", "operator"), ("/runs?state=Failed&", "ada"), ("/refusals?", "operator")):
        answer = await run_api.get(f"{path}cursor={first['next']}", who)
        assert (answer.status_code, answer.json()["code"]) == (400, "bad-filter")
        assert [error["where"] for error in answer.json()["errors"]] == ["cursor"]


async def test_a_bad_filter_is_a_problem_that_names_it(run_api: RunApi):
    answer = await run_api.get("/runs?state=SENT&limit=SENT", "ada")
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
    assert {error["where"] for error in answer.json()["errors"]} == {"state", "limit"}
    assert "SENT" not in answer.text
    assert answer.json()["request_id"]


@pytest.mark.parametrize("page", ["/runs", "/refusals", "/workflows", "/audit", "/audit/state"])
async def test_lists_need_a_valid_token_before_anything_else_is_looked_at(run_api: RunApi, page: str):
    for who in ("", "expired", "garbage", "ada elsewhere"):
        answer = await run_api.get(f"{page}?nonsense=1", who)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
        assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("page", ["/refusals", "/workflows", "/audit", "/audit/state"])
async def test_lists_about_all_callers_are_for_operators_only(run_api: RunApi, page: str):
    for who in ("ada", "ada at other", "operator at other"):
        answer = await run_api.get(f"{page}?nonsense=1", who)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    answer = await run_api.get(f"{page}?nonsense=1", "operator")
    assert (answer.status_code, answer.json()["code"]) == (400, "bad-filter")


async def test_refusals_are_listed(run_api: RunApi):
    page = (await run_api.get(f"/refusals?request_id={id_number(2)}", "operator")).json()
    assert page == {
        "refusals": [
            {
                "id": id_number(1),
                "reason": "expiry",
                "code": "unauthenticated",
                "status": 401,
                "workflow": "payroll",
                "client_address": "192.0.2.7",
                "first_at": "2026-01-01T12:00:00.000Z",
                "last_at": "2026-01-01T12:00:01.000Z",
                "count": 2,
                "claimed": {"object_id": ADA, "verified": True},
                "checks": [{"name": "expiry", "passed": False, "expected": "later", "found": "earlier"}],
                "request_ids": [id_number(1), id_number(2)],
                "via": None,
                "via_client": None,
            }
        ],
        "next": None,
    }
    assert (await run_api.get("/refusals?reason=listed", "operator")).json() == {"refusals": [], "next": None}


async def test_workflows_are_listed_with_what_cannot_be_served(run_api: RunApi):
    document = (await run_api.get("/workflows", "operator")).json()
    assert [each["name"] for each in document["workflows"]] == ["hello", "other", "payroll"]
    hello, other, payroll = document["workflows"]
    assert (hello["description"], hello["access"], hello["url"]) == ("Say hello.", "anonymous", "/triggers/hello")
    assert (other["url"], other["methods"], other["timeout"]) == ("/triggers/other/{month}", ["GET", "POST"], 5.0)
    assert (payroll["access"], payroll["secure_outputs"]) == ("specific_users", True)
    assert [each["people"] for each in (hello, other, payroll)] == [None, None, [{"name": "lisa", "object_id": LISA}]]
    assert hello["connections"] == hello["secrets"] == {"names": [], "declared": False}
    (fault,) = document["faults"]
    assert (Path(fault["file"]).name, fault["line"], "ZeroDivisionError" in fault["cause"]) == ("faulty.py", 1, True)
    assert fault["fix"]


# Results


async def test_a_result_is_the_reply_of_the_workflow(run_api: RunApi):
    answer = await run_api.get(f"/runs/{ANONYMOUS_RUN}/result")
    assert (answer.status_code, answer.content) == (500, b'"hello"')
    assert answer.headers["x-run-id"] == ANONYMOUS_RUN
    assert (answer.headers["content-type"], answer.headers["cache-control"]) == ("application/json", "no-store")


async def test_a_result_is_waited_for_while_the_run_goes_on(run_api: RunApi):
    answer = await run_api.get(f"/runs/{RUNNING}/result", "ada")
    assert (answer.status_code, answer.headers["retry-after"]) == (202, "1")
    assert answer.json() == {"id": RUNNING, "state": "Running"}


async def test_a_reply_that_is_kept_out_of_records_is_not_given(run_api: RunApi):
    answer = await run_api.get(f"/runs/{LISAS_RUN}/result", "lisa")
    assert (answer.status_code, answer.json()["code"]) == (409, "reply-not-kept")


# Cancelling


async def test_a_run_that_is_cancelled_here_is_shown_as_it_ended(run_api: RunApi):
    run_api.cancels_here = True
    answer = await run_api.post(f"/runs/{RUNNING}/cancel", "ada")
    assert (answer.status_code, answer.json()["state"]) == (200, "Cancelled")


async def test_a_run_elsewhere_is_marked_for_the_process_that_runs_it(run_api: RunApi):
    for _ in range(2):
        answer = await run_api.post(f"/runs/{RUNNING}/cancel", "operator")
        assert (answer.status_code, answer.json()["state"]) == (202, "Running")
        assert answer.headers["location"] == f"/runs/{RUNNING}"
    with run_api.engine.connect() as connection:
        query = select(runs.c.cancel_requested_at).where(runs.c.id == RUNNING)
        assert connection.execute(query).scalar() == NOON + 60


@pytest.mark.parametrize(
    ("run_id", "who", "status", "code"),
    [
        (ADAS_RUN, "ada", 409, "run-ended"),
        (ANONYMOUS_RUN, "", 409, "run-ended"),
        (RUNNING, "lisa", 404, "unknown-run"),
        (RUNNING, "", 404, "unknown-run"),
        (RUNNING, "garbage", 401, "unauthenticated"),
        (UNKNOWN, "operator", 404, "unknown-run"),
        ("1", "operator", 404, "unknown-run"),
    ],
)
async def test_a_cancel_that_cannot_be_changes_nothing(run_api: RunApi, run_id: str, who: str, status: int, code: str):
    before = run_api.rows()
    answer = await run_api.post(f"/runs/{run_id}/cancel", who)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert run_api.rows() == before


# Resubmitting


@pytest.mark.parametrize(
    ("run_id", "who", "kind"),
    [
        (ANONYMOUS_RUN, "", "anonymous"),
        (ANONYMOUS_RUN, "operator", "anonymous"),
        (ADAS_RUN, "ada", "user"),
        (LISAS_RUN, "operator", "application"),
    ],
)
@pytest.mark.process
async def test_a_resubmit_is_a_new_run_of_whoever_asks(run_api: RunApi, run_id: str, who: str, kind: str):
    answer = await run_api.post(f"/runs/{run_id}/resubmit", who)
    new = answer.json()["id"]
    assert (answer.status_code, answer.headers["location"], new != run_id) == (201, f"/runs/{new}", True)
    assert answer.json()["resubmitted_from"] == run_id
    assert [(resubmitted, caller.kind) for resubmitted, caller in run_api.resubmitted] == [(run_id, kind)]


@pytest.mark.parametrize(
    ("run_id", "who", "changed", "status", "code"),
    [
        (RUNNING, "ada", {}, 409, "cannot-resubmit"),
        (ADAS_RUN, "ada", {"workflow": "gone"}, 409, "cannot-resubmit"),
        (ADAS_RUN, "ada", {"inputs_form": "cut"}, 409, "cannot-resubmit"),
        (ADAS_RUN, "ada", {"workflow": "payroll"}, 401, "unauthenticated"),  # she is not on the list any more
        (ANONYMOUS_RUN, "", {"workflow": "payroll"}, 409, "cannot-resubmit"),
        (ANONYMOUS_RUN, "lisa", {"workflow": "payroll"}, 409, "cannot-resubmit"),
        (ADAS_RUN, "lisa", {}, 404, "unknown-run"),
        (ADAS_RUN, "", {}, 404, "unknown-run"),
        (UNKNOWN, "operator", {}, 404, "unknown-run"),
    ],
)
async def test_a_resubmit_that_cannot_be_starts_nothing(
    run_api: RunApi, run_id: str, who: str, changed: dict[str, str], status: int, code: str
):
    if changed:
        run_api.change(run_id, **changed)
    before = run_api.rows()
    answer = await run_api.post(f"/runs/{run_id}/resubmit", who)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert (run_api.rows(), run_api.resubmitted) == (before, [])


async def test_runs_that_go_on_without_a_client_are_bounded_and_nobody_takes_the_places_of_all(
    tmp_path: Path, local_tenant: LocalTenant, own_modules: None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(run_actions, "MOST_BACKGROUND", 8)
    async with open_run_api(tmp_path, local_tenant) as run_api:
        run_api.go_on = asyncio.Event()
        statuses = [(await run_api.resubmit_async(ANONYMOUS_RUN)).status_code for _ in range(5)]
        refused = await run_api.resubmit_async(ANONYMOUS_RUN)
        assert (statuses, refused.json()["code"]) == ([201] * 3 + [429] * 2, "too-many-runs")
        assert refused.headers["retry-after"] == "1"
        assert (await run_api.resubmit_async(ADAS_RUN, "ada")).status_code == 201
        run_api.go_on.set()
        assert (await run_api.resubmit_async(LISAS_RUN, "operator")).status_code == 201
        assert (await run_api.resubmit_async(ANONYMOUS_RUN)).status_code == 201


async def test_inputs_that_no_longer_fit_are_a_problem_of_today_s_workflow(run_api: RunApi):
    run_api.change(ADAS_RUN, inputs='"does not fit"')
    answer = await run_api.post(f"/runs/{ADAS_RUN}/resubmit", "ada")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-body")


# HTTP


@pytest.mark.parametrize("path", ["/runs", f"/runs/{ADAS_RUN}", "/workflows", f"/runs/{RUNNING}/result"])
async def test_head_is_get_without_its_content(run_api: RunApi, path: str):
    get, head = [await run_api.ask(method, path, "operator") for method in ("GET", "HEAD")]
    assert (head.status_code, head.content, head.headers) == (get.status_code, b"", get.headers)
    assert int(head.headers["content-length"]) == len(get.content)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/runs", {"GET", "HEAD"}),
        ("DELETE", f"/runs/{ADAS_RUN}", {"GET", "HEAD"}),
        ("GET", f"/runs/{ADAS_RUN}/cancel", {"POST"}),
        ("GET", f"/runs/{ADAS_RUN}/resubmit", {"POST"}),
        ("OPTIONS", "/refusals", {"GET", "HEAD"}),
    ],
)
async def test_other_methods_are_a_problem_that_says_which_are_taken(
    run_api: RunApi, method: str, path: str, allowed: set[str]
):
    answer = await run_api.ask(method, path, "operator")
    assert (answer.status_code, answer.json()["code"]) == (405, "method-not-allowed")
    assert set(answer.headers["allow"].split(", ")) == allowed


async def test_rejected_requests_are_logged_without_ids_of_runs_or_tokens(run_api: RunApi):
    with capture_logs() as logs:
        await run_api.get(f"/runs/{ANONYMOUS_RUN}/result?text=SENT", "garbage")
        await run_api.get(f"/runs/{RUNNING}", "expired")
        await run_api.get("/runs?text=SENT&state=SENT", "ada")
    lines = [line for line in logs if line["event"] == "request-refused"]
    assert [(line["page"], line["code"], line["reason"]) for line in lines] == [
        ("/runs/{id}", "unauthenticated", "expiry"),
        ("/runs", "bad-filter", "bad-filter"),
    ]
    assert not any(text in str(logs) for text in ("SENT", RUNNING, ANONYMOUS_RUN, "eyJ"))


LOGS = """
                  | anonymous's | ada's | lisa's | unknown
                  | 403         | 404   | 404    | 404
ada               | 403         | 403   | 404    | 404
lisa              | 403         | 404   | 403    | 404
backup-job        | 403         | 404   | 404    | 404
operator          | 200         | 200   | 200    | 404
listed operator   | 200         | 200   | 200    | 404
operator at other | 403         | 403   | 404    | 404
expired           | 403         | 401   | 401    | 401
garbage           | 403         | 401   | 401    | 401
"""
"""Rows are tokens, columns are runs."""


async def test_what_a_run_printed_and_logged_is_for_operators(run_api: RunApi):
    said = LogLine(NOON, "log", "warning", "mine", "twice booked")
    with run_api.engine.begin() as connection:
        for run_id in (ANONYMOUS_RUN, ADAS_RUN, LISAS_RUN):
            add_lines(connection, Lines(run_id, 1, 1, (said, LogLine(NOON, "stdout", "", "", "room 7")), 3, 0, ""))
    ids = (ANONYMOUS_RUN, ADAS_RUN, LISAS_RUN, UNKNOWN)
    for line in LOGS.strip("\n").splitlines()[1:]:
        who, *expected = (part.strip() for part in line.split("|"))
        answers = [await run_api.get(f"/runs/{run_id}/logs", who) for run_id in ids]
        assert [str(answer.status_code) for answer in answers] == expected, who
        assert all(("room 7" in answer.text) is (answer.status_code == 200) for answer in answers), who
    log = (await run_api.get(f"/runs/{ADAS_RUN}/logs", "operator")).json()
    assert (log["count"], log["left_out"], log["secured"]) == (5, 3, 0)
    at = {"at": "2026-01-01T12:00:00.000Z", "attempt": 1}
    assert log["lines"] == [
        at | {"source": "log", "level": "warning", "logger": "mine", "text": "twice booked"},
        at | {"source": "stdout", "level": None, "logger": None, "text": "room 7"},
    ]


async def test_reading_the_lines_of_anothers_run_is_logged(run_api: RunApi):
    with capture_logs() as logs:
        await run_api.get(f"/runs/{ADAS_RUN}/logs", "operator")
    assert [line["event"] for line in logs if line["event"] != "signing-keys-changed"] == ["run-viewed"]
