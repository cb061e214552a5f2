"""Cancel and resubmit in a browser: what the pages say, and that they do what the run API does."""

import json
import re
from collections.abc import AsyncIterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select
from structlog.testing import capture_logs

from postern.access import StartedBy
from postern.errors import PROBLEMS, problem
from postern.journal.reading.queries import find_run
from postern.journal.reading.records import RunRecord
from postern.journal.schema import runs
from postern.journal.writing.rows import MAX_KEPT_BYTES
from tests.api.records import ADA, LISA
from tests.console.run_visits import OPERATOR, RunConsole, open_run_console
from tests.databases import put_sqlite
from tests.journal.recorded import id_number, run_row

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
ANONYMOUS_RUN, ADAS_RUN, LISAS_RUN, RUNNING = (id_number(number) for number in (1, 2, 3, 4))
BOOKING = '{"room":"7","seats":2}'


@pytest.fixture
async def console(tmp_path: Path, own_modules: None) -> AsyncIterator[RunConsole]:
    """The pages on a journal of a few runs."""
    async with open_run_console(tmp_path, put_sqlite(tmp_path / "runs.db")) as console:
        ada = {"object_id": ADA, "caller_name": "Ada", "workflow": "book", "inputs": BOOKING}
        console.put(
            run_row(1, request_headers='[["x-sent", "1"]]'),
            run_row(2, **ada, state="Failed", request_headers='[["content-length", "22"], ["x-sent", "1"]]'),
            run_row(3, object_id=LISA, workflow="payroll"),
            run_row(4, **ada, state="Running", status=None, ended_at=None, outputs=None),
        )
        yield console


def record_of(console: RunConsole, run_id: str) -> RunRecord:
    with console.engine.begin() as connection:
        found = find_run(connection, run_id)
    assert found is not None
    return found


def how_many(console: RunConsole) -> int:
    with console.engine.begin() as connection:
        return len(connection.execute(select(runs.c.id)).all())


def typed(page: str) -> str:
    """What the text area holds, as a browser reads it."""
    found = re.search(r"<textarea[^>]*>\n?(.*?)</textarea>", page, re.DOTALL)
    assert found
    return unescape(found[1])


# Cancel


async def test_a_cancel_is_asked_first_and_then_goes_on_to_the_run(console: RunConsole):
    asked = await console.get(f"/console/runs/{RUNNING}/cancel", "ada")
    for said in ("The run of book", "Completed steps and calls are not undone", "run-cancelled"):
        assert said in asked.text
    assert f'method="post" action="/console/runs/{RUNNING}/cancel"' in asked.page
    assert record_of(console, RUNNING).cancel_requested_at is None
    with capture_logs() as logs:
        seen = await console.post(f"/console/runs/{RUNNING}/cancel", "ada")
    assert (seen.status, seen.to) == (303, f"/console/runs/{RUNNING}")
    by = record_of(console, RUNNING).cancelled_by
    assert by is not None
    assert by["object_id"] == ADA
    assert [(line["event"], line["run_id"], line["object_id"]) for line in logs] == [
        ("run-cancel-requested", RUNNING, ADA)
    ]
    run = await console.get(f"/console/runs/{RUNNING}", "ada")
    assert "cancellation requested" in run.text
    assert "requested by Ada" in run.text


async def test_a_run_of_this_process_is_cancelled_at_once(console: RunConsole):
    console.cancels_here = True
    assert (await console.post(f"/console/runs/{RUNNING}/cancel")).to == f"/console/runs/{RUNNING}"
    assert "Cancelled after 1.0 s" in (await console.get(f"/console/runs/{RUNNING}", "ada")).text


async def test_a_run_that_has_ended_is_not_cancelled(console: RunConsole):
    asked = await console.get(f"/console/runs/{ADAS_RUN}/cancel", "ada")
    assert "The run has ended already: Failed after 250 ms." in asked.text
    assert "<form class=" not in asked.page
    assert (await console.post(f"/console/runs/{ADAS_RUN}/cancel", "ada")).page == "run-ended"


