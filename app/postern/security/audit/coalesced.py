"""Admissions and refusals for the audit log: one event for many requests. A flood of requests, also with a caller or
an address of its own each, makes a bounded number of events."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from postern.access import Caller
from postern.journal.audit_event import CALLER, Kind
from postern.journal.refusal_windows import MANY
from postern.security.audit.log import Note
from postern.security.observed import Admission, Rejection, Seen

SECONDS = 60.0
"""How long requests are counted before there is an event. It is the most that a killed server process loses."""

MOST_CALLERS = 1_000
"""Events about admissions in SECONDS. Requests beyond it share one event for each workflow."""

MOST_REFUSED = 100
"""Events about refusals in SECONDS, and as many further ones about those with a verified token. Requests beyond it
share one event for each reason."""

MOST_LISTED = 5
"""Request ids and addresses that an event lists: the first ones."""


@dataclass(slots=True)
class _Counted:
    """Requests that share an event. `by` is None where they are of many callers."""

    first_at: float
    last_at: float
    by: Caller | None = None
    count: int = 0
    request_ids: list[str] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)

    def add(self, first_at: float, last_at: float, count: int, ids: Iterable[str], addresses: Iterable[str]) -> None:
        """Count more of them."""
        self.first_at, self.last_at = min(self.first_at, first_at), max(self.last_at, last_at)
        self.count += count
        self.request_ids = _first(self.request_ids, ids)
        self.addresses = _first(self.addresses, addresses)

    @property
    def fields(self) -> dict[str, Any]:
        """Those that both kinds of events have."""
        return {
            "first_at": self.first_at,
            "last_at": self.last_at,
            "count": self.count,
            "request_ids": self.request_ids,
        }


def _first(listed: Iterable[str], more: Iterable[str]) -> list[str]:
    return list(dict.fromkeys([*listed, *more]))[:MOST_LISTED]


class _Admitted(NamedTuple):
    """The requests of one caller for one workflow; without ids, those of many callers."""

    workflow: str
    kind: str
    tenant_id: str = ""
    object_id: str = ""
    client_id: str = ""


class _Refused(NamedTuple):
    """Rejected requests for one reason. The ids are of a verified token."""

    reason: str
    code: str
    status: int
    workflow: str
    client_address: str
    object_id: str = ""
    tenant_id: str = ""
    client_id: str = ""
    token_id: str = ""


class Coalescer:
    """Takes the batches of an Observer, and notes events. It belongs to one event loop: `run` is its task, and `flush`
    notes the rest after `run` has ended."""

    def __init__(self, note: Note, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._note = note
        self._sleep = sleep
        self._admitted: dict[_Admitted, _Counted] = {}
        self._refused: dict[_Refused, _Counted] = {}
        self._came = asyncio.Event()

    def take(self, seen: Seen) -> None:
        """Count what an Observer has seen."""
        for admission in seen.admitted:
            self._admit(admission)
        for rejection in seen.rejected:
            self._refuse(rejection)
        self._came.set()

    async def run(self) -> None:
        """Note events until cancelled."""
        while True:
            await self._came.wait()
            await self._sleep(SECONDS)
            self.flush()

    def flush(self) -> None:
        """Note what was counted."""
        self._came.clear()
        admitted, self._admitted = self._admitted, {}
        refused, self._refused = self._refused, {}
        for who, counted in admitted.items():
            fields = {"client_addresses": counted.addresses, **counted.fields}
            if counted.by is None:
                fields = {**dict.fromkeys(CALLER, ""), "caller_kind": MANY, **fields}
            self._note(Kind.ADMISSION, by=counted.by, workflow=who.workflow, fields=fields)
        for what, counted in refused.items():
            fields = {**what._asdict(), **counted.fields}
            self._note(Kind.REFUSAL, subject=what.object_id, workflow=what.workflow, fields=fields)

    def _admit(self, admission: Admission) -> None:
        caller = admission.caller
        who = _Admitted(admission.workflow, MANY)
        if caller is not None:
            own = who._replace(
                kind=caller.kind, tenant_id=caller.tenant_id, object_id=caller.object_id, client_id=caller.client_id
            )
            who = own if own in self._admitted or len(self._admitted) < MOST_CALLERS else who
        counted = self._admitted.get(who)
        if counted is None:
            by = None if who.kind == MANY else caller
            counted = self._admitted[who] = _Counted(admission.first_at, admission.last_at, by)
        # The id of an anonymous caller's run is that of its request, and gives access to it.
        known = caller is not None and caller.kind != "anonymous" and who.kind != MANY
        ids = [admission.first_request_id, admission.last_request_id] if known else []
        addresses = [admission.client_address] if admission.client_address and who.kind != MANY else []
        counted.add(admission.first_at, admission.last_at, admission.count, ids, addresses)

    def _refuse(self, rejection: Rejection) -> None:
        of_token = rejection.proved or {}
        ids = {name: of_token.get(name) or "" for name in ("object_id", "tenant_id", "client_id", "token_id")}
        what = _Refused(
            rejection.reason, rejection.code, rejection.status, rejection.workflow, rejection.client_address, **ids
        )
        most = MOST_REFUSED * (2 if rejection.proved else 1)
        if what not in self._refused and len(self._refused) >= most:
            what = _Refused(rejection.reason, rejection.code, rejection.status, MANY, MANY)
        counted = self._refused.get(what)
        if counted is None:
            counted = self._refused[what] = _Counted(rejection.first_at, rejection.last_at)
        counted.add(rejection.first_at, rejection.last_at, rejection.count, rejection.request_ids, [])
