"""The detector: looks at requests in the order of their time, applies the rules, and notes what it saw of callers. It
awaits nothing: what it needs to know was put into its Knowledge before."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from postern.access import Caller
from postern.ids import new_id
from postern.journal.finding import MOST_NOTED, OF_ADDRESS, Evidence, FindingKind, Sighting, Who
from postern.journal.known_callers import APPLICATION, CREDENTIAL, NETWORK, WORKFLOW, Uses
from postern.journal.refusal_windows import MANY
from postern.security.findings.known import CALLERS, YOUNG, Knowledge, network_subject, places
from postern.security.findings.networks import address_shown, network_of, range_of
from postern.security.findings.refusal_rules import (
    EXPIRED,
    Bursts,
    DeadTokens,
    ManyWorkflows,
    Rejected,
    SuccessAfterRefusals,
)
from postern.security.findings.rules import (
    DORMANT,
    Admitted,
    CredentialWeakened,
    DormantCaller,
    FirstUse,
    NewNetwork,
    Odd,
    TokenNetworks,
    without_repeats,
)
from postern.security.observed import Admission, Rejection

Event = Admission | Rejection

MOST_OF_KIND = 200
"""Findings of one kind that one server process begins in a day, about callers and about addresses each. Further ones
share one finding. Anyone can cause those about addresses: they do not hide those about callers."""
_TOKEN_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
MANY_SUBJECTS = "(many)"


class Detector:
    """Applies all rules. It belongs to one event loop, as its memory does."""

    def __init__(self, knowledge: Knowledge, *, make_id: Callable[[], str] = new_id) -> None:
        self.knowledge = knowledge
        self._make_id = make_id
        self._failures = SuccessAfterRefusals()
        self._workflows = ManyWorkflows()
        self._bursts = Bursts()
        self._dead = DeadTokens()
        self._of_admissions = (
            TokenNetworks(),
            NewNetwork(),
            FirstUse(),
            CredentialWeakened(),
            DormantCaller(),
            self._failures,
            self._workflows,
        )
        self._begun: dict[tuple[str, str, bool], set[str]] = {}

    def see(self, events: Iterable[Event]) -> Iterator[Sighting]:
        """What is odd about these requests, which came after those of earlier calls."""
        for event in sorted(events, key=time_of_event):
            if isinstance(event, Admission):
                if event.caller is not None and event.caller.object_id:
                    yield from self._see(event, event.caller)
            else:
                yield from self._refuse(event)

    def _see(self, admission: Admission, caller: Caller) -> Iterator[Sighting]:
        request = Admitted(admission, caller, self.knowledge)
        found = without_repeats([odd for rule in self._of_admissions for odd in rule.see(request)])
        self._note(request)
        for odd in found:
            evidence = Evidence(
                runs=_distinct(*odd.runs, admission.first_request_id, admission.last_request_id),
                addresses=_distinct(*map(address_shown, (*odd.addresses, admission.client_address))),
                networks=odd.networks,
                workflows=_distinct(*odd.workflows, admission.workflow),
                reasons=odd.reasons,
            )
            yield self._sighting(odd, admission, admission.client_address, _who(caller), evidence, 1)

    def _refuse(self, rejection: Rejection) -> Iterator[Sighting]:
        request = Rejected(rejection, self.knowledge)
        self._failures.refuse(request)
        for rule in (self._workflows, self._dead, self._bursts):
            for odd in rule.refuse(request):
                evidence = Evidence(
                    refused=rejection.request_ids[:MOST_NOTED],
                    addresses=_distinct(address_shown(_known_part(rejection.client_address))),
                    networks=odd.networks,
                    workflows=_distinct(*odd.workflows, _known_part(rejection.workflow)),
                    reasons=_distinct(rejection.reason),
                )
                who = _claimed(rejection) if odd.subject != request.address else Who()
                yield self._sighting(odd, rejection, rejection.client_address, who, evidence, rejection.count)

    def _note(self, request: Admitted) -> None:
        admission, caller, note = request.admission, request.caller, self.knowledge.note
        uses = Uses(admission.first_at, admission.last_at, admission.count)
        note(request.subject, WORKFLOW, admission.workflow, uses)
        self._note_network(request, uses)
        if request.client:
            note(request.subject, APPLICATION, caller.client_id, uses)
            note(request.client, WORKFLOW, admission.workflow, uses)
            if caller.credential:
                note(request.client, CREDENTIAL, caller.credential, uses)

    def _note_network(self, request: Admitted, uses: Uses) -> None:
        known, network, note = request.known, request.network, self.knowledge.note
        once = Uses(uses.first_at, uses.last_at, 1)
        if not known.has(NETWORK, network):
            if not network or not known.may_add_network(uses.first_at):
                return
            note(network_subject(network), CALLERS, "", once)
            learns_ranges = request.is_person and not self.knowledge.has_for(YOUNG, uses.first_at)
            if learns_ranges and not known.is_near(network):
                note(network_subject(range_of(network)), CALLERS, "", once)
        note(request.subject, NETWORK, network, uses)

    def _sighting(self, odd: Odd, event: Event, address: str, who: Who, evidence: Evidence, count: int) -> Sighting:
        made = Sighting(
            self._make_id(),
            odd.kind,
            odd.subject,
            event.first_at,
            event.last_at,
            count,
            who,
            address_shown(_known_part(address)),
            _known_part(event.workflow),
            evidence,
        )
        return made if self._has_room(odd.kind, odd.subject, made.day) else _of_many(made)

    def _has_room(self, kind: FindingKind, subject: str, day: str) -> bool:
        """Whether this finding is one of the day already, or may become one."""
        key = kind.value, day, subject.startswith(OF_ADDRESS)
        begun = self._begun.get(key)
        if begun is None:
            recent = sorted({each[1] for each in self._begun} | {day})[-2:]
            self._begun = {each: subjects for each, subjects in self._begun.items() if each[1] in recent}
            begun = self._begun.setdefault(key, set())
        if subject not in begun and len(begun) >= MOST_OF_KIND:
            return False
        begun.add(subject)
        return True


def time_of_event(event: Event) -> float:
    """When a request came, by which requests are ordered: refusals by the last of them."""
    return event.first_at if isinstance(event, Admission) else event.last_at


def subjects_of(events: Iterable[Event], knowledge: Knowledge, now: float) -> set[str]:
    """The subjects that have to be read before these events are looked at: those that are not in memory, are out of
    date, or would be odd by what is in memory. Other server processes may know better."""
    wanted: set[str] = {""} if not knowledge.is_fresh("", now) else set()
    for event in events:
        if isinstance(event, Admission):
            if event.caller is None or not event.caller.object_id:
                continue
            request = Admitted(event, event.caller, knowledge)
            subjects = [request.subject, request.client, *places(request.network)]
            wanted.update(filter(None, subjects) if _is_news(request) else _not_fresh(subjects, knowledge, now))
        else:
            subject = Rejected(event, knowledge).subject
            of_network = places(network_of(event.client_address)) if subject and event.reason == EXPIRED else ()
            wanted.update(_not_fresh([subject, *of_network], knowledge, now))
    return wanted


def _not_fresh(subjects: Sequence[str], knowledge: Knowledge, now: float) -> Iterator[str]:
    return (each for each in subjects if each and not knowledge.is_fresh(each, now))


def _is_news(request: Admitted) -> bool:
    """Whether something about the request is not known, by which a rule may find it odd."""
    caller, known, application, workflow = (
        request.caller,
        request.known,
        request.application,
        request.admission.workflow,
    )
    last = known.last_at
    return (
        not known.has(WORKFLOW, workflow)
        or bool(request.network and not known.has(NETWORK, request.network))
        or bool(request.client and not application.has(WORKFLOW, workflow))
        or bool(request.client and caller.credential and not application.has(CREDENTIAL, caller.credential))
        or (last is not None and last <= request.admission.first_at - DORMANT)
    )


def _who(caller: Caller) -> Who:
    token_id = caller.token_id if _TOKEN_ID.fullmatch(caller.token_id) else ""
    return Who(caller.kind, caller.object_id, caller.tenant_id, caller.client_id, caller.name, token_id)


def _claimed(rejection: Rejection) -> Who:
    proved: dict[str, Any] = dict(rejection.proved or {})
    names = ("object_id", "tenant_id", "client_id", "name", "token_id")
    return Who("", *(str(proved.get(name) or "") for name in names))


def _of_many(made: Sighting) -> Sighting:
    """The finding that all share for which there is no room."""
    return Sighting(made.id, made.kind, MANY_SUBJECTS, made.first_at, made.last_at, made.count, evidence=made.evidence)


def _known_part(text: str) -> str:
    return "" if text == MANY else text


def _distinct(*texts: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, texts)))