@pytest.mark.parametrize("page", ["cancel", "resubmit"])
async def test_nobody_changes_the_run_of_another(console: RunConsole, page: str):
    before = how_many(console)
    for who, run_id in (("lisa", ADAS_RUN), ("lisa", RUNNING), ("ada", LISAS_RUN)):
        for method in ("GET", "POST"):
            seen = await console.ask(method, f"/console/runs/{run_id}/{page}", who, {"body": "{}"})
            assert (seen.status, seen.page) == (404, "unknown-run")
    assert (how_many(console), console.started) == (before, [])
    assert record_of(console, RUNNING).cancel_requested_at is None


# Resubmit


async def test_a_resubmit_names_its_effect(console: RunConsole):
    asked = await console.get(f"/console/runs/{ADAS_RUN}/resubmit", "operator")
    for said in (
        "A new run of book starts, on its current code.",
        "the request that Ada sent",
        "Its caller is you, Operator, and not Ada.",
        "All steps and calls run again",
        "Idempotency-Key",
    ):
        assert said in asked.text
    assert typed(asked.page) == '{\n  "room": "7",\n  "seats": 2\n}'
    own = await console.get(f"/console/runs/{ADAS_RUN}/resubmit", "ada")
    assert "Its caller is you, Ada." in own.text
    assert console.started == []


async def test_a_body_that_is_not_edited_is_sent_byte_for_byte(console: RunConsole):
    """A browser sends lines with CR and LF."""
    body = typed((await console.get(f"/console/runs/{ADAS_RUN}/resubmit", "ada")).page)
    with capture_logs() as logs:
        seen = await console.post(f"/console/runs/{ADAS_RUN}/resubmit", "ada", body=body.replace("\n", "\r\n"))
    ((run_id, caller, sent, headers),) = console.started
    assert (seen.status, seen.to) == (303, f"/console/runs/{run_id}")
    assert (caller.object_id, sent, headers) == (ADA, BOOKING.encode(), ["content-length", "x-sent"])
    assert [line["run_id"] for line in logs if line["event"] == "run-resubmitted"] == [ADAS_RUN]


async def test_an_edited_body_is_the_input_of_the_new_run(console: RunConsole):
    seen = await console.post(f"/console/runs/{ADAS_RUN}/resubmit", "operator", body='{"room": "8",\r\n "seats": 1}')
    ((run_id, caller, sent, headers),) = console.started
    assert (caller.object_id, sent) == (OPERATOR, b'{"room": "8",\n "seats": 1}')
    assert headers == ["x-sent"]  # those of the body were of another one
    new = record_of(console, run_id)
    assert (new.inputs, new.resubmitted_from) == ('{"room": "8",\n "seats": 1}', ADAS_RUN)
    assert new.resubmitted_by is not None
    assert new.resubmitted_by["object_id"] == OPERATOR
    page = await console.get(seen.to)
    assert page.links(ADAS_RUN) == [f"/console/runs/{ADAS_RUN}"]
    assert f"/console/runs/{run_id}" in (await console.get(f"/console/runs/{ADAS_RUN}")).links(run_id)
    assert (await console.get(f"/console/runs/{ADAS_RUN}", "ada")).links(run_id) == []  # it is the operator's
    assert record_of(console, ADAS_RUN).inputs == BOOKING


