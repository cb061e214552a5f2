"""`/approvals`: what waits for a person's decision, and `/runs/{id}/approvals/{name}`, where it is given."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_json
from starlette.requests import Request

from postern.access import Caller
from postern.api.access import policies_of, recognise, standing
from postern.api.approval_actions import (
    ApprovalActions,
    Approver,
    Listed,
    check_approver,
    check_open,
    cursor_place,
    cursor_text,
    not_asked,
)
from postern.api.client import address_of
from postern.api.departure import Page
from postern.api.handlers import holder_for
from postern.api.list_query import APPROVALS, approval_page, no_parameters
from postern.api.representation import approval_json, when
from postern.api.sent_object import sent_object
from postern.catalog import Snapshot
from postern.errors import problem
from postern.ids import is_id
from postern.journal.approvals import LONGEST_COMMENT, place_of
from postern.journal.durable_runs import NODE
from postern.journal.reading.cursor import opened, sealed
from postern.json_parser import parse
from postern.settings.installation import Installation
from postern.triggers.reply import Answer, json_reply
from postern.triggers.secure_transport import Scope

MOST_BYTES = 8192
"""Bytes of a decision with its comment."""


@dataclass(frozen=True, slots=True)
class ApprovalHandlers:
    """The endpoints. `identify` verifies the token of a request."""

    installation: Installation
    identify: Callable[[Scope], Awaitable[Caller]]
    snapshot: Callable[[], Snapshot]
    actions: ApprovalActions

    @property
    def pages(self) -> tuple[tuple[str, str, Page], ...]:
        """The pages by method and path."""
        return ("GET", "/approvals", self.index), ("POST", "/runs/{id}/approvals/{name}", self.decide)

    async def index(self, request: Request) -> Answer:
        """The approvals that wait for the caller, the oldest first."""
        caller = await self.identify(request.scope)
        _, cursor, limit = approval_page(request.scope["query_string"])
        after = None if cursor is None else cursor_place(opened(APPROVALS, cursor))
        found, place = await self.actions.waiting_for(caller, holder_for(request, caller), after, limit)
        if not found:  # a token that some approval admits is for this server
            self._recognise(caller)
        following = None if place is None else sealed(APPROVALS, cursor_text(place))
        return json_reply(200, to_json({"approvals": [_listed(each) for each in found], "next": following}))

    async def decide(self, request: Request) -> Answer:
        """Decide, once: the first decision stands."""
        before = (await self._approver(request)).approval
        no_parameters(request.scope["query_string"])
        approved, comment, since = _decision(await sent_object(request, MOST_BYTES))
        approver = await self._approver(request)  # again: access may have ended while the body arrived
        meant = when(before.since) if since is None else since
        if place_of(approver.approval) != place_of(before) or meant != when(before.since):
            raise problem("approval-decided")  # the run asks for another one of this name by now
        decided = await self.actions.decide(approver, approved, comment)
        return json_reply(200, to_json(approval_json(decided)))

    async def _approver(self, request: Request) -> Approver:
        """The person who may decide now. Raises Refused and Problem."""
        run_id, name = request.path_params["id"], request.path_params["name"]
        caller = await self.identify(request.scope)
        if not is_id(run_id):
            self._recognise(caller)
            raise problem("unknown-approval")
        record, approval = await self.actions.find(run_id, name, holder_for(request, caller))
        what = standing(self.installation, record, caller)
        if record is None or approval is None:
            self._recognise(caller)
            raise not_asked(record, what, durable=record is not None and record.node == NODE)
        check_approver(self.actions.policy(approval), approval, caller, what)
        check_open(approval, self.actions.now())
        return Approver(approval, record, caller, address_of(request))

    def _recognise(self, caller: Caller) -> None:
        recognise(self.installation, policies_of(self.snapshot().triggers.values()), caller)


def _listed(listed: Listed) -> dict[str, Any]:
    """An approval for its approver: no other part of the run."""
    approval = listed.approval
    return {
        "run_id": approval.run_id,
        "name": approval.name,
        "workflow": approval.workflow,
        "data": None if listed.data is None else parse(listed.data),
        "data_missing": listed.data is None,
        "since": when(approval.since),
        "until": when(approval.until),
        "begun_elsewhere": approval.elsewhere,
    }


def _decision(sent: dict[str, Any]) -> tuple[bool, str, str | None]:
    """The decision, its comment, and since when the approval waits that is meant. Raises Problem."""
    errors = [{"where": name, "message": "is not a member of a decision"} for name in sent.keys() - _MEMBERS]
    approved, comment = sent.get("approved"), sent.get("comment") or ""
    if not isinstance(approved, bool):
        errors.append({"where": "approved", "message": "is true or false"})
    if not isinstance(comment, str) or len(comment) > LONGEST_COMMENT:
        errors.append({"where": "comment", "message": f"is a text of at most {LONGEST_COMMENT} characters"})
    since = sent.get("since")
    if since is not None and not isinstance(since, str):
        errors.append({"where": "since", "message": "is the member of the approval in the list"})
    if errors:
        raise problem("invalid-body", detail="The body is not a decision.", errors=errors)
    return approved is True, comment, since


_MEMBERS = {"approved", "comment", "since"}
