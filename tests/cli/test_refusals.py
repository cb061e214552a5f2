"""`postern refusals`, and `postern explain REQUEST_ID`."""

import json
from typing import Any

import pytest
from starlette.responses import PlainTextResponse

from postern.ids import new_id
from tests.cli.conftest import Postern
from tests.cli.keeper import Keeper, refusal_record
from tests.cli.test_runs import HOSTILE, ids
from tests.cli.test_token_and_explain import marked

pytestmark = pytest.mark.slow


@pytest.fixture
def beside(postern: Postern, keeper: Keeper) -> Postern:
    """Commands beside a server."""
    return lambda *arguments, **more: postern(*arguments, **{**keeper.environ, **more})


def test_refusals_are_listed_with_the_claimed_identity(beside: Postern, keeper: Keeper):
    unverified = {"object_id": "ada", "client_id": "c1", "tenant_id": "t1", "name": None, "verified": False}
    keeper.refusals = [
        refusal_record(),
        refusal_record(claimed=unverified, workflow=None),
        refusal_record(claimed=None, checks=[], reason="body-too-large"),
    ]
    result = beside("refusals")
    assert result.exit_code == 0
    header, first, second, third = result.stdout.splitlines()
    assert header.split() == [
        "last",
        "(UTC)",
        "count",
        "code",
        "reason",
        "workflow",
        "address",
        "claimed",
        "identity",
        "request",
    ]
    assert first.split()[:7] == ["2026-01-31", "11:00:00", "3", "unauthenticated", "listed", "payroll", "192.0.2.7"]
    assert "Ada Okafor, ed1bf663-4183-4555-b113-3ed7e5cc901b  " in first
    assert "ada, client c1 (unverified)" in second
    assert " none " in third
    assert ids(result.stdout) == [refusal["id"] for refusal in keeper.refusals]


def test_every_filter_is_sent_and_json_is_for_programs(beside: Postern, keeper: Keeper):
    keeper.refusals = [refusal_record(reason="expiry"), refusal_record(), refusal_record()]
    options = ["--workflow", "payroll", "--reason", "listed", "--address", "192.0.2.7", "--via", "mcp"]
    result = beside("refusals", *options, "--since", "2026-01-31", "--until", "2026-02-01", "--limit", "1", "--json")
    assert json.loads(result.stdout) == {"refusals": [keeper.refusals[1]], "next": "1"}
    assert keeper.requests[-1][1] == {
        "workflow": "payroll",
        "reason": "listed",
        "address": "192.0.2.7",
        "via": "mcp",
        "since": "2026-01-31T00:00:00.000Z",
        "until": "2026-02-01T00:00:00.000Z",
        "limit": "1",
    }
    assert "raise --limit above 1" in beside("refusals", "--limit", "1").stderr


def test_an_empty_list_says_so(beside: Postern):
    assert beside("refusals").stderr == "No matching refusals. A rejected request is listed about a second later.\n"
    assert beside("refusals", "--since", "soon").exit_code == 2


def test_they_are_for_operators(beside: Postern):
    for command, exit_code in ((["refusals"], 1), (["explain", new_id()], 2)):
        result = beside(*command, "--as", "lisa")
        assert (result.exit_code, result.stdout) == (exit_code, "")
        assert "the server answered 403: Operator role required." in result.stderr
        assert "POSTERN_OPERATORS" in result.stderr


def test_explain_shows_the_checks_of_a_rejected_request(beside: Postern, keeper: Keeper):
    """By any of its ids, and as `explain TOKEN` does."""
    keeper.refusals = [refusal_record(reason="expiry"), refusal_record()]
    for request_id in keeper.refusals[1]["request_ids"]:
        result = beside("explain", request_id.upper())
        assert (result.exit_code, marked(result.stdout)) == (1, ["listed"])
        assert result.stdout.splitlines()[-4:] == [
            "when              2026-01-31 10:00:00.000Z to 2026-01-31 11:00:00.000Z",
            "from              192.0.2.7",
            "how often         3 times",
            "claimed identity  Ada Okafor, ed1bf663-4183-4555-b113-3ed7e5cc901b",
        ]
        assert result.stderr == (
            "payroll rejected it with 401 unauthenticated: the check 'listed' is the first that fails.\n"
        )


def test_a_refusal_without_checks_is_explained_by_its_reason(beside: Postern, keeper: Keeper):
    at = "2026-01-31T10:00:00.000Z"
    members: dict[str, Any] = {
        "workflow": None,
        "status": 404,
        "code": "unknown-trigger",
        "reason": "unknown-trigger",
        "checks": [],
    }
    keeper.refusals = [refusal_record(**members, claimed=None, count=1, first_at=at, last_at=at)]
    result = beside("explain", keeper.refusals[0]["id"])
    assert (result.exit_code, "FAILED" in result.stdout) == (1, False)
    assert result.stdout.startswith(
        "when              2026-01-31 10:00:00.000Z\nfrom              192.0.2.7\nhow often         once\n"
    )
    assert result.stderr == "The server rejected it with 404 unknown-trigger: unknown-trigger.\n"


def test_a_request_without_a_record_is_an_error_with_possible_reasons(beside: Postern, keeper: Keeper):
    keeper.refusals = [refusal_record()]
    result = beside("explain", new_id())
    assert (result.exit_code, result.stdout) == (3, "")
    for meaning in ("not have been rejected", "only the first ids are kept", "POSTERN_RETENTION_DAYS (30)"):
        assert meaning in result.stderr


def test_a_record_that_cannot_be_fetched_is_an_error(postern: Postern, beside: Postern, keeper: Keeper):
    keeper.answer = PlainTextResponse("<html>", 502)
    assert beside("explain", new_id()).exit_code == 2
    assert postern("explain", new_id(), POSTERN_PORT="1").exit_code == 2
    assert beside("refusals").exit_code == 1


def test_what_a_caller_sent_cannot_steer_the_terminal(beside: Postern, keeper: Keeper):
    check = {"name": HOSTILE, "passed": False, "expected": [HOSTILE], "found": HOSTILE}
    claimed = {"name": HOSTILE, "object_id": HOSTILE, "client_id": HOSTILE, "tenant_id": HOSTILE, "verified": False}
    keeper.refusals = [refusal_record(workflow=HOSTILE, reason=HOSTILE, claimed=claimed, checks=[check])]
    for result in (beside("refusals"), beside("refusals", "--json"), beside("explain", keeper.refusals[0]["id"])):
        assert not set(result.output) & set("\x1b\u202e\x9b\r\x7f")
        assert "red]" in result.output


def test_a_token_is_explained_with_a_workflow_and_without_a_caller(postern: Postern):
    for options in ([], ["--workflow", "payroll", "--as", "ada"], ["-w", "payroll", "--token-file", "-"]):
        assert postern("explain", "garbage", *options).exit_code == 2
    assert "--workflow" in postern("explain", "garbage").stderr
