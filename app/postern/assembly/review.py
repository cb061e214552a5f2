"""The access review, made of the catalog, the journal, the settings and the directory."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any

from anyio import to_thread
from sqlalchemy import Connection

from postern.access import Access, Anonymous, Policy
from postern.access.directory import Looked
from postern.assembly.foundation import Foundation
from postern.catalog import Trigger
from postern.connections.directory import look_up_with
from postern.console.access_words import access_words
from postern.journal.reading.access_facts import AccessFacts, read_facts
from postern.journal.reading.readers import SERVER
from postern.security.review.review import Realm, Review, review, to_look_up
from postern.settings import Settings

REMEMBERED = 300.0
"""Seconds for which a server remembers what the directory said."""

FAULT_REMEMBERED = 30.0
"""The same for a directory that could not be asked."""

LookUp = Callable[[Sequence[str]], Awaitable[Looked]]
Read = Callable[[Callable[[Connection], Any]], Awaitable[Any]]


def realm_of(settings: Settings) -> Realm:
    """What the settings say of access."""
    names = {object_id: name for name, object_id in settings.people.items()}
    return Realm(settings.tenant_id or "", names, tuple(settings.operators), frozenset(settings.access.anonymous))


def anonymous_names(triggers: Iterable[Trigger]) -> list[str]:
    """The workflows whose callers are known by no token."""
    return [trigger.workflow.name for trigger in triggers if isinstance(trigger.workflow.access, Anonymous)]


async def reviewed(settings: Settings, triggers: Sequence[Trigger], facts: AccessFacts, look_up: LookUp) -> Review:
    """The review as of now."""
    realm = realm_of(settings)
    looked = await look_up(to_look_up(triggers, facts, realm))
    return await to_thread.run_sync(review, triggers, facts, realm, looked, _words, time.time())


def reviews_of(base: Foundation) -> "Reviews":
    """The reviews of this server. Names are looked up with its own connection."""
    settings, catalog = base.settings, base.catalog
    look_up = partial(look_up_with, settings=settings, client=base.connections.connections.client)
    read = partial(base.journal.read, caller=SERVER)
    return Reviews(settings, lambda: catalog.triggers().values(), read, look_up)


class Reviews:
    """Reviews of a running server. What the directory says is remembered for a while. It belongs to one event loop."""

    def __init__(
        self,
        settings: Settings,
        triggers: Callable[[], Iterable[Trigger]],
        read: Read,
        look_up: LookUp,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._triggers = triggers
        self._read = read
        self._look_up = look_up
        self._now = now
        self._looked: tuple[float, frozenset[str], Looked] | None = None
        self._one = asyncio.Lock()

    async def make(self) -> Review:
        """The review as of now. Raises what reading the journal raises."""
        triggers = list(self._triggers())
        names, now = anonymous_names(triggers), time.time()
        facts = await self._read(lambda connection: read_facts(connection, now, names))
        return await reviewed(self._settings, triggers, facts, self._remembered)

    async def _remembered(self, ids: Sequence[str]) -> Looked:
        async with self._one:
            wanted = frozenset(ids)
            if self._looked is not None:
                at, known, looked = self._looked
                kept = FAULT_REMEMBERED if looked.fault else REMEMBERED
                if wanted <= known and self._now() < at + kept:
                    return looked
            looked = await self._look_up(ids)
            self._looked = self._now(), wanted, looked
            return looked


def _words(access: Access, policy: Policy) -> tuple[str, tuple[str, ...]]:
    found = access_words(access, policy)
    return found.who, found.conditions
