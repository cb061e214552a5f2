"""Approvals as their pages show them. Pure."""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from postern.access import Caller, Policy, Refused, admit
from postern.api.approval_actions import Listed
from postern.console.bodies import Body, json_body
from postern.console.run_words import who
from postern.journal.approvals import Approval, ApprovalState
from postern.plain_text import plain

OUTCOMES = {
    ApprovalState.APPROVED: "approved",
    ApprovalState.REJECTED: "rejected",
    ApprovalState.TIMED_OUT: "timed out: nobody decided in time",
    ApprovalState.ENDED: "not decided: the run ended first",
}
"""What became of an approval that does not wait any longer."""
ELSEWHERE = "The sign-in of this page does not prove it: decide with your own client."
UNKNOWN_DATA = Body(None, "The data cannot be read at the moment. Decide when you know what it says.", 0)


@dataclass(frozen=True, slots=True)
class ApprovalView:
    """An approval. `number` tells it from others of the same name in its run. `elsewhere` says that nobody knows which
    person began the chain of calls, `own` that the viewer caused the run, and `blocked` why this session cannot decide.
    `data` is None where it is not shown."""

    run_id: str
    name: str
    number: int
    workflow: str
    since: float
    until: float | None
    elsewhere: bool
    own: bool
    data: Body | None = None
    blocked: str = ""


@dataclass(frozen=True, slots=True)
class DecisionView:
    """What became of an approval: a word, and for those who may know it who decided, with the comment."""

    name: str
    workflow: str
    run_id: str
    number: int
    outcome: str
    at: float | None
    by: str
    comment: str


def approval_view(approval: Approval, caller: Caller, data: Body | None = None, blocked: str = "") -> ApprovalView:
    """The approval, as this viewer sees it."""
    return ApprovalView(
        approval.run_id,
        plain(approval.name),
        approval.number,
        plain(approval.workflow),
        approval.since,
        approval.until,
        approval.elsewhere,
        caller.object_id in approval.barred,
        data,
        blocked,
    )


def listed_view(listed: Listed, caller: Caller, policy: Policy | None, *, whole: bool = False) -> ApprovalView:
    """The approval with its data. `policy` is that of those who may decide."""
    data = UNKNOWN_DATA if listed.data is None else json_body(listed.data, whole=whole)
    return approval_view(listed.approval, caller, data, blocked(policy, caller))


def blocked(policy: Policy | None, caller: Caller) -> str:
    """Why a person who is asked cannot decide by this session, "" if that is possible: the sign-in of the console does
    not prove what the author requires."""
    if policy is None:
        return ""
    try:
        admit(policy, caller)
    except Refused as refused:
        return f"{plain(refused.failed.advice)} {ELSEWHERE}".strip()
    return ""


def decision_view(approval: Approval, now: float, *, acts: bool) -> DecisionView:
    """What became of an approval. `acts` shows who decided, and the comment."""
    over = approval.state is ApprovalState.WAITING and not is_open(approval, now)
    state = ApprovalState.TIMED_OUT if over else approval.state
    return DecisionView(
        plain(approval.name),
        plain(approval.workflow),
        approval.run_id,
        approval.number,
        OUTCOMES.get(state, state.value),
        approval.decided_at,
        who(json.loads(approval.decided_by)) if acts and approval.decided_by else "",
        plain(approval.comment or "", lines=True) if acts else "",
    )


def is_open(approval: Approval, now: float) -> bool:
    """Whether a decision is still wanted."""
    return approval.state is ApprovalState.WAITING and (approval.until is None or approval.until > now)


def decided_by(approval: Approval, caller: Caller) -> bool:
    """Whether this person decided it."""
    by = json.loads(approval.decided_by) if approval.decided_by else {}
    return bool(caller.object_id) and (by.get("kind"), by.get("object_id")) == ("user", caller.object_id)


def own_decisions(found: Iterable[Approval], caller: Caller, now: float, most: int) -> list[DecisionView]:
    """The decisions of this person among these, up to `most`."""
    mine = [each for each in found if decided_by(each, caller)]
    return [decision_view(each, now, acts=True) for each in mine[:most]]
