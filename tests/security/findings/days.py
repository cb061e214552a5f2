"""Ordinary days of an installation: 130 people and 70 applications, with their networks, tokens and mistakes. The clock
is the events' own; nothing waits."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from random import Random
from typing import Literal

from postern.access import Caller
from postern.security.findings.detector import Event, time_of_event
from tests.security.findings.world import DAY, HOUR, MINUTE, TENANT, admission, rejection

PEOPLE, APPLICATIONS = 130, 70
OFFICES = ("203.0.113.10", "203.0.114.10", "198.51.100.10")
VPN = ("192.0.2.10", "192.0.3.10")
CLIENTS = tuple(f"c0000000-0000-4000-8000-00000000000{number}" for number in range(4))
"""The clients that people use: a portal, a command line, an app, a spreadsheet."""
WORKFLOWS = tuple(f"w{number:02}" for number in range(40))
REQUESTS = 7.0
"""Requests of a person on a working day, on average."""


@dataclass
class Place:
    """Where requests of a person come from: an address that changes now and then within the provider's ranges."""

    ranges: tuple[str, ...]
    days: float
    address: str = ""

    def at(self, random: Random) -> str:
        if not self.address or random.random() < 1 / (self.days * REQUESTS):
            self.address = f"{random.choice(self.ranges)}.{random.randrange(256)}.{random.randrange(1, 255)}"
        return self.address


@dataclass
class Person:
    """Someone who works in an office and at home, with a phone and a VPN if they have one."""

    caller: Caller
    office: str
    home: Place
    phone: Place | None
    vpn: bool
    days_between_trips: int
    workflows: tuple[str, ...]
    token_until: float = 0.0
    tokens: int = 0
    away_until: float = 0.0
    hotel: tuple[float, str] = (0.0, "")

    def day(self, random: Random, start: float) -> Iterator[Event]:
        """The requests of one day."""
        weekend = int(start / DAY) % 7 in (2, 3)
        if start < self.away_until or random.random() < (0.9 if weekend else 0.12):
            return
        if random.random() < 1 / 250:
            self.away_until = start + random.choice([7, 14, 21]) * DAY
            return
        if random.random() < 1 / self.days_between_trips:
            hotel = f"{random.choice(['45', '81', '151', '177'])}.{random.randrange(256)}.{random.randrange(256)}.9"
            self.hotel = (start + random.randint(2, 4) * DAY, hotel)
        at_home, at = random.random() < 0.4, start + 8 * HOUR + random.random() * HOUR
        for _ in range(max(1, int(random.gauss(REQUESTS, 2)))):
            at += random.expovariate(1 / (9 * HOUR / REQUESTS))
            yield from self.request(random, at, self.place(random, start, at_home=at_home))

    def place(self, random: Random, start: float, *, at_home: bool) -> str:
        if start < self.hotel[0]:
            return random.choice(VPN) if self.vpn and random.random() < 0.8 else self.hotel[1]
        if self.phone is not None and random.random() < 0.15:
            return self.phone.at(random)
        if not at_home:
            return self.office
        return random.choice(VPN) if self.vpn and random.random() < 0.6 else self.home.at(random)

    def request(self, random: Random, at: float, address: str) -> Iterator[Event]:
        if at >= self.token_until:
            if self.tokens and random.random() < 0.02:  # the old token was sent first
                yield rejection(
                    at - 1, self.now(), "expiry", random.choice(self.workflows), address, random.randint(1, 3)
                )
            self.tokens += 1
            self.token_until = at + random.uniform(60, 90) * MINUTE
        yield admission(at, self.now(), random.choice(self.workflows), address)

    def now(self) -> Caller:
        return replace(self.caller, token_id=f"{self.caller.object_id}-{self.tokens}")


