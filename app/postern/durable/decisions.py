"""Decisions of people, sealed as a whole when there is a key, so that a row of the database is no decision by itself.

The run verifies what it goes on with: Postern sealed it for this run and place, it says the same as the row, and the
row asks what the run has asked.
"""

import json
from dataclasses import replace

from postern.connections.faults import ConnectionFault
from postern.connections.sealing.sealed_text import CannotOpen, KeyGone
from postern.durable.seals import Seals, key_unavailable
from postern.journal.approvals import Approval, ApprovalState, Decided


async def sealed_decision(seals: Seals, approval: Approval, decided: Decided) -> Decided:
    """The decision with its seal. Raises Problem if the key cannot be read."""
    state = ApprovalState.APPROVED if decided.approved else ApprovalState.REJECTED
    text = _text(approval, state, decided.at, decided.by, decided.comment)
    try:
        sealed, version = await seals.seal(approval.run_id, _column(approval.number), text)
    except ConnectionFault as fault:
        raise key_unavailable(fault) from None
    return decided if version is None else decided._replace(sealed=sealed, key_version=version)


async def is_genuine(seals: Seals, found: Approval, asked: Approval) -> bool:
    """Whether a decision answers what the run has asked, and was made by Postern. Without a key only the first can be
    said. Raises KeyGone if its key is not there, and ConnectionFault if the vault is unavailable."""
    text = _text(found, found.state, found.decided_at, found.decided_by, found.comment)
    try:
        kept = text if found.decision is None else found.decision
        opened = await seals.open(found.run_id, _column(found.number), kept, found.decision_key_version)
    except KeyGone:
        raise
    except CannotOpen:
        return False
    late = asked.until is not None and (found.decided_at is None or found.decided_at > asked.until)
    return opened == text and not late and _question(found) == _question(asked)


def _question(approval: Approval) -> Approval:
    """What a run asks, and whom."""
    none = replace(approval, workflow="", elsewhere=False, since=0.0, key_version=None, data="", decision=None)
    return replace(
        none, state=ApprovalState.WAITING, decided_at=None, decided_by=None, comment=None, decision_key_version=None
    )


def _text(approval: Approval, state: str, at: float | None, by: str | None, comment: str | None) -> str:
    asked = [approval.name, approval.who, sorted(approval.barred), approval.until]
    return json.dumps([*asked, str(state), at, by, comment])


def _column(number: int) -> str:
    return f"decision {number}"
