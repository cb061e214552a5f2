"""The home page: what needs a person, in order, and the activity of the last hour."""

import re
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import anyio
import pytest
import structlog
from sqlalchemy import Connection, insert
from starlette.requests import Request

from postern.access import Caller
from postern.catalog import Fault, Snapshot
from postern.connections.vault.secret import SecretState
from postern.console.home import Home
from postern.console.navigation import NAVIGATION
from postern.console.page import Shown, Viewer, Visit
from postern.console.recent import Recent
from postern.console.render import render
from postern.console.services import Services
from postern.errors import problem
from postern.journal.schema import refusals, runs
from postern.journal.sessions import Session
from postern.local_tenant import LocalTenant
from tests.console.consoles import Console, open_console
from tests.console.first_workflows import guarded_hello, hello, triggers, whoami
from tests.journal.engines import empty_journal
from tests.journal.recorded import NOON, TENANT, refusal_at, run_at

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

ADA = "ed1bf663-4183-4555-b113-3ed7e5cc901b"
LISA = "c33a0e11-b6a6-4ce1-b2e0-e5fbe1e362d2"
NOW = NOON + 3599
AWAY = problem("journal-unavailable")


class Server:
    """What the page gets of a server, with a journal. `reads` counts the reads of it, `looks` the readiness
    checks."""

    def __init__(self, folder: Path) -> None:
        self.engine = empty_journal(f"sqlite:///{folder / 'journal.db'}")
        self.reads = 0
        self.looks = 0
        self.away = False
        self.faults: tuple[Fault, ...] = ()
        self.triggers = triggers(hello, whoami)
        self.secrets: dict[str, SecretState] = {}
        self.reasons: dict[str, str] = {"journal": ""}
        self.hangs = False
        self.seconds = 0.0
        unused = cast("Any", None)
        services = Services(
            settings=unused,
            installation=unused,
            read=self.read,
            write=unused,
            cancel=unused,
            resubmit=unused,
            underway=unused,
            snapshot=lambda: Snapshot(MappingProxyType(self.triggers), self.faults),
            log=structlog.get_logger(),
            now=lambda: NOW,
            local=True,
            address="https://postern.example/base",
            secret_states=lambda: self.secrets,
            readiness=self.readiness,
        )
        self.home = Home(services, Recent(clock=lambda: self.seconds), Recent(clock=lambda: self.seconds))

    async def read(self, query: Callable[[Connection], Any], _: Any, /) -> Any:
        self.reads += 1
        if self.away:
            raise AWAY
        with self.engine.begin() as connection:
            return query(connection)

    async def readiness(self) -> dict[str, str]:
        self.looks += 1
        if self.hangs:
            await anyio.sleep_forever()
        return self.reasons

    def put(self, *rows: dict[str, Any]) -> None:
        with self.engine.begin() as connection:
            connection.execute(insert(runs), list(rows))

    async def shown(self, person: str = ADA, operator: bool = True, **headers: str) -> Shown:
        lines = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": "http", "method": "GET", "headers": lines, "query_string": b"", "client": ("192.0.2.1", 1)}
        session = Session("0" * 64, TENANT, person, "Ada Okafor", frozenset(), "192.0.2.1", NOW, NOW)
        caller = Caller("user", object_id=person, tenant_id=TENANT)
        shown = await self.home.page(Visit(Request(scope), Viewer(session, caller, operator), "request"))
        assert isinstance(shown, Shown)
        self.viewer = Viewer(session, caller, operator)
        return shown

    async def page(self, person: str = ADA, operator: bool = True, **headers: str) -> str:
        """The page as it is sent."""
        shown = await self.shown(person, operator, **headers)
        values = {
            "console": "/base/console",
            "assets": "/base/console/assets/1/",
            "viewer": self.viewer,
            "here": shown.here,
            "node": "here",
            "navigation": NAVIGATION,
            "request_id": "request",
        }
        return render(shown.template, {**shown.values, **values}).decode()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path)
    monkeypatch.setattr("postern.console.home.visible", lambda *_: frozenset({"hello", "whoami"}))
    yield made
    made.engine.dispose()


