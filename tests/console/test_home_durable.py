"""The home page about durable runs: what is parked, what does not begin, and which decisions wait."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from sqlalchemy import insert
from starlette.requests import Request

from postern.access import TenantUsers, bind, tenant_users
from postern.access.written import written
from postern.api.approval_actions import ApprovalActions
from postern.api.durable_defaults import as_it_is
from postern.console.frame import Frame
from postern.console.home import Home
from postern.console.navigation_counts import NavigationCounts
from postern.console.page import Visit
from postern.console.waiting_approvals import Waiting
from postern.errors import problem
from postern.journal.durable_runs import NODE, Reason
from postern.journal.durable_tables import approvals, durable_runs
from tests.console.test_home import ADA, LISA, NOW, Server, texts
from tests.journal.recorded import TENANT, run_at
from tests.journal.test_reads_of_durable_runs import approval_row, durable_row

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path)
    monkeypatch.setattr("postern.console.home.visible", lambda *_: frozenset({"hello"}))
    yield made
    made.engine.dispose()


def put(server: Server, number: int, at: float, owner: str = ADA, **durable: Any) -> str:
    run = run_at(number, at, took=None, state="Waiting", workflow="book", object_id=owner, node=NODE)
    server.put(run)
    with server.engine.begin() as connection:
        connection.execute(insert(durable_runs), durable_row(run["id"], workflow="book", **durable))
    return str(run["id"])


def decided_by_people(server: Server) -> None:
    """The home page of a server with approvals."""

    async def nothing_written(_: object) -> Any:
        raise AssertionError("the home page writes nothing")

    def policy(mode: Any) -> Any:
        assert isinstance(mode, TenantUsers)
        return bind(mode, people={}, tenants=(TENANT,), audiences=("api://postern",), client_id="")

    actions = (server.read, nothing_written, policy, as_it_is, lambda _: None, structlog.get_logger(), lambda: NOW)
    server.home = Home(replace(server.home.services, approvals=ApprovalActions(*actions)))


async def test_an_operator_sees_what_is_parked_and_what_does_not_begin(server: Server):
    parked = put(server, 1, 3000, phase="parked", reason=Reason.MISSING)
    put(server, 2, 3000, phase="ready", attempt=0)
    put(server, 3, 3590, phase="ready", attempt=0)
    put(server, 4, 3000, phase="waiting", reason=Reason.SLEEP)
    page = await server.page()
    assert texts(page, "kind") == ["Parked", "Waiting"]
    assert texts(page, "what") == [
        "book: 1 run is parked, because its workflow is not served",
        "book: 1 run waits for more than 5 minutes to begin",
    ]
    assert f'href="/base/console/runs/{parked}"' in page
    assert 'href="/base/console/runs/parked"' in page
    assert "It goes on by itself when the workflow book is there again." in page


async def test_others_see_only_their_own_parked_runs(server: Server):
    put(server, 1, 3000, phase="parked", reason=Reason.MISSING)
    own = put(server, 2, 3000, LISA, phase="parked", reason=Reason.CHANGED)
    put(server, 3, 3000, phase="ready", attempt=0)
    page = await server.page(LISA, operator=False)
    assert texts(page, "kind") == ["Parked"]
    assert f'href="/base/console/runs/{own}"' in page
    assert "/runs/parked" not in page


async def test_decisions_that_wait_for_the_viewer_are_counted_anew_at_each_look(
    server: Server, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("postern.api.approval_actions.allows", lambda _, caller: bool(caller.object_id))
    decided_by_people(server)
    server.put(run_at(1, 3000))

    def ask(number: int, **others: Any) -> None:
        with server.engine.begin() as connection:
            row = {"who": written(tenant_users()), "since": NOW - 60, "barred": json.dumps([LISA]), **others}
            connection.execute(insert(approvals), approval_row(f"run-{number}", 1, "manager", **row))

    assert "Nothing needs you." in await server.page()
    ask(1)
    ask(2, until=NOW - 1)
    assert texts(await server.page(), "what") == ["1 approval waits for you"]
    ask(3)
    page = await server.page()
    assert texts(page, "what") == ["2 approvals wait for you"]
    assert 'href="/base/console/approvals"' in page
    assert "approval" not in " ".join(texts(await server.page(LISA), "what"))


async def test_operators_are_told_of_decisions_that_nobody_makes(server: Server):
    with server.engine.begin() as connection:
        connection.execute(insert(approvals), approval_row("run-1", 1, "manager", since=NOW - 8 * 86_400))
    assert texts(await server.page(), "what") == ["1 approval has waited for more than 7 days"]
    assert "approval" not in " ".join(texts(await server.page(LISA, operator=False), "what"))


def visit(server: Server, **headers: str) -> Visit:
    lines = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": "GET", "headers": lines, "query_string": b"", "client": ("192.0.2.1", 1)}
    return Visit(Request(scope), server.viewer, "request")


@pytest.mark.parametrize(
    ("found", "count"),
    [
        (Waiting(0, more=True, since=None), []),
        (Waiting(2, more=False, since=NOW), ["2"]),
        (Waiting(250, more=True, since=NOW), ["250+"]),
    ],
)
async def test_the_navigation_counts_what_waits_for_the_viewer(
    server: Server, monkeypatch: pytest.MonkeyPatch, found: Waiting, count: list[str]
):
    async def number(*_: object) -> Waiting:
        return found

    monkeypatch.setattr("postern.console.navigation_counts.waiting_number", number)
    decided_by_people(server)
    page = await server.shown()
    counts = NavigationCounts(server.home.services.approvals)
    shown = await counts.of(visit(server))
    answer = Frame("https://postern.test/base", "1", "node").page(
        page.template, page.values, "request", viewer=server.viewer, counts=shown
    )
    text = answer.content.decode()
    assert re.findall(r'class="badge">([^<]*)<span class="hidden"> for you', text) == count
    assert await counts.of(visit(server, hx_request="true")) == {}  # a part of a page has no navigation
    assert await NavigationCounts(None).of(visit(server)) == {}


async def test_the_navigation_counts_nothing_while_the_journal_cannot_be_read(server: Server):
    decided_by_people(server)
    await server.shown()

    async def away(*_: object) -> Any:
        raise problem("journal-unavailable")

    actions = server.home.services.approvals
    assert actions is not None
    assert await NavigationCounts(replace(actions, read=away)).of(visit(server)) == {}
