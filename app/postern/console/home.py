"""`/console`: what needs a person, and the activity of the last hour. The page polls both. What the journal says is
read for all viewers together, once in a while."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

from markupsafe import Markup
from sqlalchemy import Connection

from postern.api.access import visible
from postern.console import charts, durable_needs, needs
from postern.console.connect import asker
from postern.console.first_steps import first_steps
from postern.console.gateways import of_gateways
from postern.console.needs import Need
from postern.console.page import PageRoute, Shown, Visit, unproved
from postern.console.recent import Recent
from postern.console.services import Services
from postern.console.uses_words import users_of_connections
from postern.console.waiting_approvals import waiting_number
from postern.console.words import iso
from postern.errors import Problem
from postern.journal.findings import count_new
from postern.journal.reading.activity import MINUTE, Minute, Owner, activity
from postern.journal.reading.attention import Burst, Failing, any_run, bursts, failing
from postern.journal.reading.durable_attention import Late, OldApprovals, ParkedRuns, late, old_approvals, parked

DAY = 86_400.0
HOUR = 3_600.0
PATIENCE = 1.0
"""Seconds that the page waits for the readiness checks."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """The activity of the hour until `at`: two pictures, in all so many runs, and the minutes that had some with links
    to their runs."""

    at: float
    plot: Markup
    spread: Markup
    total: str
    figures: tuple[tuple[Minute, str], ...]


@dataclass(frozen=True, slots=True)
class Overview:
    """What the journal says. `findings` is how many are new, and `empty` means that there is no run."""

    pictures: Pictures
    failing: tuple[Failing, ...]
    bursts: tuple[Burst, ...]
    findings: int
    parked: tuple[ParkedRuns, ...]
    late: tuple[Late, ...]
    old_approvals: OldApprovals | None
    empty: bool


def overview(connection: Connection, now: float, owner: Owner | None, console: str) -> Overview:
    """What the journal says about all runs; with an `owner` about those that this person started. `console` is the
    path of the console. It is made in the reader's thread, with the pictures: these take milliseconds."""
    minutes = activity(connection, now, owner)
    failed = tuple(failing(connection, now - DAY, owner))
    rejected = tuple(bursts(connection, now - HOUR, needs.LEAST_BURST)) if owner is None else ()
    found = count_new(connection) if owner is None else 0
    ran = any(minute.total for minute in minutes) or any_run(connection, owner)
    return Overview(
        pictures(minutes, now, console),
        failed,
        rejected,
        found,
        tuple(parked(connection, owner)),
        tuple(late(connection, now - durable_needs.LATE)) if owner is None else (),
        old_approvals(connection, now - durable_needs.OLD, now) if owner is None else None,
        not ran,
    )


def pictures(minutes: Sequence[Minute], now: float, console: str) -> Pictures:
    """The pictures of these minutes, and their figures."""

    def link(minute: Minute) -> str:
        times = {"since": iso(minute.at), "until": iso(minute.at + MINUTE)}
        return f"{console}/runs?{urlencode(times, safe=':')}"

    figures = tuple((minute, link(minute)) for minute in minutes if minute.total)
    return Pictures(now, charts.activity(minutes, link), charts.spread(minutes), charts.total_words(minutes), figures)


