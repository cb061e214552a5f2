"""The list of runs: what it shows to whom, its filters, and how far it looks."""

import re
from collections.abc import AsyncIterator
from math import inf
from pathlib import Path

import pytest

from postern.api.list_query import DEFAULT_LIMIT
from postern.console import look_on, runs
from postern.console.runs import newer_words
from postern.journal.reading import queries
from postern.journal.reading.newer_runs import Newer
from tests.api.records import ADA, LISA
from tests.console.run_visits import RunConsole, open_run_console
from tests.databases import put_sqlite
from tests.journal.recorded import NOON, TENANT, id_number, run_row

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


def put_runs(console: RunConsole) -> None:
    console.put(
        run_row(1, state="Failed", status=500, error_type="ValueError", error_message="the reason"),
        run_row(2, object_id=ADA, caller_name="Ada", workflow="book", ended_at=NOON + 44),
        run_row(3, object_id=LISA, caller_name="Lisa", workflow="payroll", resubmitted_from=id_number(1)),
        run_row(4, object_id=ADA, caller_name="Ada", state="Running", status=None, ended_at=None, outputs=None),
        run_row(5, object_id=LISA, workflow="book", parent_run_id=id_number(2), state="TimedOut", status=504),
    )


@pytest.fixture
async def console(tmp_path: Path, own_modules: None, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RunConsole]:
    """The pages on a journal of a few runs, which look on as long as they like: the machine may be busy."""
    monkeypatch.setattr(runs, "MOST_SECONDS", inf)
    async with open_run_console(tmp_path, put_sqlite(tmp_path / "runs.db")) as console:
        put_runs(console)
        yield console


async def test_the_pages_are_the_same_on_each_kind_of_database(tmp_path: Path, database_url: str, own_modules: None):
    async with open_run_console(tmp_path, database_url) as console:
        put_runs(console)
        assert ids((await console.get("/console/runs")).page) == [5, 4, 3, 2, 1]
        assert ids((await console.get("/console/runs?workflow=book&text=ada", "ada")).page) == [2]
        assert (await console.get(f"/console/runs/new?above={id_number(2)}", "ada")).text == "1 newer run"
        seen = await console.get(f"/console/runs/{id_number(2)}", "ada")
        assert "Succeeded in 42.0 s" in seen.text
        assert (await console.post(f"/console/runs/{id_number(4)}/cancel", "ada")).status == 303
        assert (await console.post(f"/console/runs/{id_number(3)}/resubmit", "ada")).status == 404
        assert (await console.post(f"/console/runs/{id_number(3)}/resubmit")).status == 303


def ids(page: str) -> list[int]:
    """The numbers of the runs in the rows."""
    return [int(found, 16) for found in re.findall(r'class="what"><a href="/console/runs/[^"]*-([0-9a-f]{12})"', page)]


@pytest.mark.parametrize(("who", "numbers"), [("operator", [5, 4, 3, 2, 1]), ("ada", [4, 2]), ("lisa", [5, 3])])
async def test_operators_see_all_runs_and_others_their_own(console: RunConsole, who: str, numbers: list[int]):
    seen = await console.get("/console/runs", who)
    assert (seen.status, ids(seen.page)) == (200, numbers)


async def test_a_row_has_state_error_time_duration_caller_and_status(console: RunConsole):
    seen = await console.get("/console/runs")
    for said in (
        "Thursday, 1 January 2026",
        "Failed hello ValueError: the reason 12:00:01 250 ms anonymous 500",
        "Succeeded book 12:00:02 42.0 s Ada 200",
        "payroll ↻ resubmitted",
        "book ↳ called by another run",
        "Timed out",
        "5 runs",
    ):
        assert said in seen.text
    assert 'class="state Failed"' in seen.page


@pytest.mark.parametrize(("shown", "who", "message"), [(0, "operator", True), (0, "ada", False), (1, "ada", True)])
async def test_a_message_that_the_author_does_not_show_is_for_operators(
    console: RunConsole, shown: int, who: str, message: bool
):
    console.change(id_number(2), error_type="Booked", error_message="room 7", error_shown=shown, state="Failed")
    assert ("Booked: room 7" in (await console.get("/console/runs", who)).text) is message


