"""The rules for admitted requests: each is a small class that looks at one admission and at what is known by then, and
says whether it is odd. Their memory is bounded. Times are Unix seconds of the requests.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from postern.access import Caller
from postern.journal.finding import FindingKind
from postern.journal.known_callers import (
    CREDENTIAL,
    NETWORK,
    WORKFLOW,
    application_subject,
    caller_subject,
)
from postern.security.findings.known import DAY, SERVED, YOUNG, Knowledge, Known
from postern.security.findings.limited import Limited
from postern.security.findings.networks import family_of, network_of
from postern.security.observed import Admission

MOST_TOKENS = 50_000
MOST_OF_TOKEN = 8
"""Networks that are remembered of one token."""
BACK_SECONDS = 120.0
SUCCESSES = 20
LEARNING = 7 * DAY
QUICK = 300.0
FIRST_HOUR = 3600.0
DORMANT = 60 * DAY


@dataclass(frozen=True, slots=True)
class Odd:
    """What a rule found: of which kind, about which subject, and what belongs to the evidence beside the request."""

    kind: FindingKind
    subject: str
    networks: tuple[str, ...] = ()
    workflows: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Admitted:
    """An admission with what the rules need of it. `known` is of its caller before this request, `application` of its
    client."""

    admission: Admission
    caller: Caller
    knowledge: Knowledge
    subject: str = field(init=False)
    client: str = field(init=False)
    network: str = field(init=False)
    known: Known = field(init=False)
    application: Known = field(init=False)

    def __post_init__(self) -> None:
        """Look up what is known."""
        caller = self.caller
        of_caller = caller_subject(caller.tenant_id, caller.object_id)
        client = application_subject(caller.client_id) if caller.client_id else ""
        made = {
            "subject": of_caller,
            "client": client,
            "network": network_of(self.admission.client_address),
            "known": self.knowledge.of(of_caller),
            "application": self.knowledge.of(client),
        }
        for name, value in made.items():
            object.__setattr__(self, name, value)

    @property
    def is_person(self) -> bool:
        """Whether a person calls."""
        return self.caller.kind == "user"

    @property
    def is_elsewhere(self) -> bool:
        """Whether the network is new for the caller, and not one of the installation."""
        return self.knowledge.is_new(self.known, self.network, self.admission.first_at, person=self.is_person)

    @property
    def is_settled(self) -> bool:
        """Whether it says something that the caller is elsewhere: because its networks have been noted for LEARNING, or
        because it was in another one within QUICK. The latter says nothing of an application in its FIRST_HOUR while
        uses have not been noted for YOUNG: it may leave through several networks by turns."""
        at, last = self.admission.first_at, self.known.last_at
        is_known = self.is_person or self.known.has_for(FIRST_HOUR, at) or self.knowledge.has_for(YOUNG, at)
        is_quick = last is not None and last >= at - QUICK
        return self.known.has_for(LEARNING, at) or (is_quick and is_known)

    @property
    def is_first_use(self) -> bool:
        """Whether the application never used this workflow, which was served for LEARNING, and never says something."""
        at, workflow = self.admission.first_at, self.admission.workflow
        if not self.client or self.application.has(WORKFLOW, workflow):
            return False
        served = self.knowledge.of("").facts.get((SERVED, workflow))
        is_old = served is not None and served.first_at <= at - LEARNING
        return is_old and self.knowledge.has_for(LEARNING, at)

    @property
    def token(self) -> tuple[str, str] | None:
        """What tells the token from others."""
        return (self.caller.tenant_id, self.caller.token_id) if self.caller.token_id else None


def without_repeats(found: Sequence[Odd]) -> Sequence[Odd]:
    """What one request shows. A token from two networks tells of a new network already."""
    if not any(odd.kind is FindingKind.TOKEN_FROM_TWO_NETWORKS for odd in found):
        return found
    return [odd for odd in found if odd.kind is not FindingKind.NEW_NETWORK]


@dataclass(slots=True)
class _Place:
    last_at: float
    run: str
    address: str
    unfamiliar: bool


class TokenNetworks:
    """One token from two networks. A caller who often comes to other networks takes the token along: then it is odd
    only if it goes on in the first network too."""

    def __init__(self, most: int = MOST_TOKENS) -> None:
        self._tokens: Limited[tuple[str, str], dict[str, _Place]] = Limited(most)

    def see(self, request: Admitted) -> Iterator[Odd]:
        """Whether this is a second network of the token."""
        if request.token is None or not request.network:
            return
        places = self._tokens.at(request.token, dict)
        admission, network = request.admission, request.network
        here = places.get(network)
        elsewhere = request.is_elsewhere
        others = {name: place for name, place in places.items() if name != network}
        if here is None:
            at_once = elsewhere and request.is_settled and not request.known.roams(admission.first_at)
            if (others and at_once) or (elsewhere and self._goes_on(others, network, admission.first_at)):
                yield self._odd(request, others)
            if len(places) >= MOST_OF_TOKEN:
                del places[min(places, key=lambda name: places[name].last_at)]
            run, address = admission.first_request_id, admission.client_address
            places[network] = _Place(admission.last_at, run, address, elsewhere and bool(others))
            return
        between = {
            name: place
            for name, place in others.items()
            if place.unfamiliar
            and family_of(name) == family_of(network)
            and here.last_at <= place.last_at <= admission.last_at <= here.last_at + BACK_SECONDS
        }
        if between:
            yield self._odd(request, between)
            for place in between.values():
                place.unfamiliar = False
        here.last_at = max(here.last_at, admission.last_at)

    @staticmethod
    def _goes_on(others: dict[str, _Place], network: str, at: float) -> bool:
        """Whether the token was used elsewhere after it came to this network."""
        return any(place.last_at > at and family_of(name) == family_of(network) for name, place in others.items())

    @staticmethod
    def _odd(request: Admitted, others: dict[str, _Place]) -> Odd:
        return Odd(
            FindingKind.TOKEN_FROM_TWO_NETWORKS,
            request.subject,
            networks=(*others, request.network),
            runs=tuple(place.run for place in others.values()),
            addresses=tuple(place.address for place in others.values()),
        )


class NewNetwork:
    """A caller from a network that it never used, after SUCCESSES admitted requests. Callers who often come to other
    networks are left out."""

    def see(self, request: Admitted) -> Iterator[Odd]:
        """Whether it is one."""
        known = request.known
        if (
            request.is_elsewhere
            and known.successes >= SUCCESSES
            and known.of(NETWORK)
            and request.is_settled
            and not known.roams(request.admission.first_at)
        ):
            yield Odd(FindingKind.NEW_NETWORK, request.subject, networks=(request.network,))


class FirstUse:
    """The first use of a workflow by an application, if the workflow was served before and uses have been noted for as
    long as LEARNING."""

    def see(self, request: Admitted) -> Iterator[Odd]:
        """Whether it is one."""
        if request.is_first_use:
            yield Odd(FindingKind.FIRST_USE, request.client)


class CredentialWeakened:
    """An application that had signed in with certificates signs in with a secret."""

    def see(self, request: Admitted) -> Iterator[Odd]:
        """Whether it does for the first time."""
        known = request.application
        if (
            request.client
            and request.caller.credential == "secret"
            and known.has(CREDENTIAL, "certificate")
            and not known.has(CREDENTIAL, "secret")
        ):
            yield Odd(FindingKind.CREDENTIAL_WEAKENED, request.client)


class DormantCaller:
    """A caller that was not seen for as long as DORMANT, and is again."""

    def see(self, request: Admitted) -> Iterator[Odd]:
        """Whether it is one."""
        last = request.known.last_at
        if last is not None and last <= request.admission.first_at - DORMANT:
            yield Odd(FindingKind.DORMANT_CALLER, request.subject)
