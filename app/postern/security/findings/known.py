"""What is known of callers, in memory: a bounded copy of the table of known callers, with what this server process saw
since it wrote last."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from postern.journal.known_callers import NETWORK, WORKFLOW, Fact, Uses
from postern.security.findings.limited import Limited
from postern.security.findings.networks import are_near, range_of

MOST_SUBJECTS = 20_000
MOST_PENDING = 50_000
"""Facts that wait to be written. If the database is away for long, further new ones are not noted."""
MOST_NETWORKS = 64
"""Networks of one caller: those in memory, of which the latest used stay, and new ones that are noted in a day."""
STALE = 300.0
"""Seconds after which a copy is read again: other server processes write too."""

DAY = 86400.0
ROAMING_DAYS = 90
ROAMING = 3
"""A caller who came to so many networks within ROAMING_DAYS is expected in yet another one."""
SHARED = 3
"""A network that so many callers use is one of the installation: an office, or the exit of a VPN."""
YOUNG = 28 * DAY
"""While uses have been noted for less, most callers come to networks that they use every month, for the first time."""

CALLERS, SERVED = "callers", "served"


def network_subject(network: str) -> str:
    """The subject of a network or range, whoever uses it. Its fact CALLERS counts those who came to it."""
    return f"network/{network}"


def places(network: str) -> tuple[str, ...]:
    """The subjects that say who uses a network, and its range."""
    return (network_subject(network), network_subject(range_of(network))) if network else ()


@dataclass(slots=True, eq=False)
class Known:
    """What is known of one subject. `read_at` is when it was read, in Unix seconds."""

    read_at: float = 0.0
    facts: dict[tuple[str, str], Uses] = field(default_factory=dict)

    def of(self, fact: str) -> dict[str, Uses]:
        """The values of a fact, with their uses."""
        return {value: uses for (name, value), uses in self.facts.items() if name == fact}

    def has(self, fact: str, value: str) -> bool:
        """Whether this was used before."""
        return (fact, value) in self.facts

    @property
    def successes(self) -> int:
        """How many requests were admitted."""
        return sum(uses.count for uses in self.of(WORKFLOW).values())

    @property
    def first_at(self) -> float | None:
        """When it was seen first; None if it never was."""
        return min((uses.first_at for uses in self.facts.values()), default=None)

    @property
    def last_at(self) -> float | None:
        """When it was seen last."""
        return max((uses.last_at for uses in self.facts.values()), default=None)

    def roams(self, at: float) -> bool:
        """Whether a caller often comes to networks that it did not use before. Those of its first day do not count."""
        first = self.first_at
        if first is None:
            return False
        since = max(at - ROAMING_DAYS * DAY, first + DAY)
        return sum(uses.first_at > since for uses in self.of(NETWORK).values()) >= ROAMING

    def may_add_network(self, at: float) -> bool:
        """Whether another network is noted: at most MOST_NETWORKS a day, so that one caller does not fill the table."""
        networks = self.of(NETWORK).values()
        return len(networks) < MOST_NETWORKS or min(uses.first_at for uses in networks) <= at - DAY

    def is_near(self, network: str) -> bool:
        """Whether a caller used a network of the same range: providers hand out another address from time to time."""
        return any(are_near(network, each) for each in self.of(NETWORK))

    def has_for(self, seconds: float, at: float) -> bool:
        """Whether it has been known for so long by then."""
        first = self.first_at
        return first is not None and first <= at - seconds

    def add(self, fact: str, value: str, uses: Uses) -> None:
        """Add uses."""
        earlier = self.facts.get((fact, value))
        self.facts[(fact, value)] = uses if earlier is None else earlier.joined(uses)
        if fact == NETWORK and earlier is None:
            networks = self.of(NETWORK)
            if len(networks) > MOST_NETWORKS:
                del self.facts[(NETWORK, min(networks, key=lambda each: networks[each].last_at))]


NOTHING = Known()
"""What is known of a subject that is not in memory."""


class Knowledge:
    """What is known of subjects. `load` puts in what was read, `note` adds what was seen, and `take` returns what is to
    be written. `since` is when the table began; None until that was read."""

    def __init__(self, most_subjects: int = MOST_SUBJECTS, most_pending: int = MOST_PENDING) -> None:
        self.since: float | None = None
        self.lost = 0
        self._subjects: Limited[str, Known] = Limited(most_subjects)
        self._pending: dict[Fact, Uses] = {}
        self._sent: dict[Fact, Uses] = {}
        self._most_pending = most_pending

    def __len__(self) -> int:
        return len(self._subjects)

    @property
    def pending(self) -> int:
        """How many facts wait to be written."""
        return len(self._pending) + len(self._sent)

    def of(self, subject: str) -> Known:
        """What is known of a subject."""
        return self._subjects.get(subject) or NOTHING

    def is_fresh(self, subject: str, now: float) -> bool:
        """Whether the subject was read lately."""
        found = self._subjects.get(subject)
        return found is not None and now - found.read_at < STALE

    def load(self, subjects: Iterable[str], facts: Mapping[Fact, Uses], now: float) -> None:
        """Replace the copies of these subjects by what was read, and what waits to be written."""
        copies = {subject: Known(now) for subject in subjects}
        for each in (facts, self._sent, self._pending):
            for fact, uses in each.items():
                if fact.subject in copies:
                    copies[fact.subject].add(fact.fact, fact.value, uses)
        for subject, copy in copies.items():
            self._subjects.put(subject, copy)

    def note(self, subject: str, fact: str, value: str, uses: Uses) -> None:
        """Note that a subject used something."""
        self._subjects.at(subject, Known).add(fact, value, uses)
        key = Fact(subject, fact, value)
        earlier = self._pending.get(key)
        if earlier is not None:
            self._pending[key] = earlier.joined(uses)
        elif self.pending < self._most_pending:
            self._pending[key] = uses
        else:
            self.lost += 1

    def take(self) -> Mapping[Fact, Uses]:
        """What is to be written: the same as before, until `written` is called."""
        if not self._sent:
            self._sent, self._pending = self._pending, {}
        return self._sent

    def written(self) -> None:
        """What was taken is written."""
        self._sent = {}

    def is_shared(self, network: str) -> bool:
        """Whether many callers use this network, or many people this range."""
        uses = self.of(network_subject(network)).facts.get((CALLERS, ""))
        return uses is not None and uses.count >= SHARED

    def is_new(self, known: Known, network: str, at: float, *, person: bool) -> bool:
        """Whether a caller never used this network, and it is not one of the installation. A person's is not new
        either if the range is known: of the person, or, while uses have not been noted for YOUNG, of several people."""
        if not network or known.has(NETWORK, network) or self.is_shared(network):
            return False
        return not person or not (
            (known.has_for(DAY, at) and known.is_near(network))
            or (not self.has_for(YOUNG, at) and self.is_shared(range_of(network)))
        )

    def has_for(self, seconds: float, at: float) -> bool:
        """Whether the table existed for so long by then."""
        return self.since is not None and self.since <= at - seconds
