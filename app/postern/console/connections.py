"""`/console/connections`: the entries of `postern.toml`, how each signs in, and a test of one."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial

from postern.connections.entry_trial import stages_of
from postern.connections.stage import Stage
from postern.console.connect import asker
from postern.console.grant_words import GrantRow, grant_row
from postern.console.page import PageRoute, SeeOther, Shown, Visit
from postern.console.services import Services, Stages
from postern.console.sign_in_words import sign_in_words
from postern.console.uses_words import users_of_connections
from postern.errors import problem
from postern.plain_text import plain
from postern.settings import Connection, Trigger
from postern.settings.descriptions import described, entries

HERE = "connections"
OF_CONNECTIONS = "connections."
SECONDS = 60.0
"""How long a test may take."""
AT_ONCE = 4
"""Tests that run at the same time."""


@dataclass(frozen=True, slots=True)
class EntryRow:
    """An entry, without secrets and without the query of its address. `purpose` are its scopes or its audience.
    `workflows` are those that use it, as far as their options or their code say. `grant` is for an entry that people
    connect: the viewer's own, or the shared one."""

    entry: str
    table: str
    name: str
    address: str
    sign_in: str
    purpose: tuple[str, ...]
    headers: tuple[str, ...]
    gateway: str
    secrets: tuple[str, ...]
    workflows: tuple[str, ...] = ()
    grant: GrantRow | None = None


def entry_row(
    entry: str, found: Connection | Trigger, workflows: Iterable[str] = (), grant: GrantRow | None = None
) -> EntryRow:
    """An entry as the page shows it."""
    facts = described(entry, found)
    return EntryRow(
        entry,
        facts["table"],
        facts["name"],
        plain(facts["address"]),
        plain(sign_in_words(found.auth)),
        tuple(map(plain, facts["for"])),
        tuple(found.headers),
        plain(found.gateway or ""),
        tuple(dict.fromkeys(facts["secrets"].values())),
        tuple(workflows),
        grant,
    )


@dataclass(frozen=True, slots=True)
class Connections:
    """The two pages. `stages` tests an entry in place of what `postern connections test` does."""

    services: Services
    stages: Stages | None = None
    _testing: set[str] = field(default_factory=set)

    @property
    def routes(self) -> tuple[PageRoute, ...]:
        """Where they are."""
        return (
            PageRoute("GET", "/console/connections", self.index),
            PageRoute("POST", "/console/connections/{entry}/test", self.test, operators_only=True),
            PageRoute("GET", "/console/connections/{entry}/test", self.back, operators_only=True),
        )

    async def index(self, visit: Visit) -> Shown:
        """All entries, for operators. For others those that they can connect."""
        own = [grant_row(each) for each in await self.services.grants.own(asker(visit))]
        if not visit.viewer.operator:
            return Shown("connect_list.html", {"rows": own}, HERE)
        users = users_of_connections(self.services.snapshot().triggers)
        grants = {row.entry: row for row in own}
        rows = [
            entry_row(entry, found, users.get(entry.removeprefix(OF_CONNECTIONS), ()), grants.get(entry))
            for entry, found in entries(self.services.settings).items()
        ]
        return Shown("connections.html", {"rows": rows, "gateways": bool(self.services.settings.gateways)}, HERE)

    async def test(self, visit: Visit) -> Shown:
        """Test one entry: sign in, then reach the other side. The page shows every stage with what was found."""
        entry = visit.request.path_params["entry"]
        found = entries(self.services.settings).get(entry)
        if found is None:
            raise problem("not-found", detail="postern.toml has no such entry.")
        if entry in self._testing or len(self._testing) >= AT_ONCE:
            raise problem("too-many-runs", detail="Such a test is running already: wait until it has ended.")
        self._testing.add(entry)
        try:
            stages = await self._stages(entry)
        finally:
            self._testing.discard(entry)
        passed = all(stage.passed for stage in stages)
        self.services.log.info(
            "connection-tested", entry=entry, passed=passed, object_id=visit.viewer.session.object_id
        )
        return Shown("connection_test.html", {"row": entry_row(entry, found), "stages": stages, "passed": passed}, HERE)

    async def back(self, _: Visit) -> SeeOther:
        """The address of a test that is opened again, which runs none: to the list."""
        return SeeOther("/console/connections")

    async def _stages(self, entry: str) -> list[Stage]:
        make = self.stages or self.services.stages or partial(stages_of, settings=self.services.settings)
        done: list[Stage] = []
        try:
            async with asyncio.timeout(SECONDS):
                async for stage in make(entry):
                    done += [_shown(stage)]
        except TimeoutError:
            done.append(Stage("time", False, f"nothing came within {SECONDS:g} s", "Look whether its host is slow"))
        return done


def _shown(stage: Stage) -> Stage:
    return Stage(plain(stage.name), stage.passed, plain(stage.detail), plain(stage.fix))