async def test_a_run_acts_for_the_person_who_started_the_first_one_while_the_input_is_the_same(console: RunConsole):
    """Each resubmit is of the run that the one before has started."""
    steps = [
        (ADAS_RUN, "ada", None, StartedBy.SAME_AGAIN),
        ("", "ada", None, StartedBy.SAME_AGAIN),
        ("", "ada", BOOKING.replace("7", "8"), StartedBy.EDITED),
        ("", "ada", None, StartedBy.EDITED),
        (ADAS_RUN, "operator", None, StartedBy.ANOTHER),
        ("", "operator", None, StartedBy.ANOTHER),
        (ADAS_RUN, "operator", BOOKING.replace("7", "8"), StartedBy.ANOTHER),
    ]
    for run_id, who, body, way in steps:
        place = f"/console/runs/{run_id or console.started[-1][0]}/resubmit"
        sent = body if body is not None else typed((await console.get(place, who)).page)
        assert (await console.post(place, who, body=sent)).status == 303
        assert console.ways[-1] is way


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ('{"room": 8}', ["/room", "/seats"]),
        ('{"room": "8", "seats": "many"}', ["/seats"]),
        ("{</textarea><script>", []),
        ("", []),
    ],
)
async def test_a_body_that_does_not_fit_is_shown_again_with_each_wrong_field(
    console: RunConsole, body: str, where: list[str]
):
    before = how_many(console)
    seen = await console.post(f"/console/runs/{ADAS_RUN}/resubmit", "ada", body=body)
    assert seen.status == 409
    assert typed(seen.page) == body
    assert "No run was started" in seen.text
    assert re.findall(r"<li><code>([^<]*)</code>", seen.page) == where
    assert ("script" in [tag for tag, _ in seen.tags()], how_many(console)) == (False, before)


async def test_a_body_is_never_longer_than_a_record_keeps(console: RunConsole):
    console.change(ADAS_RUN, workflow="hello")
    seen = await console.post(f"/console/runs/{ADAS_RUN}/resubmit", "ada", body='"' + "x" * MAX_KEPT_BYTES)
    assert (seen.status, "longer than 65536 bytes" in seen.text) == (413, True)
    seen = await console.post(f"/console/runs/{ADAS_RUN}/resubmit", "ada", body="x" * 4 * MAX_KEPT_BYTES)
    assert (seen.status, seen.page) == (413, "body-too-large")


@pytest.mark.parametrize("code", ["journal-unavailable", "shutting-down", "too-many-runs"])
async def test_what_was_typed_is_kept_while_no_run_can_start(
    console: RunConsole, code: str, monkeypatch: pytest.MonkeyPatch
):
    async def nothing_starts(*_: object) -> None:
        raise problem(code)

    monkeypatch.setattr(console, "start", nothing_starts)
    seen = await console.post(f"/console/runs/{ADAS_RUN}/resubmit", "ada", body=BOOKING.replace("7", "8"))
    assert (seen.status, typed(seen.page)) == (PROBLEMS[code].status, BOOKING.replace("7", "8"))
    assert unescape(PROBLEMS[code].detail) in seen.text
    monkeypatch.undo()
    assert (await console.post(f"/console/runs/{ADAS_RUN}/resubmit", "ada", body=typed(seen.page))).status == 303


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"inputs": None, "inputs_form": "secured"}, "are not recorded, because its workflow is secured"),
        ({"inputs": None, "inputs_form": "secured", "request_headers": None}, "its workflow is secured"),
        ({"inputs_form": "cut"}, "were cut"),
        ({"inputs_form": "redacted"}, "were redacted"),
        ({"request_headers": '[["authorization", null]]'}, "credentials, or too long"),
        ({"workflow": "gone"}, "no workflow of this name"),
        ({"state": "Running"}, "has not ended"),
    ],
)
async def test_what_the_run_api_does_not_start_again_an_edit_does_not_either(
    console: RunConsole, values: dict[str, Any], why: str
):
    console.change(ADAS_RUN, **values)
    asked = await console.get(f"/console/runs/{ADAS_RUN}/resubmit", "operator")
    assert why in asked.text
    assert "<textarea" not in asked.page
    seen = await console.post(f"/console/runs/{ADAS_RUN}/resubmit", "operator", body=BOOKING.replace("7", "8"))
    assert why in seen.text
    assert console.started == []


