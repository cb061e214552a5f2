"""A run goes on with a decision only if Postern sealed it for what the run asks."""

from dataclasses import replace
from typing import Any

import pytest

from postern.connections.faults import ConnectionFault
from postern.connections.sealing.sealed_text import KeyGone
from postern.durable.decisions import is_genuine, sealed_decision
from postern.durable.seals import KeySeals, NoSeal
from postern.errors import Problem
from postern.journal.approvals import Approval, ApprovalState, Decided
from tests.connections.sealing.ring import Ring
from tests.durable.test_seals import KEY

pytestmark = pytest.mark.anyio

ASKED = Approval("run-1", 5, "manager", "pay", "{}", frozenset({"mia"}), False, 0.0, 200.0)
IN_ROW = replace(ASKED, elsewhere=True, since=100.0, key_version="v1", data="sealed")
DECIDED = Decided(True, "fine", 150.0, '{"object_id": "lisa"}', "lisa")
SEALS = KeySeals(Ring(v1=KEY))


async def row(seals: Any = SEALS, approval: Approval = IN_ROW, **decided: Any) -> Approval:
    """The row of an approval after a decision."""
    made = await sealed_decision(seals, approval, DECIDED._replace(**decided))
    state = ApprovalState.APPROVED if made.approved else ApprovalState.REJECTED
    how: dict[str, Any] = {"decided_at": made.at, "decided_by": made.by, "comment": made.comment}
    return replace(approval, state=state, **how, decision=made.sealed, decision_key_version=made.key_version)


@pytest.mark.parametrize("approved", [True, False])
@pytest.mark.parametrize("seals", [SEALS, NoSeal()], ids=["sealed", "without a key"])
async def test_a_decision_is_genuine_as_it_was_made(seals: Any, approved: bool):
    assert await is_genuine(seals, await row(seals, approved=approved), ASKED)


@pytest.mark.parametrize(
    "changed",
    [
        {"state": ApprovalState.REJECTED},
        {"comment": "not fine"},
        {"comment": None},
        {"decided_by": '{"object_id": "mia"}'},
        {"decided_at": 151.0},
        {"decided_at": None},
        {"decision": None},
        {"decision": None, "decision_key_version": None},
        {"decision": "1.AAAA"},
        {"decision_key_version": None},
        {"number": 6},
        {"run_id": "run-2"},
        {"name": "director"},
        {"who": '{"mode": "tenant_users"}'},
        {"barred": frozenset()},
        {"until": 300.0},
        {"until": None},
    ],
    ids=str,
)
async def test_a_row_that_was_changed_is_no_decision(changed: dict[str, Any]):
    assert not await is_genuine(SEALS, replace(await row(), **changed), ASKED)


@pytest.mark.parametrize(
    "question",
    [{"name": "director"}, {"who": "[]"}, {"barred": frozenset()}, {"until": None}, {"until": 300.0}],
    ids=str,
)
async def test_a_decision_of_another_question_is_none(question: dict[str, Any]):
    """Also if Postern made it, because the row was changed before."""
    for seals in (SEALS, NoSeal()):
        assert not await is_genuine(seals, await row(seals, replace(IN_ROW, **question)), ASKED)


async def test_a_decision_after_the_time_is_none():
    assert not await is_genuine(SEALS, await row(at=201.0), ASKED)


async def test_a_seal_of_other_data_of_the_run_is_no_decision():
    kept, version = await SEALS.seal("run-1", "approval 5", "null")
    assert not await is_genuine(SEALS, replace(await row(), decision=kept, decision_key_version=version), ASKED)


async def test_a_key_that_is_gone_says_nothing_of_a_decision():
    found = await row()
    for seals in (KeySeals(Ring(v2=KEY)), NoSeal()):
        with pytest.raises(KeyGone):
            await is_genuine(seals, found, ASKED)


async def test_nobody_decides_while_the_key_cannot_be_read():
    with pytest.raises(Problem) as raised:
        await sealed_decision(KeySeals(Ring()), IN_ROW, DECIDED)
    assert (raised.value.code, raised.value.status) == ("durable-key-unavailable", 503)
    assert isinstance(raised.value.__context__, ConnectionFault)
