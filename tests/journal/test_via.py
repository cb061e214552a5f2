"""Through what runs were started and requests were rejected, in rows and back: on both kinds of databases."""

import json
from typing import Any

import pytest
from sqlalchemy import Engine, select

from postern import Caller, Request, workflow
from postern.access import Agent, StartedBy, Via
from postern.api.list_query import refusal_page, run_page_of
from postern.api.representation import refusals_json, run_json
from postern.durable.payload import packed, unpacked
from postern.errors import Problem
from postern.ids import new_id
from postern.journal.reading.queries import find_run, list_refusals, list_runs
from postern.journal.refusal import Refusal
from postern.journal.refusal_windows import Windows
from postern.journal.refusals import row, upsert
from postern.journal.run import Outcome, Run, State
from postern.journal.schema import refusals
from postern.journal.writing.rows import COLUMNS, facts, run_row
from postern.journal.writing.statements import write_runs
from postern.runs.ended_line import ended_line
from tests.journal.recorded import NOON, id_number
from tests.table import table

ID = "11111111-aaaa-4111-8111-111111111111"
BLUEPRINT = "22222222-bbbb-4222-8222-222222222222"
AGENT = Agent(ID, BLUEPRINT, "on-behalf-of-user")
MCP = Via("mcp", "Copilot", "1.2")
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJvaWQiOiIxIn0.c2lnbmF0dXJl"


@workflow
async def hello(ctx) -> None: ...


def made(via: Via | None = None, agent: Agent | None = None, run_id: str = "", error: str = "") -> Run:
    request = Request("POST", "/triggers/hello", content_type="application/json")
    if via is not None:
        request._via = via
    run = Run(run_id or new_id(), hello, Caller("user", ID, ID, ID, agent=agent), request, NOON)
    run.outcome, run.ended_at = Outcome(State.SUCCEEDED, 200, b"null", error_type=error), NOON + 1
    return run


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (("Copilot", "1.2"), ("Copilot", "1.2")),
        ((None, None), (None, None)),
        (("", " \n"), (None, " ")),
        ((7, ["x"]), (None, None)),
        (("a\x1b[31m\u202eb\x00\n", "1"), ("a[31mb", "1")),
        (("x" * 5000, "y" * 101), ("x" * 100, "y" * 100)),
        ((f"client {JWT}", "password=hunter2"), ("client [token]", "password=[redacted]")),
    ],
)
def test_what_a_client_says_of_itself_is_bounded_printable_text_without_secrets(given: Any, kept: Any):
    via = Via("mcp", *given)
    assert (via.client_name, via.client_version) == kept


def test_a_run_has_its_way_client_and_agent_on_record_and_in_the_list(engine: Engine):
    runs = [
        made(MCP, AGENT, id_number(1)),
        made(None, AGENT, id_number(2)),
        made(Via("mcp"), None, id_number(3)),
        made(run_id=id_number(4)),
    ]
    with engine.begin() as connection:
        for run in runs:
            write_runs(connection, [run_row(facts(run), "node")])
    agent = {"client_id": ID, "blueprint": BLUEPRINT, "kind": "on-behalf-of-user"}
    expected = [
        ("mcp", {"name": "Copilot", "version": "1.2"}, agent),
        (None, None, agent),
        ("mcp", None, None),
        (None, None, None),
    ]
    with engine.connect() as connection:
        for run, values in zip(runs, expected, strict=True):
            record = find_run(connection, run.id)
            assert record is not None
            assert (record.via, record.via_client, record.agent) == values
            shown = json.loads(run_json(record, private=True))
            assert (shown["via"], shown["via_client"], shown["agent"]) == values
        for pairs, found in (
            ([("via", "mcp")], [3, 1]),
            ([("via", "mcp"), ("caller", ID)], [3, 1]),
            ([], [4, 3, 2, 1]),
        ):
            page = list_runs(connection, run_page_of(pairs, None).filter, None, 10)
            assert [each.id for each in page.items] == [id_number(number) for number in found]


def test_a_run_of_no_agent_takes_no_further_parameters_of_its_statement():
    at = [COLUMNS.index(name) for name in ("via", "via_client", "agent")]
    plain = facts(made())
    assert plain[-2] is None
    assert [run_row(plain, "node")[place] for place in at] == [None] * 3


def test_rejected_requests_by_mcp_have_a_row_of_their_own_with_the_client_of_the_first(engine: Engine):
    windows = Windows()
    for request_id, via in ((1, MCP), (2, None), (3, Via("mcp", "Other")), (4, None)):
        refusal = Refusal(id_number(request_id), "listed", "unauthenticated", 401, "hello", "192.0.2.7", via=via)
        windows.take(refusal, 1.0, NOON + request_id)
    with engine.begin() as connection:
        upsert(connection, [row(window) for window in windows])
    with engine.connect() as connection:
        page = list_refusals(connection, refusal_page(b"via=mcp").filter, None, 10)
        shown = json.loads(refusals_json(page.items, None))["refusals"]
        rows = connection.execute(select(refusals.c.via, refusals.c.count).order_by(refusals.c.id)).all()
    assert [tuple(each) for each in rows] == [("mcp", 2), (None, 2)]
    assert [(each["via"], each["via_client"]) for each in shown] == [("mcp", {"name": "Copilot", "version": "1.2"})]


def test_another_way_is_no_filter():
    for page in (lambda: refusal_page(b"via=smtp"), lambda: run_page_of([("via", "")], None)):
        with pytest.raises(Problem) as caught:
            page()
        assert caught.value.members["errors"] == [{"where": "via", "message": "must be mcp"}]


@table(
    ("via", "agent", "error", "expected"),
    [
        (None, None, "", {}),
        (MCP, None, "", {"via": "mcp", "via_client": "Copilot 1.2"}),
        (Via("mcp"), AGENT, "", {"via": "mcp", "agent": "on-behalf-of-user"}),
        (None, AGENT, "ValueError", {"error": "ValueError", "agent": "on-behalf-of-user"}),
    ],
)
def test_the_log_line_of_a_run_names_its_way_and_agent(via: Any, agent: Any, error: Any, expected: Any):
    shape, values = ended_line(made(via, agent, error=error))
    plain, usual = ended_line(made())
    fields = shape.fields(values)
    assert {name: fields[name] for name in fields.keys() - plain.fields(usual).keys()} == expected


@table(("via", "agent"), [(None, None), (MCP, AGENT), (None, AGENT), (Via("mcp"), None)])
def test_a_durable_run_keeps_both_until_it_is_executed(via: Any, agent: Any):
    run = made(via, agent)
    payload = unpacked(packed(run, StartedBy.REQUEST, 1.0))
    assert payload.request._via == via
    assert payload.caller.agent == agent
    assert payload.caller == run.caller
