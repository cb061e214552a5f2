"""What people decide about durable runs that wait for them. The API and the console share it, so access and the lines
in the log are the same."""

import struct
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple, Protocol

from sqlalchemy import Connection
from structlog.typing import FilteringBoundLogger

from postern.access import Access, AccessFault, Caller, Policy, Refused, admit
from postern.access.written import access_of
from postern.api.access import Standing, allows, is_anonymous
from postern.api.durable_defaults import unsealed
from postern.api.run_actions import Read, Write
from postern.api.run_audit import RunAudit
from postern.errors import Problem, problem
from postern.journal import approvals as journal
from postern.journal.approvals import Approval, ApprovalState, Decided, Place, Verdict, place_of
from postern.journal.reading.queries import find_run_alone
from postern.journal.reading.records import RunRecord
from postern.journal.run import actor
from postern.journal.shares import Holder
from postern.json_parser import parse
from postern.plain_text import plain
from postern.redaction import without_secret_values

WINDOW = 250
MOST_EXAMINED = 1000
"""Approvals that are examined for a page, so many at a time."""


class Unseal(Protocol):
    """Opens what is kept of a run: `durable.seals.Seals.open`."""

    async def __call__(self, run_id: str, column: str, kept: str, key_version: str | None, /) -> str: ...


class Seal(Protocol):
    """Seals a decision: `durable.decisions.sealed_decision`. Raises Problem."""

    async def __call__(self, approval: Approval, decided: Decided, /) -> Decided: ...


class Asked(NamedTuple):
    """An approval that a request names, the record of its run, and what the caller sees of that. Each is None if there
    is none."""

    record: RunRecord | None
    approval: Approval | None


class Approver(NamedTuple):
    """A person who may decide, from `address`."""

    approval: Approval
    record: RunRecord
    caller: Caller
    address: str


class Listed(NamedTuple):
    """An approval as its approver sees it. `data` is JSON; None if it cannot be opened."""

    approval: Approval
    data: str | None


def is_person(caller: Caller) -> bool:
    """Whether a caller is a person. An application never decides, and nothing that acts in the name of a person."""
    return caller.kind == "user"


def check_approver(policy: Policy | None, approval: Approval, caller: Caller, what: Standing) -> None:
    """Check that a caller may decide. `policy` is that of `who=` as of now, None if it cannot be bound any more.
    Raises Refused for those who see the run, or only have to sign in again, Problem `unknown-approval` for others, and
    `self-approval`."""
    if policy is None:
        raise problem("unknown-approval", reason="its access mode cannot be bound")
    try:
        admit(policy, caller)
    except Refused as refused:
        if what is Standing.NONE and not allows(policy, caller):
            raise problem("unknown-approval", reason=refused.failed.name) from None
        raise
    if not is_person(caller):
        raise problem("unknown-approval", reason="not a person")
    if caller.object_id in approval.barred:
        raise problem("self-approval")


def may_decide(policy: Policy | None, approval: Approval, caller: Caller) -> bool:
    """Whether an approval waits for this caller, who may have to sign in again first."""
    admitted = policy is not None and allows(policy, caller)
    return admitted and is_person(caller) and caller.object_id not in approval.barred


def cursor_text(place: Place) -> str:
    """A place in the list, as a part of a cursor."""
    since, run_id, number = place
    return f"{struct.pack('>d', since).hex()}{run_id}-{number:x}"


def cursor_place(text: str) -> Place:
    """The place that `cursor_text` wrote. Raises Problem."""
    try:
        (since,) = struct.unpack(">d", bytes.fromhex(text[:16]))
        return since, text[16:52], int(text[53:], 16)
    except (ValueError, struct.error):
        message = "is not a cursor for this list: start again without it"
        raise problem("bad-filter", errors=[{"where": "cursor", "message": message}]) from None


