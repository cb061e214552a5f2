"""Many runs are resubmitted in a browser: a form of those that can be, and what became of each."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from postern.console.run_bulk import MOST
from postern.errors import problem
from tests.api.records import ADA
from tests.console.run_visits import OPERATOR, RunConsole, open_run_console
from tests.databases import put_sqlite
from tests.journal.recorded import id_number, run_row

pytestmark = pytest.mark.anyio
PAGE = "/console/runs/resubmit"
BOOKING = '{"room":"7","seats":2}'


@pytest.fixture
async def console(tmp_path: Path, own_modules: None) -> AsyncIterator[RunConsole]:
    """The pages on an empty journal."""
    async with open_run_console(tmp_path, put_sqlite(tmp_path / "runs.db")) as console:
        yield console


def put(console: RunConsole, number: int, **more: Any) -> str:
    """A failed run of ada. Returns its id."""
    ada = {"object_id": ADA, "caller_name": "Ada", "workflow": "book", "inputs": BOOKING, "state": "Failed"}
    console.put(run_row(number, **{**ada, "error_type": "KeyError", **more}))
    return id_number(number)


def boxes(page: str) -> list[str]:
    """The runs that can be chosen."""
    return [part.split('"')[0] for part in page.split('type="checkbox" name="')[1:]]


async def test_the_form_has_the_runs_of_the_list_that_can_be_resubmitted_and_says_why_not_the_others(
    console: RunConsole,
):
    one, two = put(console, 1), put(console, 2)
    put(console, 3, inputs_form="cut")
    put(console, 4, workflow="gone")
    earlier = put(console, 5)
    put(console, 6, state="Succeeded", resubmitted_from=earlier)
    page = await console.get(f"{PAGE}?state=Failed")
    assert boxes(page.page) == [two, one]
    for said in (
        "1 run: The inputs of the run were cut.",
        "1 run: There is no workflow of this name any more.",
        "1 run: It was resubmitted already.",
        "Only state Failed.",
    ):
        assert said in page.text
    assert (await console.get("/console/runs?state=Failed")).links("/runs/resubmit?state=Failed")
    assert not (await console.get("/console/runs")).links("/runs/resubmit")
    assert not (await console.get("/console/runs?state=Failed", "ada")).links("/runs/resubmit")


async def test_the_chosen_ones_are_started_the_oldest_first(console: RunConsole):
    one, two, other = put(console, 1), put(console, 2), put(console, 3)
    page = await console.post(PAGE, **{two: "on", one: "on", "x": "on"})
    assert page.status == 200
    assert [caller.object_id for _, caller, _, _ in console.started] == [OPERATOR] * 2
    new = [run_id for run_id, _, _, _ in console.started]
    links = page.links("/console/runs/")
    assert [link for link in links if link.rsplit("/", 1)[1] in (one, two, *new)] == [
        f"/console/runs/{run_id}" for run_id in (one, new[0], two, new[1])
    ]
    assert not page.links(other)


async def test_a_form_that_is_sent_twice_has_the_same_key(console: RunConsole):
    one, start, keys = put(console, 1), console.start, []

    async def noting(*given: Any) -> Any:
        keys.append(given[5])
        return await start(*given)

    console.start = noting
    for _ in range(2):
        await console.post(PAGE, **{one: "on"})
    assert keys[0] == keys[1] is not None


async def test_a_run_that_cannot_be_does_not_stop_the_others_and_a_full_server_does(console: RunConsole):
    ids = [put(console, 1, inputs_form="cut"), *(put(console, number) for number in (2, 3))]

    async def full(*_: Any) -> Any:
        raise problem("too-many-runs")

    console.start = full
    page = await console.post(PAGE, **dict.fromkeys(ids, "on"))
    assert "The inputs of the run were cut." in page.text
    assert "as many concurrent runs as it allows" in page.text
    assert "1 run was not tried, because the server takes no more now." in page.text


async def test_nothing_that_fits_and_nothing_chosen(console: RunConsole):
    assert "No run can be resubmitted" in (await console.get(f"{PAGE}?state=Failed")).text
    assert "No run was chosen" in (await console.post(PAGE)).text
    assert (await console.get(f"{PAGE}?state=Wrong")).status == 400


async def test_a_form_has_no_more_runs_than_it_may_send(console: RunConsole):
    for number in range(MOST + 1):
        put(console, number)
    page = await console.get(f"{PAGE}?state=Failed")
    assert len(boxes(page.page)) == MOST
    assert "There are more: these are the newest." in page.text


async def test_it_is_for_operators_only(console: RunConsole):
    found = [route for route in console.routes if route.path == PAGE]
    assert [(route.method, route.operators_only) for route in found] == [("GET", True), ("POST", True)]
