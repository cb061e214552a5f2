"""`postern approvals` and `postern runs signal`."""

import json
from pathlib import Path

import pytest

from postern.ids import new_id
from tests.cli.conftest import Postern
from tests.cli.keeper import Keeper, approval
from tests.cli.test_runs import HOSTILE

pytestmark = pytest.mark.slow

RUN = new_id()


@pytest.fixture
def beside(postern: Postern, keeper: Keeper) -> Postern:
    """Commands beside a server."""
    return lambda *arguments, **more: postern(*arguments, **{**keeper.environ, **more})


def test_what_waits_is_listed_with_what_it_is_about(beside: Postern, keeper: Keeper):
    keeper.approvals = [
        approval(until="2026-02-01T10:00:00.000Z"),
        approval(name="finance", data="x" * 500, begun_elsewhere=True),
        approval(data=None, data_missing=True),
    ]
    result = beside("approvals")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["since", "(UTC)", "until", "(UTC)", "workflow", "name", "about", "run"]
    assert "2026-02-01 10:00:00" in lines[1]
    assert '{"amount": 7}' in lines[1]
    assert "finance *" in lines[2]
    assert (result.stdout.count("x"), "…" in result.stdout) == (200, True)
    assert "cannot be opened now" in result.stdout
    assert "not known which person" in result.stderr
    assert json.loads(beside("approvals", "list", "--json").stdout)["approvals"] == keeper.approvals
    assert "raise --limit above 1" in beside("approvals", "--limit", "1").stderr


def test_nothing_that_waits_is_said(beside: Postern):
    assert beside("approvals").stderr == "No decision waits for you.\n"


@pytest.mark.parametrize(
    ("command", "body"),
    [
        (["approve", RUN, "manager"], {"approved": True}),
        (["reject", RUN, "manager", "--comment", "too much"], {"approved": False, "comment": "too much"}),
    ],
)
def test_a_decision_is_sent_with_its_comment(beside: Postern, keeper: Keeper, command: list[str], body: object):
    result = beside("approvals", *command)
    assert result.exit_code == 0
    assert result.stderr == f"{'Approved' if command[0] == 'approve' else 'Rejected'} at 2026-01-31 12:00:00.\n"
    assert json.loads(keeper.bodies[-1][0]) == body
    assert keeper.requests[-1][0] == f"POST /runs/{RUN}/approvals/manager"


@pytest.mark.parametrize("data", [None, '{"n": 1}', "@data.json"])
def test_a_signal_is_sent_with_its_data(beside: Postern, keeper: Keeper, data: str | None):
    Path("data.json").write_text('{"n": 1}', encoding="utf-8")
    options = [] if data is None else ["--data", data]
    result = beside("runs", "signal", RUN, "paid", *options, "--idempotency-key", "k1")
    assert (result.exit_code, result.stderr) == (0, "Sent at 2026-01-31 12:00:00.\n")
    assert keeper.bodies[-1] == (b"" if data is None else b'{"n": 1}', "k1")
    assert keeper.requests[-1][0] == f"POST /runs/{RUN}/signals/paid"


@pytest.mark.parametrize("command", [["runs", "signal"], ["approvals", "approve"], ["approvals", "reject"]])
def test_what_is_no_id_or_no_name_is_not_sent(beside: Postern, keeper: Keeper, command: list[str]):
    for run, name in (("x", "manager"), (RUN, "../manager"), (RUN, "Manager")):
        assert beside(*command, run, name).exit_code == 2
    assert keeper.requests == []


def test_what_others_wrote_is_shown_as_plain_text(beside: Postern, keeper: Keeper):
    keeper.approvals = [approval(data={"text": HOSTILE}, workflow=HOSTILE)]
    assert "\x1b" not in beside("approvals").stdout
    assert "\u202e" not in beside("approvals").stdout