@dataclass(frozen=True, slots=True)
class ApprovalActions:
    """Lists approvals, and decides. `bind` makes the policy of an access mode as of now. `come` is called with the run
    that need not wait any longer."""

    read: Read
    write: Write
    bind: Callable[[Access], Policy]
    unseal: Unseal
    come: Callable[[str], object]
    log: FilteringBoundLogger
    now: Callable[[], float]
    audit: RunAudit = field(default_factory=RunAudit)
    seal: Seal = unsealed

    def policy(self, approval: Approval) -> Policy | None:
        """Who may decide, as of now. None if that cannot be bound any more, such as a name that is gone."""
        try:
            return self.bind(access_of(approval.who))
        except AccessFault:
            return None

    async def find(self, run_id: str, name: str, holder: Holder) -> Asked:
        """The newest approval of this name that a run asked for."""

        def query(connection: Connection) -> Asked:
            return Asked(find_run_alone(connection, run_id), journal.find(connection, run_id, name))

        return await self.read(query, holder)

    async def waiting_for(
        self, caller: Caller, holder: Holder, after: Place | None, limit: int
    ) -> tuple[list[Listed], Place | None]:
        """Approvals that wait for this caller, the oldest first, and the place after which the next page begins, None
        at the end. The work for a page is bounded: it may have few approvals, or none."""
        found: list[Approval] = []
        policies: dict[str, Policy | None] = {}
        examined = 0
        while examined < MOST_EXAMINED:
            window = await self.read(partial(journal.waiting, now=self.now(), after=after, most=WINDOW), holder)
            for each in window:
                if len(found) == limit:
                    return await self._listed(found, holder), after
                if each.who not in policies:
                    policies[each.who] = self.policy(each)
                if may_decide(policies[each.who], each, caller):
                    found.append(each)
                after = place_of(each)
            examined += len(window)
            if len(window) < WINDOW:
                return await self._listed(found, holder), None
        return await self._listed(found, holder), after

    async def shown(self, approval: Approval) -> Listed:
        """An approval as its approver sees it."""
        return await self._shown(approval, approval.data)

    async def decide(self, approver: Approver, approved: bool, comment: str) -> Approval:
        """Write the decision of a person. The first one stands. Raises Problem."""
        approval, record, caller, address = approver
        kept = without_secret_values(plain(comment, lines=True))
        decided = await self.seal(approval, Decided(approved, kept, self.now(), actor(caller), caller.object_id))
        verdict = await self.write(partial(journal.decide, approval=approval, decided=decided))
        if verdict is not Verdict.STANDS:
            raise _problem(verdict)
        self.come(approval.run_id)
        state = ApprovalState.APPROVED if approved else ApprovalState.REJECTED
        self._note(approver, state)
        self.audit.decided(caller, record, address, approval.name, state)
        return replace(approval, state=state, decided_at=decided.at, decided_by=decided.by, comment=kept)

    async def _listed(self, found: list[Approval], holder: Holder) -> list[Listed]:
        texts = await self.read(partial(journal.data_of, places=[place_of(each) for each in found]), holder)
        return [await self._shown(each, texts.get(place_of(each)[1:])) for each in found]

    async def _shown(self, approval: Approval, kept: str | None) -> Listed:
        """The approval with its data. What does not open now is shown as missing: the others are listed."""
        column, version = journal.column_of(approval.number), approval.key_version
        try:
            if kept is not None:
                text = await self.unseal(approval.run_id, column, kept, version)
                parse(text)
                return Listed(approval, text)
        except Exception as error:
            self.log.warning("approval-data-not-opened", workflow=approval.workflow, cause=type(error).__name__)
        return Listed(approval, None)

    def _note(self, approver: Approver, state: ApprovalState) -> None:
        """Log it. The id of an anonymous caller's run gives access to it, so it is left out."""
        record, caller = approver.record, approver.caller
        self.log.info(
            "approval-decided",
            run_id="" if is_anonymous(record) else record.id,
            workflow=record.workflow,
            approval=approver.approval.name,
            decision=state.value,
            caller=caller.kind,
            object_id=caller.object_id,
            client_id=caller.client_id,
            client_address=approver.address,
        )


def check_open(approval: Approval, now: float) -> None:
    """Check that a decision is still wanted. Raises Problem."""
    if approval.state is ApprovalState.ENDED:
        raise problem("run-ended")
    over = approval.until is not None and approval.until <= now
    if over or approval.state is not ApprovalState.WAITING:
        state = ApprovalState.TIMED_OUT if approval.state is ApprovalState.WAITING else approval.state
        raise problem("approval-decided", state=state.value)


def not_asked(record: RunRecord | None, what: Standing, durable: bool) -> Problem:
    """The problem of a decision that a run does not wait for: those who see the run read why."""
    if record is None or what is Standing.NONE:
        return problem("unknown-approval")
    if not durable:
        return problem("run-not-durable")
    return problem("run-ended") if record.ended else problem("unknown-approval")


def _problem(verdict: Verdict) -> Problem:
    match verdict:
        case Verdict.ENDED:
            return problem("run-ended")
        case Verdict.BARRED:
            return problem("self-approval")
        case Verdict.LATE:
            return problem("approval-decided")
    return problem("unknown-approval")