def texts(page: str, of: str) -> list[str]:
    """The texts of the elements with this class."""
    found = re.findall(rf'class="{of}"[^>]*>(.*?)</(?:p|span|h1)>', page)
    return [re.sub(r"<[^>]*>", "", each).strip() for each in found]


def everything_wrong(server: Server) -> None:
    server.faults = (Fault(Path("order.py"), 3, "SyntaxError", "", ()),)
    server.secrets = {"graph": SecretState("graph", ("connections.graph",), NOW - 5)}
    server.reasons = {"journal": "", "keys": "no usable signing keys yet"}
    server.put(run_at(1, 3000, state="Failed", error_type="ValueError", object_id=ADA))
    with server.engine.begin() as connection:
        connection.execute(insert(refusals), [refusal_at(2, 3000, count=40)])


async def test_what_needs_an_operator_is_listed_in_order(server: Server):
    everything_wrong(server)
    page = await server.page()
    assert "5 things need you</h1>" in page
    assert texts(page, "kind") == ["File", "Secret", "Readiness", "Runs", "Refusals"]
    assert f'<a href="/base/console/runs/{run_at(1, 3000)["id"]}">hello: 1 run failed in 24 hours</a>' in page


async def test_without_any_of_it_nothing_needs_you(server: Server):
    server.put(run_at(1, 3000))
    page = await server.page()
    assert "Nothing needs you.</h1>" in page
    assert 'class="needs"' not in page
    assert "Runs per minute: 1 run, 0 failed" in page


async def test_others_than_operators_see_only_what_concerns_their_own_runs(server: Server):
    everything_wrong(server)
    server.put(run_at(3, 3001, state="Failed", workflow="visits", object_id=LISA))
    page = await server.page(LISA, operator=False)
    assert texts(page, "what") == ["visits: 1 run failed in 24 hours"]
    assert "Runs per minute: 1 run, 1 failed" in page
    for theirs in ("order.py", "graph", "signature", run_at(1, 3000)["id"], "/console/refusals", "/console/workflows"):
        assert theirs not in page


async def test_what_one_person_reads_is_shown_to_no_other(server: Server):
    server.put(run_at(1, 3000, object_id=ADA), run_at(2, 3000, object_id=ADA))
    assert "In the last hour 2 runs" in await server.page(ADA, operator=False)
    assert "You have not started a run yet" in await server.page(LISA, operator=False)
    assert "In the last hour 2 runs" in await server.page(LISA)


async def test_journal_and_checks_are_read_at_most_every_10_seconds_for_all_operators(server: Server):
    server.put(run_at(1, 3000))
    for person in (ADA, LISA, ADA):
        await server.page(person)
        await server.page(person, hx_request="true")
    assert (server.reads, server.looks) == (1, 1)
    server.seconds += 10
    await server.page()
    assert (server.reads, server.looks) == (2, 2)


async def test_what_is_polled_is_a_part_of_the_page(server: Server):
    server.put(run_at(1, 3000))
    page = await server.page()
    part = await server.page(hx_request="true")
    assert part.strip() in page
    assert part.strip().startswith('<div id="now" hx-get="/base/console" hx-trigger="every 10s" hx-swap="outerMorph">')
    assert "<html" not in part


async def test_the_first_start_shows_the_first_requests_to_send(server: Server):
    page = await server.page()
    assert "There is no run yet" in page
    assert "curl -X POST https://postern.example/base/triggers/hello</code>" in page
    assert "TOKEN=$(postern token --as ada)\n" in page
    assert '/triggers/whoami -H "Authorization: Bearer $TOKEN"</code>' in page
    assert 'class="plot"' not in page


async def test_no_first_request_is_named_whose_run_the_viewer_would_not_see(server: Server):
    page = await server.page(LISA, operator=False)
    assert "You have not started a run yet" in page
    assert "curl" not in page
    assert 'href="https://postern.example/base/docs"' in page


