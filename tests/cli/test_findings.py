"""`postern findings`."""

import json

import pytest

from tests.cli.conftest import Postern
from tests.cli.keeper import Keeper, finding_record
from tests.cli.test_runs import HOSTILE

pytestmark = pytest.mark.slow


@pytest.fixture
def beside(postern: Postern, keeper: Keeper) -> Postern:
    """Commands beside a server."""
    return lambda *arguments, **more: postern(*arguments, **{**keeper.environ, **more})


def test_findings_are_listed_with_whom_they_are_about(beside: Postern, keeper: Keeper):
    keeper.findings = [finding_record(), finding_record(caller=None, subject="address/192.0.2.7", workflow=None)]
    result = beside("findings")
    assert result.exit_code == 0
    header, first, second = result.stdout.splitlines()
    assert header.split()[:4] == ["last", "(UTC)", "count", "state"]
    assert first.split()[:5] == ["2026-01-31", "11:00:00", "3", "new", "new-network"]
    assert "Ada Okafor, ed1bf663-4183-4555-b113-3ed7e5cc901b, client c1" in first
    assert "address/192.0.2.7" in second
    assert first.endswith(keeper.findings[0]["id"])


def test_every_filter_is_sent_and_json_is_for_programs(beside: Postern, keeper: Keeper):
    keeper.findings = [finding_record(), finding_record()]
    caller = "ed1bf663-4183-4555-b113-3ed7e5cc901b"
    options = ["--kind", "new-network", "--state", "new", "--caller", caller, "--since", "2026-01-31", "--limit", "1"]
    result = beside("findings", "list", *options, "--json")
    assert json.loads(result.stdout) == {"findings": keeper.findings[:1], "next": "1"}
    sent = {"kind": "new-network", "state": "new", "caller": caller, "since": "2026-01-31T00:00:00.000Z", "limit": "1"}
    assert keeper.requests[-1] == ("GET /findings", sent)
    beside("findings", "--caller", "lisa")
    assert keeper.requests[-1][1]["caller"] == keeper.tenant.people["lisa"]
    assert "raise --limit above 1" in beside("findings", "--limit", "1").stderr


def test_one_is_shown_with_its_evidence(beside: Postern, keeper: Keeper):
    keeper.findings = [finding_record()]
    result = beside("findings", "show", keeper.findings[0]["id"])
    shown = [line.split(maxsplit=1) for line in result.stdout.splitlines()]
    assert ["kind", "new-network: A new network"] in shown
    assert ["networks", "192.0.2.0/24"] in shown
    assert ["runs", "run-1"] in shown
    assert json.loads(beside("findings", "show", keeper.findings[0]["id"], "--json").stdout) == keeper.findings[0]


def test_one_is_acknowledged(beside: Postern, keeper: Keeper):
    keeper.findings = [finding_record()]
    result = beside("findings", "acknowledge", keeper.findings[0]["id"])
    assert result.stderr == "Acknowledged by Ada at 2026-01-31 12:00:00.\n"
    assert keeper.requests[-1][0] == f"POST /findings/{keeper.findings[0]['id']}/acknowledge"


def test_what_is_no_finding_is_said(beside: Postern, keeper: Keeper):
    assert "No matching findings" in beside("findings").stderr
    assert beside("findings", "show", "x").exit_code == 2
    result = beside("findings", "show", finding_record()["id"])
    assert (result.exit_code, "There is no such finding" in result.stderr) == (1, True)
    assert "Operator role required" in beside("findings", "--as", "lisa").stderr


def test_texts_of_callers_are_plain(beside: Postern, keeper: Keeper):
    record = finding_record(workflow=HOSTILE)
    record["caller"]["name"] = HOSTILE
    keeper.findings = [record]
    for arguments in (["findings"], ["findings", "show", record["id"]]):
        assert "\x1b" not in beside(*arguments).stdout
