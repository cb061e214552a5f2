"""`/console/approvals`: what waits for the person who is signed in, and what that person decided of late. A decision is
sent by a form only: no page that is opened decides anything."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection

from postern.access import Caller
from postern.api.access import Standing, allows, standing
from postern.api.approval_actions import (
    ApprovalActions,
    Approver,
    check_approver,
    check_open,
    cursor_place,
    cursor_text,
    is_person,
)
from postern.api.client import address_of
from postern.api.list_query import APPROVALS, approval_page
from postern.console.approval_view import (
    ApprovalView,
    approval_view,
    decided_by,
    decision_view,
    is_open,
    listed_view,
    own_decisions,
)
from postern.console.form import form_of
from postern.console.page import PageRoute, SeeOther, Shown, Visit, unproved
from postern.console.services import Services
from postern.console.waiting_approvals import own_waiting
from postern.errors import Problem, problem
from postern.ids import is_id
from postern.journal.approvals import LONGEST_COMMENT, Approval, find
from postern.journal.reading.cursor import opened, sealed
from postern.journal.reading.decisions import decided, numbered
from postern.journal.reading.queries import find_run_alone
from postern.journal.reading.records import RunRecord

HERE = "approvals"
PATH = "/console/approvals"
PAGE = 20
MOST_DECIDED = 10
MOST_FORM_BYTES = 16 * 1024
MOST_DIGITS = 9
SHOWN_AGAIN = frozenset({"approval-decided", "run-ended"})
"""Problems that are said on the page of the approval."""
DECISIONS = {"approve": True, "reject": False}


class Found(NamedTuple):
    """An approval that a request names, the record of its run, and the relation of the person to that."""

    approval: Approval
    record: RunRecord
    what: Standing


@dataclass(frozen=True, slots=True)
class Approvals:
    """The pages. They do what the API does, with the same checks and log lines."""

    services: Services

    @property
    def routes(self) -> tuple[PageRoute, ...]:
        """Where they are. They are for all people: an author may ask any of them."""
        one = f"{PATH}/{{id}}/{{name}}"
        return (
            PageRoute("GET", PATH, self.list, for_people=True),
            PageRoute("GET", one, self.one, for_people=True),
            PageRoute("POST", one, self.decide, for_people=True),
        )

    async def list(self, visit: Visit) -> Shown:
        """What waits, the oldest first, and what this person decided of late."""
        actions, caller, now = self._actions, unproved(visit.viewer.caller), self.services.now()
        _, cursor, _ = approval_page(visit.query)
        after = None if cursor is None else cursor_place(opened(APPROVALS, cursor))
        found, place = await actions.waiting_for(caller, visit.holder, after, PAGE)
        first = cursor is None
        barred = await own_waiting(actions, caller, visit.holder) if first else []
        late = await self.services.read(decided, visit.holder) if first else []
        values = {
            "waiting": [listed_view(each, caller, actions.policy(each.approval)) for each in found],
            "more": "" if place is None else sealed(APPROVALS, cursor_text(place)),
            "first": first,
            "barred": [approval_view(each, caller) for each in barred],
            "decided": own_decisions(late, caller, now, MOST_DECIDED),
            "longest": LONGEST_COMMENT,
        }
        return Shown("approvals.html", values, HERE)

    async def one(self, visit: Visit) -> Shown:
        """One approval: its form while it waits for this person, and what became of it afterwards."""
        return await self._shown(visit, await self._found(visit, visit.request.query_params.get("number", "")))

    async def decide(self, visit: Visit) -> Shown | SeeOther:
        """Decide about the approval that the person saw, which its number tells from others of the same name."""
        fields = await form_of(visit, MOST_FORM_BYTES)
        number, comment = fields.get("number", ""), fields.get("comment", "").replace("\r\n", "\n").strip()
        found = await self._found(visit, number or "none")
        approved = DECISIONS.get(fields.get("decision", ""))
        caller, actions = unproved(visit.viewer.caller), self._actions
        try:
            check_approver(actions.policy(found.approval), found.approval, caller, found.what)
            check_open(found.approval, self.services.now())
            if (seen := found.approval.since.hex()) != fields.get("since", seen):
                raise problem("approval-decided")  # the run was repeated, and may ask for something else
            if approved is None or len(comment) > LONGEST_COMMENT:
                wrong = f"Choose Approve or Reject, with a comment of at most {LONGEST_COMMENT} characters."
                return await self._shown(visit, found, wrong=wrong, comment=comment, status=400)
            approver = Approver(found.approval, found.record, caller, address_of(visit.request))
            await actions.decide(approver, approved, comment)
        except Problem as late:
            if late.code not in SHOWN_AGAIN:
                raise
            found = await self._found(visit, number)
            return await self._shown(
                visit, found, wrong=f"Your decision was not taken. {late.detail}", status=late.status
            )
        return SeeOther(f"{PATH}/{found.approval.run_id}/{found.approval.name}?number={number}")

    @property
    def _actions(self) -> ApprovalActions:
        if self.services.approvals is None:
            raise problem("not-found")
        return self.services.approvals

    async def _found(self, visit: Visit, number: str) -> Found:
        """The approval of the path: the one with this number, without a number the newest one. Raises Problem for
        people who are not asked, and have not decided it."""
        run_id, name = visit.request.path_params["id"], visit.request.path_params["name"]
        if not is_id(run_id) or (number and not _is_number(number)):
            raise problem("unknown-approval")

        def read(connection: Connection) -> tuple[RunRecord | None, Approval | None]:
            asked = numbered(connection, run_id, int(number)) if number else find(connection, run_id, name)
            return find_run_alone(connection, run_id), asked

        record, approval = await self.services.read(read, visit.holder)
        if record is None or approval is None or approval.name != name:
            raise problem("unknown-approval")
        caller = unproved(visit.viewer.caller)
        if not self._is_asked(approval, caller) and not decided_by(approval, caller):
            raise problem("unknown-approval", reason="not asked")
        return Found(approval, record, standing(self.services.installation, record, visit.viewer.caller))

    def _is_asked(self, approval: Approval, caller: Caller) -> bool:
        policy = self._actions.policy(approval)
        return policy is not None and allows(policy, caller) and is_person(caller)

    async def _waiting(self, approval: Approval, caller: Caller, *, whole: bool) -> ApprovalView:
        shown = await self._actions.shown(approval)
        return listed_view(shown, caller, self._actions.policy(approval), whole=whole)

    async def _shown(
        self, visit: Visit, found: Found, *, wrong: str = "", comment: str = "", status: int = 200
    ) -> Shown:
        approval, now, caller = found.approval, self.services.now(), unproved(visit.viewer.caller)
        waits = is_open(approval, now)
        whole = visit.request.query_params.get("data") == "whole"
        acts = decided_by(approval, caller) or found.what in (Standing.OPERATOR, Standing.OWNER)
        values: dict[str, Any] = {
            "waiting": await self._waiting(approval, caller, whole=whole) if waits else None,
            "decision": None if waits else decision_view(approval, now, acts=acts),
            "mine": decided_by(approval, caller),
            "wrong": wrong,
            "comment": comment,
            "sees_run": found.what in (Standing.OPERATOR, Standing.OWNER),
            "longest": LONGEST_COMMENT,
        }
        return Shown("approval.html", values, HERE, status)


def _is_number(text: str) -> bool:
    """Whether a text is the number of an approval. Those that were set aside have negative ones."""
    digits = text.removeprefix("-")
    return digits.isascii() and digits.isdigit() and len(digits) <= MOST_DIGITS