@pytest.mark.parametrize(
    ("query", "numbers", "chips"),
    [
        ("state=Failed&workflow=&caller=&since=&until=&text=", [1], ["state Failed"]),
        ("state=TimedOut", [5], ["state Timed out"]),
        ("workflow=book&state=Succeeded", [2], ["state Succeeded", "workflow book"]),
        (f"caller={ADA}", [4, 2], [f"caller {ADA}"]),
        ("caller=Anonymous", [1], ["caller Anonymous"]),
        ("text=REASON", [1], ["text REASON"]),
        (f"parent={id_number(2)}", [5], [f"called by run {id_number(2)}"]),
        ("since=2026-01-01+12:00:04", [5, 4], ["since 2026-01-01 12:00:04"]),
        ("since=1h&until=2026-01-01T12:00:02Z", [2, 1], ["since 1h", "until 2026-01-01T12:00:02Z"]),
        ("limit=1&text=+", [5, 4, 3, 2, 1], []),
    ],
)
async def test_filters_are_a_form_and_each_can_be_dropped(
    console: RunConsole, query: str, numbers: list[int], chips: list[str]
):
    seen = await console.get(f"/console/runs?{query}")
    assert (seen.status, ids(seen.page)) == (200, numbers)
    assert re.findall(r'aria-label="Drop the filter ([^"]*)"', seen.page) == chips
    links = re.findall(r'class="chip" href="([^"]*)"', seen.page)
    assert len(links) == len(chips)
    for link in links:
        dropped = await console.get(link.replace("&amp;", "&"))
        assert dropped.status == 200
        assert dropped.page.count('class="chip"') == len(chips) - 1


async def test_a_bad_filter_is_said_beside_its_field_and_nothing_typed_is_lost(console: RunConsole):
    seen = await console.get("/console/runs?since=yesterday&caller=ada&text=kept&state=Nope&workflow=book&parent=x")
    assert (seen.status, ids(seen.page)) == (400, [])
    for name in ("since", "caller", "state", "parent"):
        assert f'id="error-{name}"' in seen.page
    for name in ("since", "caller", "state"):
        assert f'aria-describedby="error-{name}"' in seen.page
    for value in ("yesterday", "ada", "kept", "book", "Nope"):
        assert f'value="{value}"' in seen.page


@pytest.mark.parametrize("query", ["nonsense=1", "text=%FF", "cursor=x", "state=Failed&state=Running"])
async def test_a_query_that_is_none_is_said_on_the_page(console: RunConsole, query: str):
    seen = await console.get(f"/console/runs?{query}")
    assert seen.status == 400
    assert 'class="wrong"' in seen.page


