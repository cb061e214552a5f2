"""Approvals that wait, as far as one short read shows: how many are for a person, and which that person may not decide
because of having caused the run."""

from functools import partial
from typing import NamedTuple

from postern.access import Caller, Policy
from postern.api.access import allows
from postern.api.approval_actions import WINDOW, ApprovalActions, is_person, may_decide
from postern.journal.approvals import Approval, waiting
from postern.journal.shares import Holder

MOST_OWN = 20


class Waiting(NamedTuple):
    """How many approvals wait for a person, at least so many if `more`, and since when the oldest one does."""

    number: int
    more: bool
    since: float | None


async def waiting_number(actions: ApprovalActions, caller: Caller, holder: Holder) -> Waiting:
    """How many wait for this person, among the oldest ones."""
    window = await _window(actions, holder)
    policies = _policies(actions, window)
    found = [each for each in window if may_decide(policies[each.who], each, caller)]
    return Waiting(len(found), len(window) == WINDOW, found[0].since if found else None)


async def own_waiting(actions: ApprovalActions, caller: Caller, holder: Holder) -> list[Approval]:
    """Those, among the oldest ones, that this person could decide if another had caused the run."""
    window = [each for each in await _window(actions, holder) if caller.object_id in each.barred]
    policies = _policies(actions, window)
    return [each for each in window if _admits(policies[each.who], caller)][:MOST_OWN]


async def _window(actions: ApprovalActions, holder: Holder) -> list[Approval]:
    return await actions.read(partial(waiting, now=actions.now(), after=None, most=WINDOW), holder)


def _policies(actions: ApprovalActions, window: list[Approval]) -> dict[str, Policy | None]:
    """The policies of these approvals as of now. Many have the same access mode."""
    return {who: actions.policy(each) for who, each in {each.who: each for each in window}.items()}


def _admits(policy: Policy | None, caller: Caller) -> bool:
    return policy is not None and allows(policy, caller) and is_person(caller)