async def test_the_first_start_without_these_workflows_says_what_to_do_instead(server: Server):
    server.triggers = triggers(guarded_hello)
    page = await server.page()
    assert "curl" not in page
    assert 'Each <a href="/base/console/workflows">workflow</a> has a page' in page
    server.triggers = {}
    assert "<code>postern new my-workflow</code>" in await server.page()
    assert "Ask its author or an operator for access" in await server.page(LISA, operator=False)


async def test_a_journal_that_cannot_be_read_is_said_and_the_page_recovers(server: Server):
    everything_wrong(server)
    server.away = True
    page = await server.page()
    assert "Runs and refusals are not shown until the journal can be read." in page
    assert texts(page, "kind") == ["File", "Secret", "Readiness"]
    server.away = False
    assert len(texts(await server.page(), "kind")) == 5


async def test_with_the_journal_away_it_does_not_say_that_nothing_needs_you(server: Server):
    server.away = True
    page = await server.page()
    assert "Nothing needs you" not in page
    assert "The journal cannot be read</h1>" in page


async def test_readiness_checks_that_hang_do_not_hold_the_page(server: Server, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("postern.console.home.PATIENCE", 0.01)
    server.put(run_at(1, 3000))
    server.hangs = True
    assert "The readiness check of this server fails" in await server.page()


async def test_texts_of_records_and_files_are_escaped(server: Server):
    evil = '"><script>alert(1)</script>'
    server.faults = (Fault(Path(f"{evil}.py"), 3, evil, evil, (evil,)),)
    server.secrets = {evil: SecretState(evil, (evil,), NOW - 5)}
    server.reasons = {evil: evil}
    server.put(run_at(1, 3000, state="Failed", error_type=evil, workflow=evil))
    with server.engine.begin() as connection:
        connection.execute(insert(refusals), [refusal_at(2, 3000, count=40, reason=evil, workflow=evil)])
    page = await server.page()
    assert len(texts(page, "kind")) == 5
    assert "<script>alert" not in page


async def test_the_figures_are_a_table_too(server: Server):
    server.put(run_at(1, 3000, took=0.5), run_at(2, 3001, took=0.5, state="Failed"))
    page = await server.page()
    assert "Figures of the hour until 12:59" in page
    row = re.search(r"<tr><td><a[^>]*>12:50</a></td>(.*?)</tr>", page)
    assert row
    assert re.findall(r">([^<>]+)</td>", row[1]) == ["2", "1", "500 ms", "500 ms"]


async def test_a_full_page_stays_small(server: Server):
    """Under 60 KB also if each minute has runs, and very much is wrong."""
    everything_wrong(server)
    server.faults = tuple(Fault(Path(f"order{n}.py"), 3, "SyntaxError " * 100, "", ()) for n in range(1000))
    server.put(*(run_at(n, 60 * n + 1, state="Failed", workflow=f"w{n}") for n in range(10, 60)))
    server.put(*(run_at(100 + n, 60 * n + 2) for n in range(60)))
    page = await server.page()
    assert len(page.encode()) < 60_000
    assert page.count('<tr><td><a href="/base/console/runs?since=2026-01-01T12:') == 60


# In a whole server


@pytest.fixture(scope="module")
async def console(local_tenant: LocalTenant, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Console]:
    folder = tmp_path_factory.mktemp("home")
    (folder / "broken.py").write_text("import postern\n1 / 0\n")
    async with open_console(local_tenant, folder) as opened:
        yield opened


@pytest.mark.process
async def test_an_operator_sees_the_faulty_file_and_others_do_not(console: Console):
    ada, lisa = await console.signed_in("ada"), await console.signed_in("lisa")
    page = await ada.get("/console")
    assert page.status_code == 200
    assert "broken.py, line 2 cannot be loaded" in page.text
    assert "ZeroDivisionError" in page.text
    theirs = await lisa.get("/console")
    assert theirs.status_code == 200
    assert "Nothing needs you." in theirs.text
    assert "broken.py" not in theirs.text
