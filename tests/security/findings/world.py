"""A detector with a clock of its own, and the requests that it sees."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from postern.access import Caller
from postern.ids import id_at
from postern.journal.finding import FindingKind, Sighting
from postern.journal.known_callers import WORKFLOW, Uses
from postern.security.findings.detector import Detector, Event
from postern.security.findings.known import SERVED, Knowledge
from postern.security.observed import Admission, Rejection

NOW = 1_800_000_000.0
MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
TENANT = "11111111-1111-4111-8111-111111111111"
CLIENT = "99999999-9999-4999-8999-999999999999"
OFFICE, HOME, AWAY = "203.0.113.5", "198.51.100.7", "192.0.2.9"


def caller(name: str = "ada", token: str = "token", client: str = CLIENT, **others: Any) -> Caller:
    """A person whose object id is the name."""
    values = {"kind": "user", "object_id": name, "tenant_id": TENANT, "client_id": client, "name": name}
    return Caller(**{**values, "token_id": token, **others})


ADA = caller()
APP = caller("sync", "token", "88888888-8888-4888-8888-888888888888", kind="application")


def admission(
    at: float,
    who: Caller = ADA,
    workflow: str = "hello",
    address: str = OFFICE,
    count: int = 1,
    to: float | None = None,
) -> Admission:
    last = at if to is None else to
    return Admission(who, workflow, address, id_at(at), id_at(last), count)


def rejection(
    at: float,
    who: Caller | None = ADA,
    reason: str = "expiry",
    workflow: str = "hello",
    address: str = OFFICE,
    count: int = 1,
    code: str = "unauthenticated",
    status: int = 401,
    verified: bool = True,
) -> Rejection:
    claimed = None
    if who is not None:
        names = ("object_id", "tenant_id", "client_id", "name", "token_id")
        claimed = {name: getattr(who, name) for name in names} | {"verified": verified}
    return Rejection(reason, code, status, workflow, address, at, at, count, (id_at(at),), claimed)


@dataclass
class World:
    """What the detector found. Uses are noted since `since`."""

    since: float = NOW - 400 * DAY
    knowledge: Knowledge = field(default_factory=lambda: Knowledge(10**6, 10**6))
    detector: Detector = field(init=False)
    found: list[Sighting] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.knowledge.since = self.since
        self.detector = Detector(self.knowledge)
        for client in (ADA.client_id, APP.client_id):
            self.knowledge.note(f"application/{client}", WORKFLOW, "hello", Uses(self.since, self.since, 1))

    def served(self, workflow: str, at: float) -> None:
        self.knowledge.note("", SERVED, workflow, Uses(at, at, 1))

    def sees(self, *events: Event) -> list[FindingKind]:
        """The kinds of what is odd about these requests, which come together."""
        found = list(self.detector.see(events))
        self.found += found
        return [each.kind for each in found]

    def used_to(
        self, who: Caller = ADA, address: str = OFFICE, days: int = 30, workflow: str = "hello", until: float = NOW
    ) -> None:
        """The caller made a request a day."""
        for day in range(days, 0, -1):
            self.sees(admission(until - day * DAY, replace(who, token_id=f"{who.token_id}-{day}"), workflow, address))
        self.found.clear()


def kinds(found: Sequence[Sighting]) -> set[str]:
    return {each.kind.value for each in found}