@pytest.mark.parametrize(
    ("workflow", "who", "check", "why"),
    [
        ("payroll", "ada", "listed", "is not on the list"),
        ("scoped", "ada", "scope", "Signing in to the console shows who you are"),
        ("members", "ada", "no-guests", "Signing in to the console shows who you are"),
        ("payroll", "operator", "", ""),
        ("scoped", "operator", "", ""),
        ("members", "operator", "", ""),
    ],
)
async def test_who_may_not_call_the_workflow_now_does_not_resubmit(
    console: RunConsole, workflow: str, who: str, check: str, why: str
):
    """A session proves no scope, and not that a person is no guest."""
    console.change(ADAS_RUN, workflow=workflow)
    asked = await console.get(f"/console/runs/{ADAS_RUN}/resubmit", who)
    seen = await console.post(f"/console/runs/{ADAS_RUN}/resubmit", who)
    if check:
        assert why in asked.text
        assert (seen.status, seen.page, console.started) == (403, check, [])
    else:
        assert (seen.status, len(console.started)) == (303, 1)
        assert console.started[0][1].guest


@pytest.mark.parametrize("who", ["lisa", "operator"])
async def test_an_anonymous_callers_run_stays_one(console: RunConsole, who: str):
    with capture_logs() as logs:
        asked = await console.get(f"/console/runs/{ANONYMOUS_RUN}/resubmit", who)
        await console.post(f"/console/runs/{ANONYMOUS_RUN}/resubmit", who, body='{"name": "Eve"}')
    assert "Its caller is anonymous" in asked.text
    ((run_id, caller, _, _),) = console.started
    assert caller.kind == "anonymous"
    assert (record_of(console, run_id).resubmitted_by or {}).get("kind") == "user"
    assert ANONYMOUS_RUN not in json.dumps([str(line) for line in logs])


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"workflow": "payroll"}, "The workflow takes no body."),
        ({"inputs": "AP8=", "inputs_form": "base64"}, "The body is no text"),
    ],
)
async def test_a_body_that_cannot_be_edited_is_sent_as_it_was(console: RunConsole, values: dict[str, Any], why: str):
    console.change(ADAS_RUN, **values)
    asked = await console.get(f"/console/runs/{ADAS_RUN}/resubmit")
    assert why in asked.text
    assert "<textarea" not in asked.page
    seen = await console.post(f"/console/runs/{ADAS_RUN}/resubmit", body="another")
    assert "cannot be edited" in seen.text
    assert console.started == []


async def test_a_form_is_a_form(console: RunConsole):
    path = f"/console/runs/{ADAS_RUN}/resubmit"
    seen = await console.ask("POST", path, "ada", {"body": "{}"}, content_type="application/json")
    assert (seen.status, seen.page) == (415, "unsupported-media-type")
    assert console.started == []


async def test_a_resubmit_of_a_run_without_a_body_may_add_one(console: RunConsole):
    console.change(ANONYMOUS_RUN, inputs=None, inputs_form="none")
    asked = await console.get(f"/console/runs/{ANONYMOUS_RUN}/resubmit")
    assert typed(asked.page) == ""
    await console.post(f"/console/runs/{ANONYMOUS_RUN}/resubmit", body="[1]")
    await console.post(f"/console/runs/{ANONYMOUS_RUN}/resubmit", body="")
    assert [(sent, headers) for _, _, sent, headers in console.started] == [
        (b"[1]", ["x-sent", "content-type"]),
        (b"", ["x-sent"]),
    ]


@pytest.mark.parametrize("change", ["cancel", "resubmit"])
async def test_a_page_that_names_the_effect_reads_no_steps_and_no_calls(console: RunConsole, change: str):
    read: list[str] = []

    def note(*arguments: Any) -> None:
        read.append(arguments[2])

    event.listen(console.engine, "before_cursor_execute", note)
    try:
        assert (await console.ask("GET", f"/console/runs/{RUNNING}/{change}")).status == 200
    finally:
        event.remove(console.engine, "before_cursor_execute", note)
    assert any("FROM runs" in text for text in read)
    assert not [text for text in read if "FROM steps" in text or "FROM calls" in text]
