"""Who may see a run: the table, and what a token must be."""

import pytest

from postern.access import ANYONE, OPEN, Caller, Refused, bind, tenant_users
from postern.api.access import Standing, is_operator, recognise, standing
from postern.settings.installation import Installation
from tests.api.records import ADA, HERE, LISA, OURS, record
from tests.table import table

THERE = "4bdfc9b5-6862-4464-9df6-b11a2f8afd3e"
OPS = "0f0f0f0f-0000-4000-8000-000000000001"
INSTALLATION = Installation(tenant_id=HERE, audiences=(OURS,), operators=frozenset({OPS}))
ROLE = frozenset({"Postern.Operator"})

RUNS = {
    "anonymous's": record(caller_kind="anonymous"),
    "ada's": record(caller_kind="user", tenant_id=HERE, object_id=ADA),
    "of ada's id there": record(caller_kind="user", tenant_id=THERE, object_id=ADA),
    "none": None,
}
CALLERS = {
    "no token": ANYONE,
    "ada": Caller("user", ADA, HERE, audience=OURS),
    "ada, token of a workflow": Caller("user", ADA, HERE, audience="api://other"),
    "lisa": Caller("user", LISA, HERE, audience=OURS),
    "role": Caller("application", LISA, HERE, audience=OURS, roles=ROLE),
    "role of another API": Caller("user", LISA, HERE, audience="api://other", roles=ROLE),
    "role of another tenant": Caller("user", LISA, THERE, audience=OURS, roles=ROLE),
    "listed": Caller("user", OPS, HERE, audience=OURS),
    "listed id of another tenant": Caller("user", OPS, THERE, audience=OURS),
    "listed, token of a workflow": Caller("user", OPS, HERE, audience="api://other"),
}
TABLE = """
                            | anonymous's | ada's    | of ada's id there | none
no token                    | bearer      | none     | none              | none
ada                         | bearer      | owner    | none              | none
ada, token of a workflow    | bearer      | owner    | none              | none
lisa                        | bearer      | none     | none              | none
role                        | operator    | operator | operator          | none
role of another API         | bearer      | none     | none              | none
role of another tenant      | bearer      | none     | none              | none
listed                      | operator    | operator | operator          | none
listed id of another tenant | bearer      | none     | none              | none
listed, token of a workflow | bearer      | none     | none              | none
"""
"""Rows are callers, columns are runs."""

LINES = [[part.strip() for part in line.split("|")] for line in TABLE.strip("\n").splitlines()]
ROWS = [(line[0], run, what) for line in LINES[1:] for run, what in zip(LINES[0][1:], line[1:], strict=True)]


@table(("who", "run", "what"), ROWS)
def test_who_is_what_to_a_run(who: str, run: str, what: str):
    assert standing(INSTALLATION, RUNS[run], CALLERS[who]) is Standing(what)


def test_the_table_is_complete():
    assert {row[0] for row in ROWS} == set(CALLERS)
    assert {row[1] for row in ROWS} == set(RUNS)


def test_operators_are_those_whose_token_is_for_us():
    assert {name for name, caller in CALLERS.items() if is_operator(INSTALLATION, caller)} == {"role", "listed"}


@pytest.mark.parametrize(
    ("who", "tenants", "failed"),
    [
        ("ada", [HERE], None),
        ("ada, token of a workflow", [HERE], None),
        ("role of another tenant", [HERE], "tenant-allowed"),
        ("role of another tenant", [HERE, THERE], None),
    ],
)
def test_a_token_that_any_workflow_takes_is_taken(who: str, tenants: list[str], failed: str | None):
    policies = [OPEN, bind(tenant_users(audiences=["api://other"]), people={}, tenants=tenants, audiences=[OURS])]
    try:
        recognise(INSTALLATION, policies, CALLERS[who])
    except Refused as refused:
        assert (refused.failed.name, refused.proved) == (failed, True)
    else:
        assert failed is None
