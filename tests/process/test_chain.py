"""The examples that call others, with `postern dev` as a process: a chain through all access modes, and a flow."""

import json
import re
from typing import Any

import pytest

from postern.local_tenant import LocalTenant
from tests.process.commands import command
from tests.process.servers import Server


def test_a_visitor_registers_and_the_badge_comes_from_the_third_trigger(dev: Server):
    """Anonymous, then any of the tenant, then Postern itself only: each hop comes in as Postern's own application."""
    answer = dev.post("register-visitor", json={"name": "Grace"})
    assert (answer.status_code, answer.json()) == (
        200,
        {"badge": "V-007", "name": "Grace", "desk": 7, "by": "application"},
    )


def test_only_postern_issues_a_badge(dev: Server, tenant: LocalTenant):
    body = {"name": "Grace", "desk": 7}
    callers = ("ada", "lisa", "nightly-report", "postern")
    assert [dev.post("issue-badge", tenant.token(who), json=body).status_code for who in callers] == [
        401,
        401,
        401,
        200,
    ]


def test_the_chain_is_on_record_as_one_trace_with_its_parents(dev: Server, tenant: LocalTenant):
    """Each run names the one that called it, and all of them the trace that the first one began."""
    first = dev.post("register-visitor", json={"name": "Ada"}).headers["x-run-id"]
    operator = tenant.token("ada")
    chain = [record(dev, operator, first)]
    while found := runs(dev, operator, parent=chain[-1]["id"]):
        assert len(found) == 1
        chain.append(found[0])
    assert [run["workflow"] for run in chain] == ["register-visitor", "book-desk", "issue-badge"]
    assert [run["parent_run_id"] for run in chain] == [None, chain[0]["id"], chain[1]["id"]]
    assert len({run["trace_id"] for run in chain}) == 1
    assert [run["caller"]["kind"] for run in chain] == ["anonymous", "application", "application"]


def test_the_tree_of_a_chain_is_shown(dev: Server):
    first = dev.post("register-visitor", json={"name": "Ada"}).headers["x-run-id"]
    shown = command(dev.folder, "runs", "show", first, "--tree")
    assert shown.returncode == 0, shown.stderr
    names = re.findall(r"register-visitor|book-desk|issue-badge", shown.stdout)
    assert list(dict.fromkeys(names)) == ["register-visitor", "book-desk", "issue-badge"]


@pytest.mark.parametrize(("days", "approved"), [(3, True), (30, False)])
def test_leave_is_decided_by_a_flow_that_takes_its_time(dev: Server, tenant: LocalTenant, days: int, approved: bool):
    """The flow answers 202 first; the workflow waits for the decision."""
    answer = dev.post("request-leave", tenant.token("ada"), json={"days": days})
    assert (answer.status_code, answer.json()) == (200, {"days": days, "approved": approved, "by": "Lisa Moreau"})


def record(dev: Server, token: str, run_id: str) -> dict[str, Any]:
    answer = dev.client.get(f"/runs/{run_id}", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def runs(dev: Server, token: str, **filters: str) -> list[dict[str, Any]]:
    answer = dev.client.get("/runs", params=filters, headers={"Authorization": f"Bearer {token}"})
    listed: list[dict[str, Any]] = json.loads(answer.text)["runs"]
    return listed