@dataclass(frozen=True, slots=True)
class Home:
    """The page. People who are no operators see what concerns their own runs."""

    services: Services
    recent: Recent[Overview] = field(default_factory=Recent)
    checks: Recent[Mapping[str, str]] = field(default_factory=Recent)
    broken: Recent[Mapping[str, int]] = field(default_factory=Recent)

    @property
    def routes(self) -> tuple[PageRoute, ...]:
        return (PageRoute("GET", "/console", self.page),)

    async def page(self, visit: Visit) -> Shown:
        """The page, or the part of it that is polled."""
        found, unavailable = await self._overview(visit)
        listed = [
            *(await self._of_server() if visit.viewer.operator else []),
            *await self._of_approvals(visit),
            *await self._of_connections(visit),
            *_of_journal(found, operator=visit.viewer.operator),
        ]
        values = {
            "needs": listed,
            "headline": needs.headline(listed),
            "unavailable": unavailable,
            "first": self._first_steps(visit) if found is not None and found.empty else None,
            "pictures": found and found.pictures,
        }
        return Shown("home_now.html" if visit.partial else "home.html", values, "home")

    async def _overview(self, visit: Visit) -> tuple[Overview | None, str]:
        """What the journal says, or why it cannot be read."""
        owner = None if visit.viewer.operator else visit.viewer.person
        now, console = self.services.now(), f"{urlsplit(self.services.address).path}/console"

        async def read() -> Overview:
            return await self.services.read(lambda connection: overview(connection, now, owner, console), visit.holder)

        try:
            return await self.recent.get(owner, read), ""
        except Problem as problem:
            return None, problem.detail or problem.title

    async def _of_server(self) -> list[Need]:
        """What this server process knows without the journal."""
        services = self.services
        return [
            *needs.of_files(services.snapshot().faults),
            *needs.of_secrets(services.secret_states(), services.now()),
            *needs.of_readiness(await self._reasons()),
            *of_gateways(services.gateways()),
        ]

    async def _of_approvals(self, visit: Visit) -> list[Need]:
        """Approvals that wait for this person. They are read each time, because a person who has just decided one looks
        here next."""
        actions, caller = self.services.approvals, unproved(visit.viewer.caller)
        if actions is None:
            return []
        try:
            return durable_needs.of_approvals(await waiting_number(actions, caller, visit.holder))
        except Problem:
            return []  # the page says that the journal cannot be read

    async def _of_connections(self, visit: Visit) -> list[Need]:
        """Connections that this person has to connect; for operators also how many people's are broken. Those of the
        person are read each time, because a person who has just connected one looks here next."""
        services, who = self.services, asker(visit)
        if not services.grants.entries:
            return []

        async def read() -> Mapping[str, int]:
            entries = [each for each in services.grants.entries.values() if each.per_user]
            return {each.name: (await services.grants.owners(each, who)).counts.get("Broken", 0) for each in entries}

        try:
            own = await services.grants.own(who)
            broken = await self.broken.get("", read) if who.operator else {}
        except Problem:
            return []  # the page says that the journal cannot be read
        triggers = services.snapshot().triggers
        may_call = visible(services.installation, triggers, visit.viewer.caller)
        used = {name for name, users in users_of_connections(triggers).items() if may_call.intersection(users)}
        used |= {each.name for each in services.grants.entries.values() if not each.per_user}
        return needs.of_connections(own, used, broken)

    async def _reasons(self) -> Mapping[str, str]:
        """Why checks fail. A check that hangs does not hold the page."""
        try:
            async with asyncio.timeout(PATIENCE):
                return await self.checks.get("", self.services.readiness)
        except TimeoutError:
            return {"of this server": f"no answer within {PATIENCE:g} s"}

    def _first_steps(self, visit: Visit) -> dict[str, Any]:
        """The first requests to send. Those of README.md are another's for people who are no operators: they do not
        see the runs of anonymous callers or of ada."""
        services, viewer = self.services, visit.viewer
        triggers = services.snapshot().triggers
        served = visible(services.installation, triggers, viewer.caller)
        steps = first_steps(triggers, served, local=services.local)
        named = steps if viewer.operator else steps._replace(anonymous="", guarded="")
        return {"address": services.address, **named._asdict()}


def _of_journal(found: Overview | None, *, operator: bool) -> list[Need]:
    if found is None:
        return []
    return [
        *durable_needs.of_parked(found.parked, operator=operator),
        *durable_needs.of_late(found.late),
        *needs.of_findings(found.findings),
        *needs.of_runs(found.failing),
        *needs.of_refusals(found.bursts),
        *durable_needs.of_old_approvals(found.old_approvals),
    ]
