"""The pages of runs where these are durable: what they wait for, who decided, and how operators resume them."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select

from postern.console.parked import PAGE
from postern.journal.durable_runs import NODE, Phase, Reason
from postern.journal.durable_tables import approvals, durable_runs, signals
from postern.journal.schema import runs
from tests.api.records import ADA, LISA
from tests.console.run_visits import OPERATOR, RunConsole, open_run_console
from tests.databases import put_sqlite
from tests.journal.recorded import NOON, id_number, run_row
from tests.journal.test_reads_of_durable_runs import MIA, approval_row, durable_row, signal_row

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

RUN = id_number(1)
PATH = f"/console/runs/{RUN}"
LATER = NOON + 9000
XSS = "<script>alert(1)</script>"


@pytest.fixture
async def console(tmp_path: Path, own_modules: None) -> AsyncIterator[RunConsole]:
    """The pages on an empty journal."""
    async with open_run_console(tmp_path, put_sqlite(tmp_path / "runs.db")) as console:
        yield console


def put(console: RunConsole, phase: Phase, number: int = 1, state: str = "Waiting", **durable: Any) -> str:
    """A durable run of ada."""
    run_id, ended = id_number(number), {}
    if state in ("Waiting", "Running"):
        ended = {"status": None, "ended_at": None, "outputs": None, "outputs_form": None}
    console.put(run_row(number, object_id=ADA, caller_name="Ada", workflow="book", state=state, node=NODE, **ended))
    with console.engine.begin() as connection:
        row = durable_row(run_id, phase.value, **{"workflow": "book", "request": "{}", **durable})
        connection.execute(insert(durable_runs), row)
    return run_id


def state_of(console: RunConsole) -> tuple[str, str]:
    with console.engine.begin() as connection:
        phase = connection.execute(select(durable_runs.c.phase).where(durable_runs.c.run_id == RUN)).scalar_one()
        return phase, connection.execute(select(runs.c.state).where(runs.c.id == RUN)).scalar_one()


@pytest.mark.parametrize(
    ("phase", "durable", "said"),
    [
        (
            Phase.WAITING,
            {"reason": Reason.SLEEP, "wakes_at": LATER},
            ["Sleeping until 1 Jan 2026 14:30:00 UTC", "at the latest 1 Jan 2026 14:30:00"],
        ),
        (
            Phase.WAITING,
            {"reason": Reason.APPROVAL, "waits_for": "manager"},
            ["Waiting for the approval manager", "People who may decide find it under Approvals"],
        ),
        (Phase.WAITING, {"reason": Reason.SIGNAL, "waits_for": "paid"}, ["Waiting for the signal paid"]),
        (
            Phase.PARKED,
            {"reason": Reason.MISSING},
            ["Parked: its workflow is not served", "when the workflow book is there again"],
        ),
        (Phase.READY, {"attempt": 0}, ["Waiting for its turn", "Attempt not begun"]),
    ],
)
async def test_the_page_of_a_run_says_what_it_waits_for(
    console: RunConsole, phase: Phase, durable: dict[str, Any], said: list[str]
):
    put(console, phase, **durable)
    page = await console.get(PATH, "ada")
    for text in said:
        assert text in page.text
    assert 'hx-trigger="every 10s"' in page.page
    assert page.links("/cancel")
    assert not page.links("/resubmit")


async def test_the_page_of_a_run_says_that_it_waits_for_a_run_with_the_same_key(console: RunConsole):
    put(console, Phase.READY, attempt=0, concurrency_key="k")
    put(console, Phase.RUNNING, 2, "Running", concurrency_key="k")
    page = await console.get(PATH, "ada")
    assert "Waiting for a run with the same concurrency key" in page.text
    assert "It begins when a run with the same concurrency key has ended." in page.text


async def test_a_run_that_executes_shows_its_attempt_and_crashes(console: RunConsole):
    put(console, Phase.RUNNING, state="Running", attempt=3, deaths=2)
    page = await console.get(PATH, "ada")
    assert "Attempt 3 Crashes 2 server processes ended while its code ran" in page.text
    assert 'hx-trigger="every 2s"' in page.page


async def test_an_inline_run_has_no_durable_part(console: RunConsole):
    console.put(run_row(1, object_id=ADA))
    assert "Durable run" not in (await console.get(PATH, "ada")).text


async def test_the_page_has_signals_without_bodies_and_approvals_with_decisions(console: RunConsole):
    put(console, Phase.WAITING, reason=Reason.SIGNAL, waits_for="paid", resumed_by=json.dumps([["tenant", LISA]]))
    with console.engine.begin() as connection:
        connection.execute(insert(signals), signal_row(RUN, "early", NOON, taken_by=2))
        connection.execute(insert(signals), signal_row(RUN, "odd", NOON + 1))
        decided = {"state": "rejected", "decided_at": NOON + 2, "decided_by": MIA, "comment": XSS}
        connection.execute(insert(approvals), approval_row(RUN, 3, "manager", **decided))
        connection.execute(insert(approvals), approval_row(RUN, 4, "clerk", state="timed-out"))
    page = await console.get(PATH, "ada")
    assert "early taken by the run by Mia" in page.text
    assert "odd not taken yet by Mia" in page.text
    assert f"by Mia, 1 Jan 2026 12:00:02 {XSS}" in page.text
    assert XSS not in page.page
    assert "clerk nobody decided in time" in page.text
    assert f"Resumed by {LISA}" in page.text
    assert "secret" not in page.page


async def test_the_list_says_why_runs_wait_and_is_filtered_by_the_state(console: RunConsole):
    put(console, Phase.WAITING, reason=Reason.SIGNAL, waits_for="paid")
    put(console, Phase.PARKED, 2, reason=Reason.CHANGED)
    console.put(run_row(3, object_id=ADA))
    page = await console.get("/console/runs?state=Waiting", "ada")
    assert "for the signal paid" in page.text
    assert "parked: the code of its workflow has changed" in page.text
    assert "2 runs" in page.text
    assert not page.links("/runs/parked")
    assert (await console.get("/console/runs?state=Waiting")).links("/runs/parked")


async def test_operators_list_parked_runs_with_what_makes_them_go_on(console: RunConsole):
    assert "No run is parked" in (await console.get("/console/runs/parked")).text
    for number in range(PAGE + 1):
        put(console, Phase.PARKED, number, reason=Reason.KEY)
    page = await console.get("/console/runs/parked")
    assert "the key of its bodies cannot be read It goes on by itself when the secret" in page.text
    assert page.page.count('class="waits"') == PAGE
    [more] = page.links("after=")
    last = await console.get(more)
    assert last.page.count('class="waits"') == 1
    assert not last.links("after=")
    assert (await console.get("/console/runs/parked?after=x")).page.count('class="waits"') == PAGE


@pytest.mark.parametrize(
    ("phase", "state", "resumable"),
    [
        (Phase.ENDED, "Failed", True),
        (Phase.ENDED, "TimedOut", True),
        (Phase.ENDED, "Cancelled", True),
        (Phase.ENDED, "Succeeded", False),
        (Phase.PARKED, "Waiting", True),
        (Phase.WAITING, "Waiting", False),
        (Phase.RUNNING, "Running", False),
    ],
)
async def test_operators_resume_runs_that_did_not_succeed_or_are_parked(
    console: RunConsole, phase: Phase, state: str, resumable: bool
):
    put(console, phase, state=state, reason=Reason.CHANGED if phase is Phase.PARKED else None)
    assert bool((await console.get(PATH)).links("/resume")) is resumable
    assert not (await console.get(PATH, "ada")).links("/resume")
    asked = await console.get(f"{PATH}/resume")
    assert ("It cannot be resumed" in asked.text) is not resumable
    assert state_of(console) == (phase.value, state)  # the page asks, and does nothing
    answer = await console.post(f"{PATH}/resume", **{"from": "start"})
    assert answer.status == (303 if resumable else 409)
    assert state_of(console) == (("ready", "Waiting") if resumable else (phase.value, state))


async def test_a_run_is_resumed_where_it_stopped_unless_the_form_says_from_the_start(console: RunConsole):
    put(console, Phase.ENDED, state="Failed", failed_step=4)
    page = await console.get(f"{PATH}/resume")
    assert "The step that failed runs again." in page.text
    assert "All steps and calls run again on the current code" in page.text
    assert (await console.post(f"{PATH}/resume")).status == 400
    assert (await console.post(f"{PATH}/resume", **{"from": "on"})).to == PATH
    with console.engine.begin() as connection:
        row = connection.execute(select(durable_runs)).one()
    assert (row.repeat_from, json.loads(row.resumed_by)[0][1]) == (4, OPERATOR)
    again = await console.post(f"{PATH}/resume", **{"from": "on"})
    assert (again.status, "The run has not ended, and is not parked." in again.text) == (409, True)


async def test_the_resume_page_is_for_operators(console: RunConsole):
    [ask, send] = [route for route in console.routes if route.path.endswith("/resume")]
    assert ask.operators_only
    assert send.operators_only
    [parked] = [route for route in console.routes if route.path.endswith("/parked")]
    assert parked.operators_only


async def test_a_waiting_run_is_cancelled_at_once(console: RunConsole):
    put(console, Phase.WAITING, reason=Reason.APPROVAL, waits_for="manager")
    with console.engine.begin() as connection:
        connection.execute(insert(approvals), approval_row(RUN, 3, "manager"))
    asked = await console.get(f"{PATH}/cancel", "ada")
    assert "Waiting for the approval manager." in asked.text
    assert "Approvals that it waits for end." in asked.text
    assert (await console.post(f"{PATH}/cancel", "ada")).to == PATH
    assert state_of(console) == ("ended", "Cancelled")
    page = await console.get(PATH, "ada")
    assert "manager the run ended first" in page.text


async def test_the_page_of_resubmitting_names_the_smaller_step_for_operators(console: RunConsole):
    put(console, Phase.ENDED, state="Failed")
    assert (await console.get(f"{PATH}/resubmit")).links("/resume")
    assert not (await console.get(f"{PATH}/resubmit", "ada")).links("/resume")


KEY = id_number(77)


def sent(console: RunConsole) -> list[Any]:
    with console.engine.begin() as connection:
        return list(connection.execute(select(signals).order_by(signals.c.sent_at)))


async def test_who_may_sends_a_signal_by_a_form_and_twice_is_once(console: RunConsole):
    put(console, Phase.WAITING, reason=Reason.SIGNAL, waits_for="paid")
    assert (await console.get(PATH, "ada")).links("/signal")
    form = await console.get(f"{PATH}/signal", "ada")
    fields = {tag["name"]: tag["value"] for kind, tag in form.tags() if kind == "input"}
    assert fields["name"] == "paid"
    for _ in range(2):
        answer = await console.post(f"{PATH}/signal", "ada", body='{"by": "card"}', **fields)
        assert (answer.status, answer.to) == (303, PATH)
    [signal] = sent(console)
    assert (signal.name, signal.body) == ("paid", '{"by": "card"}')
    assert json.loads(signal.sent_by)["object_id"] == ADA
    page = await console.get(PATH, "ada")
    assert "paid not taken yet by Ada" in page.text
    assert '"by"' not in page.page.replace("&#34;", '"')


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"name": "Not A Name"}, 400),
        ({"body": "{"}, 400),
        ({"body": f'"{"x" * 2_000_000}"'}, 413),
    ],
)
async def test_a_signal_that_does_not_fit_is_shown_again(console: RunConsole, fields: dict[str, str], status: int):
    put(console, Phase.WAITING, reason=Reason.SIGNAL, waits_for="paid")
    typed = {"name": "paid", "body": "1", "key": KEY, **fields}
    answer = await console.post(f"{PATH}/signal", "ada", **typed)
    assert answer.status == status
    assert "No signal was sent." in answer.text
    assert f'value="{KEY}"' in answer.page
    assert sent(console) == []


@pytest.mark.parametrize("who", ["lisa"])
async def test_a_run_takes_no_signal_of_others(console: RunConsole, who: str):
    put(console, Phase.WAITING, reason=Reason.SIGNAL, waits_for="paid")
    for answer in (
        await console.get(f"{PATH}/signal", who),
        await console.post(f"{PATH}/signal", who, name="paid", body="1", key=KEY),
    ):
        assert (answer.status, answer.page) == (404, "unknown-run")
    assert sent(console) == []


async def test_the_id_of_an_anonymous_callers_run_opens_its_record_and_not_the_run(console: RunConsole):
    put(console, Phase.WAITING, reason=Reason.SIGNAL, waits_for="paid")
    console.change(RUN, caller_kind="anonymous", object_id=None, tenant_id=None)
    assert not (await console.get(PATH, "ada")).links("/signal")
    answer = await console.post(f"{PATH}/signal", "ada", name="paid", body="1", key=KEY)
    assert (answer.status, answer.page) == (403, "forbidden")
    assert (await console.post(f"{PATH}/signal", name="paid", body="1", key=KEY)).status == 303


async def test_runs_that_ended_or_are_inline_take_no_signal(console: RunConsole):
    put(console, Phase.ENDED, state="Failed")
    console.put(run_row(2, object_id=ADA, workflow="book"))
    assert not (await console.get(PATH)).links("/signal")
    assert "The run has ended, so it takes no signal." in (await console.get(f"{PATH}/signal")).text
    assert (await console.post(f"{PATH}/signal", name="paid", body="1", key=KEY)).status == 409
    assert (await console.get(f"/console/runs/{id_number(2)}/signal")).page == "run-not-durable"
    assert (await console.post(f"{PATH}/signal", name="paid", body="1", key="x")).page == "bad-request"
