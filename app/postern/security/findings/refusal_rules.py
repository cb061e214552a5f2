"""The rules for rejected requests, alone and before admitted ones. Their memory is bounded. A caller counts only if the
token was verified, because anyone can write a name into a token. Times are Unix seconds of the requests.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from postern.access.revocation import REVOKED
from postern.journal.finding import OF_ADDRESS, FindingKind
from postern.journal.known_callers import NETWORK, WORKFLOW, application_subject, caller_subject
from postern.journal.refusal_windows import MANY
from postern.security.findings.known import Knowledge
from postern.security.findings.limited import Limited
from postern.security.findings.networks import client_of, network_of
from postern.security.findings.rules import LEARNING, Admitted, Odd
from postern.security.observed import Rejection

MOST_SUBJECTS = 10_000
UNAUTHENTICATED = 401
EXPIRED = "expiry"
"""The check of tokens that have expired (`identity.token`)."""

FAILURES = 5
FAILURE_SECONDS = 600.0
WORKFLOWS = 8
WORKFLOW_SECONDS = 60.0
EXPIRED_USES = 5
EXPIRED_SECONDS = 1800.0
BURST_SECONDS = 60.0
BURSTS: Mapping[FindingKind, int] = {
    FindingKind.REFUSALS_OF_CALLER: 30,
    FindingKind.REFUSALS_OF_CLIENT: 60,
    FindingKind.REFUSALS_FROM_ADDRESS: 100,
}
"""Rejected requests within BURST_SECONDS that are a burst."""


def address_subject(address: str) -> str:
    """The subject of an address, whoever uses it."""
    return f"{OF_ADDRESS}{client_of(address)}"


@dataclass(frozen=True, slots=True)
class Rejected:
    """A rejection with what the rules need of it. `subject` and `client` are "" if no token was verified."""

    rejection: Rejection
    knowledge: Knowledge
    subject: str = field(init=False)
    client: str = field(init=False)
    address: str = field(init=False)

    def __post_init__(self) -> None:
        """Name the subjects."""
        proved = self.rejection.proved or {}
        object_id, tenant_id, client_id = (_text(proved, name) for name in ("object_id", "tenant_id", "client_id"))
        address = self.rejection.client_address
        object.__setattr__(self, "subject", caller_subject(tenant_id, object_id) if object_id and tenant_id else "")
        object.__setattr__(self, "client", application_subject(client_id) if client_id else "")
        object.__setattr__(self, "address", address_subject(address) if address else "")

    @property
    def token(self) -> tuple[str, str]:
        """What tells the token from others."""
        return self.subject, _text(self.rejection.proved or {}, "token_id")


@dataclass(slots=True)
class _Failures:
    count: int
    last_at: float


class SuccessAfterRefusals:
    """An admitted request of a caller, or from an address outside of shared networks, right after FAILURES rejected
    ones."""

    def __init__(self, most: int = MOST_SUBJECTS) -> None:
        self._failures: Limited[str, _Failures] = Limited(most)

    def refuse(self, request: Rejected) -> None:
        """Count a rejection."""
        rejection = request.rejection
        if rejection.status != UNAUTHENTICATED:
            return
        for subject in filter(None, (request.subject, request.address)):
            if rejection.client_address == MANY and subject == request.address:
                continue
            found = self._failures.get(subject)
            before = 0 if found is None or rejection.last_at - found.last_at > FAILURE_SECONDS else found.count
            self._failures.put(subject, _Failures(before + rejection.count, rejection.last_at))

    def see(self, request: Admitted) -> Iterator[Odd]:
        """Whether the success follows so many."""
        admission = request.admission
        subjects = [request.subject]
        if not request.knowledge.is_shared(request.network):  # behind one address of an office there are many callers
            subjects.append(address_subject(admission.client_address))
        for subject in subjects:
            found = self._failures.get(subject)
            if found is None:
                continue
            self._failures.drop(subject)
            if found.count >= FAILURES and -1.0 <= admission.first_at - found.last_at <= FAILURE_SECONDS:
                yield Odd(
                    FindingKind.SUCCESS_AFTER_REFUSALS, request.subject, reasons=(f"{found.count} rejected before",)
                )
                return


class ManyWorkflows:
    """A caller or an address that tries WORKFLOWS different workflows within WORKFLOW_SECONDS which it was not admitted
    to before. Until uses have been noted for LEARNING, only rejected requests count. First uses
    of an application in the minute it was first seen do not count: they have a finding of their own."""

    def __init__(self, most: int = MOST_SUBJECTS) -> None:
        self._tried: Limited[str, dict[str, float]] = Limited(most)

    def see(self, request: Admitted) -> Iterator[Odd]:
        """Whether an admitted request is one too many."""
        admission = request.admission
        is_new = not request.known.has(WORKFLOW, admission.workflow)
        is_newcomer = not (request.is_person or request.application.has_for(WORKFLOW_SECONDS, admission.first_at))
        if is_newcomer and request.is_first_use:
            return
        if is_new and request.knowledge.has_for(LEARNING, admission.first_at):
            yield from self._try(request.subject, admission.workflow, admission.last_at)

    def refuse(self, request: Rejected) -> Iterator[Odd]:
        """Whether a rejected one is."""
        rejection = request.rejection
        if rejection.status == UNAUTHENTICATED and rejection.workflow not in ("", MANY):
            subject = request.subject or ("" if rejection.client_address == MANY else request.address)
            if subject:
                yield from self._try(subject, rejection.workflow, rejection.last_at)

    def _try(self, subject: str, workflow: str, at: float) -> Iterator[Odd]:
        tried = self._tried.at(subject, dict)
        tried[workflow] = at
        for name in [name for name, when in tried.items() if when < at - WORKFLOW_SECONDS]:
            del tried[name]
        if len(tried) >= WORKFLOWS:
            yield Odd(FindingKind.MANY_WORKFLOWS, subject, workflows=tuple(tried))
            self._tried.drop(subject)


@dataclass(slots=True)
class _Uses:
    count: int
    since: float
    last_at: float


class DeadTokens:
    """An expired token that is used EXPIRED_USES times, or from a network that its caller never used; a revoked token
    that is used at all."""

    def __init__(self, most: int = MOST_SUBJECTS) -> None:
        self._uses: Limited[tuple[str, str], _Uses] = Limited(most)

    def refuse(self, request: Rejected) -> Iterator[Odd]:
        """Whether it is one."""
        rejection = request.rejection
        if not request.subject or rejection.status != UNAUTHENTICATED:
            return
        if rejection.reason == REVOKED:
            yield Odd(FindingKind.REVOKED_TOKEN_USED, request.subject)
        elif rejection.reason == EXPIRED:
            yield from self._expired(request)

    def _expired(self, request: Rejected) -> Iterator[Odd]:
        rejection, known = request.rejection, request.knowledge.of(request.subject)
        network = network_of(rejection.client_address)
        networks = known.of(NETWORK)
        uses = self._uses.get(request.token)
        if uses is None or rejection.last_at - uses.last_at > EXPIRED_SECONDS:
            uses = self._uses.put(request.token, _Uses(0, rejection.first_at, rejection.last_at))
        uses.count, uses.last_at = uses.count + rejection.count, rejection.last_at
        elsewhere = bool(networks) and request.knowledge.is_new(known, network, rejection.last_at, person=True)
        if elsewhere or uses.count >= EXPIRED_USES:
            yield Odd(FindingKind.EXPIRED_TOKEN_USED, request.subject, networks=(network,) if elsewhere else ())


@dataclass(slots=True)
class _Minute:
    """Counts by tenths of BURST_SECONDS. In a burst, what follows belongs to it until `burst_until`."""

    counts: dict[int, int] = field(default_factory=dict)
    burst_until: float = 0.0

    def add(self, count: int, at: float) -> int:
        """Count more. Returns how many came within the last BURST_SECONDS, or a tenth longer."""
        now = int(at * 10 / BURST_SECONDS)
        self.counts[now] = self.counts.get(now, 0) + count
        for earlier in [each for each in self.counts if each < now - 10]:
            del self.counts[earlier]
        return sum(self.counts.values())


class Bursts:
    """Bursts of rejected requests by caller, client and address."""

    def __init__(self, most: int = MOST_SUBJECTS) -> None:
        self._minutes: dict[FindingKind, Limited[str, _Minute]] = {kind: Limited(most) for kind in BURSTS}

    def refuse(self, request: Rejected) -> Iterator[Odd]:
        """Whether it is one. What follows in the burst is too."""
        rejection = request.rejection
        of_kinds = {FindingKind.REFUSALS_FROM_ADDRESS: request.address}
        if rejection.status == UNAUTHENTICATED:
            of_kinds[FindingKind.REFUSALS_OF_CALLER] = request.subject
            of_kinds[FindingKind.REFUSALS_OF_CLIENT] = request.client
        elif rejection.code != "unknown-trigger":
            return
        for kind, subject in of_kinds.items():
            if subject and self._is_burst(kind, subject, rejection):
                yield Odd(kind, subject)

    def _is_burst(self, kind: FindingKind, subject: str, rejection: Rejection) -> bool:
        at = rejection.last_at
        found = self._minutes[kind].at(subject, _Minute)
        if found.add(rejection.count, at) >= BURSTS[kind]:
            found.burst_until = at + BURST_SECONDS
        return at < found.burst_until


def _text(proved: Mapping[str, Any], name: str) -> str:
    value = proved.get(name)
    return value if isinstance(value, str) else ""