async def test_pages_follow_one_another_without_a_count(console: RunConsole, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(runs, "DEFAULT_LIMIT", 2)
    first = await console.get("/console/runs")
    assert ids(first.page) == [5, 4]
    assert "2 runs, and older ones" in first.text
    assert 'id="news"' in first.page
    (link,) = first.links("cursor=")
    second = await console.get(link)
    assert ids(second.page) == [3, 2]
    assert "Newest" in second.text
    assert 'id="news"' not in second.page  # a list that begins elsewhere
    (link,) = second.links("cursor=")
    third = await console.get(link)
    assert (ids(third.page), third.links("cursor=")) == ([1], [])
    assert "1 run Newest" in third.text


async def test_a_cursor_stays_valid_with_a_time_that_depends_on_now(
    console: RunConsole, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(runs, "DEFAULT_LIMIT", 2)
    (link,) = (await console.get("/console/runs?since=2h")).links("cursor=")
    assert "since=2026-01-01T11%3A00%3A00Z" in link
    assert ids((await console.get(link)).page) == [3, 2]


async def test_short_pages_of_the_journal_are_joined_and_then_it_says_how_far_back(
    console: RunConsole, monkeypatch: pytest.MonkeyPatch
):
    """A page of the journal may be empty and have a cursor."""
    for name, value in {"FIRST_WINDOW": 2, "LAST_WINDOW": 2, "MOST_CANDIDATES": 2}.items():
        monkeypatch.setattr(queries, name, value)
    assert ids((await console.get("/console/runs?text=reason")).page) == [1]
    monkeypatch.setattr(look_on, "MOST_PAGES", 1)
    seen = await console.get("/console/runs?text=reason")
    assert ids(seen.page) == []
    assert "No runs found, looked back to 1 Jan 2026 12:00:04" in seen.text
    (link,) = seen.links("cursor=")
    assert "Look further back" in seen.text
    seen = await console.get(link)
    assert "looked back to 1 Jan 2026 12:00:02" in seen.text
    assert ids((await console.get(*seen.links("cursor="))).page) == [1]


async def test_a_page_whose_time_is_over_looks_no_further(console: RunConsole, monkeypatch: pytest.MonkeyPatch):
    for name, value in {"FIRST_WINDOW": 2, "LAST_WINDOW": 2, "MOST_CANDIDATES": 2}.items():
        monkeypatch.setattr(queries, name, value)
    monkeypatch.setattr(runs, "MOST_SECONDS", 0)
    assert "looked back to 1 Jan 2026 12:00:04" in (await console.get("/console/runs?text=reason")).text
    monkeypatch.setattr(queries, "MOST_CANDIDATES", 100)
    monkeypatch.setattr(queries, "FIRST_WINDOW", 32)
    assert "Drop one of the filters" in (await console.get("/console/runs?text=nowhere")).text


@pytest.mark.parametrize(
    ("query", "who", "said"),
    [
        ("workflow=book&text=nowhere", "operator", "Without the filter text nowhere there are some."),
        ("workflow=nothing", "operator", "Without the filter workflow nothing there are some."),
        ("workflow=nothing&text=nowhere", "operator", "Drop one of the filters, or all of them ."),
        (f"caller={LISA}", "ada", f"Without the filter caller {LISA} there are some."),
    ],
)
async def test_where_nothing_matches_the_filter_that_excludes_everything_is_named(
    console: RunConsole, query: str, who: str, said: str
):
    seen = await console.get(f"/console/runs?{query}", who)
    assert seen.status == 200
    assert "No matching runs" in seen.text
    assert said in seen.text


async def test_a_person_without_runs_sees_how_to_start_one(console: RunConsole):
    console.change(id_number(2), object_id=LISA)
    console.change(id_number(4), object_id=LISA)
    assert "No runs yet" in (await console.get("/console/runs", "ada")).text


async def test_newer_runs_are_a_link_and_the_rows_stay(console: RunConsole):
    listed = await console.get("/console/runs?workflow=book")
    (poll,) = re.findall(r'id="news"[^>]*hx-get="([^"]*)"', listed.page)
    poll = poll.replace("&amp;", "&")
    assert "href" not in (await console.get(poll, hx_request="true")).page
    console.put(*(run_row(n, workflow="book" if n < 13 else "hello", object_id=ADA) for n in range(10, 15)))
    seen = await console.get(poll, hx_request="true")
    assert seen.links("/console/runs?") == ["/console/runs?workflow=book"]
    assert seen.text == "3 newer runs"
    assert poll in seen.page.replace("&amp;", "&")  # it goes on
    assert (await console.get(poll, "lisa", hx_request="true")).text == ""
    for above in ("", "?above=x", "?workflow=book"):
        assert (await console.get(f"/console/runs/new{above}")).page == "bad-filter"


async def test_one_newer_run_is_one_run(console: RunConsole):
    assert (await console.get(f"/console/runs/new?above={id_number(4)}")).text == "1 newer run"


async def test_the_form_suggests_workflows_that_the_person_may_call(console: RunConsole):
    for who, names in (("lisa", {"book", "hello", "members", "payroll"}), ("ada", {"book", "hello", "members"})):
        seen = await console.get("/console/runs", who)
        suggested = set(re.findall(r'<option value="([^"]*)"></option>', seen.page))
        assert suggested == names
    assert DEFAULT_LIMIT == 50


async def test_a_full_page_is_small(console: RunConsole):
    console.put(
        *(
            run_row(
                100 + number,
                object_id=ADA,
                tenant_id=TENANT,
                state="Failed",
                error_type="ConnectionRefusedError",
                error_message="x" * 1000,
                caller_name="A person with a name",
                workflow="a-workflow-with-quite-a-long-name",
            )
            for number in range(60)
        )
    )
    seen = await console.get("/console/runs")
    assert len(ids(seen.page)) == 50
    assert len(seen.page.encode()) < 60_000


@pytest.mark.parametrize(
    ("newer", "words"),
    [
        (Newer(0, more=False), ""),
        (Newer(0, more=True), "Look for newer runs"),
        (Newer(1, more=False), "1 newer run"),
        (Newer(1, more=True), "1+ newer runs"),
        (Newer(99, more=True), "99+ newer runs"),
    ],
)
def test_the_words_about_newer_runs_say_what_is_known(newer: Newer, words: str):
    assert newer_words(newer) == words