@dataclass
class Job:
    """An application: it asks for a token each time, and leaves through the same addresses until it is deployed
    elsewhere."""

    caller: Caller
    addresses: tuple[str, ...]
    workflows: tuple[str, ...]
    kind: Literal["steady", "nightly", "monthly"]
    runs: int = 0

    def day(self, random: Random, start: float) -> Iterator[Event]:
        """The requests of one day."""
        if random.random() < 1 / 7 and random.random() < 1 / 100:  # a deployment to another network
            self.addresses = (f"20.{random.randrange(64)}.{random.randrange(256)}.7",)
            self.runs += 3  # a new process asks for a new token
        if self.kind == "steady":
            for hour in range(0, 24, 4):
                yield self.request(random, start + hour * HOUR + random.random() * HOUR, random.choice(self.workflows))
        elif self.kind == "nightly" or int(start / DAY) % 30 == 0:
            for place, workflow in enumerate(self.workflows):
                yield self.request(random, start + 2 * HOUR + place * 4, workflow)

    def request(self, random: Random, at: float, workflow: str) -> Event:
        self.runs += 1
        token = replace(self.caller, token_id=f"{self.caller.object_id}-{self.runs // 3}")
        return admission(at, token, workflow, random.choice(self.addresses))


@dataclass
class Installation:
    """Its callers, and what happens now and then."""

    random: Random
    people: list[Person] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.people = [self._person(number) for number in range(PEOPLE)]
        self.jobs = [self._job(number) for number in range(APPLICATIONS)]

    def day(self, start: float) -> list[Event]:
        """The events of one day, in order."""
        callers: list[Person | Job] = [*self.people, *self.jobs]
        events = [event for each in callers for event in each.day(self.random, start)]
        if self.random.random() < 1 / 7:  # someone new
            self.people[self.random.randrange(PEOPLE)] = self._person(int(start))
        if self.random.random() < 1 / 4:  # an author tries out a client
            events += self._trying(start)
        if self.random.random() < 1 / 15:  # an application uses one more workflow
            job = self.random.choice(self.jobs)
            job.workflows = (*job.workflows, self.random.choice(WORKFLOWS))
        return sorted(events, key=time_of_event)

    def _trying(self, start: float) -> Iterator[Event]:
        person, at = self.random.choice(self.people), start + 14 * HOUR
        for _ in range(self.random.randint(1, 6)):
            at += self.random.uniform(5, 60)
            yield rejection(at, person.now(), self.random.choice(["audience", "scope"]), "w00", person.office)
        yield from person.request(self.random, at + 30, person.office)

    def _person(self, number: int) -> Person:
        random = self.random
        provider = random.choice([("84.112", "84.113"), ("91.10", "91.11"), ("77.20",), ("62.178", "62.179")])
        if random.random() < 0.1:  # one that no colleague has
            provider = (f"{random.choice([24, 73, 86, 109])}.{random.randrange(256)}",)
        carrier = random.choice([("100.70",), ("100.80",), ("100.90",)])
        client = random.choice(CLIENTS)
        who = Caller("user", f"p-{number}", TENANT, client, name=f"p-{number}", credential="public")
        return Person(
            who,
            random.choice(OFFICES),
            Place(provider, random.choice([5, 30, 90, 365])),
            Place(carrier, 2) if random.random() < 0.4 else None,
            random.random() < 0.5,
            30 if random.random() < 0.15 else 365,
            tuple(random.sample(WORKFLOWS[:20], random.randint(2, 5))),
        )

    def _job(self, number: int) -> Job:
        random, client = self.random, f"a0000000-0000-4000-8000-{number:012}"
        kinds: list[Literal["steady", "nightly", "monthly"]] = ["steady", "nightly", "monthly"]
        kind = random.choices(kinds, [50, 30, 5])[0]
        nets = 3 if random.random() < 0.2 else 1
        addresses = tuple(f"20.{random.randrange(64)}.{random.randrange(256)}.7" for _ in range(nets))
        who = Caller("application", f"a-{number}", TENANT, client, credential="certificate")
        count = random.randint(1, 4) if kind == "steady" else random.randint(4, 12)
        return Job(who, addresses, tuple(random.sample(WORKFLOWS, count)), kind)
