"""Renews grants before a call has to wait for it, and those that are not used before they end."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

import structlog

from postern.connections.faults import ConnectionFault
from postern.connections.grants.clocks import Clocks
from postern.connections.grants.moves import due_at
from postern.connections.grants.reasons import NO_REFRESH_TOKEN
from postern.errors import Problem
from postern.journal.grants import Grant, State, entry_of, of_connection
from postern.journal.server_processes import Transaction
from postern.logs import Trouble

LOOK_EVERY = 30.0
"""Seconds between two looks for what is due; each is up to a half longer, so that server processes are not in step."""
PAGE = 100
MOST_AT_ONCE = 4
"""Refreshes of the background at a time, so that a provider is not flooded and calls find the database free."""

Refresh = Callable[[str, str, int], Awaitable[None]]
"""Renews the grant of a name and an owner, if it is of this generation still. Raises ConnectionFault."""

log = structlog.get_logger("postern.connections")


class Background:
    """Looks through the grants of `names`. Server processes do not agree who renews which: the one that takes a grant
    first does, and the others find it taken."""

    def __init__(self, read: Transaction, names: Callable[[], Iterable[str]], refresh: Refresh, clocks: Clocks) -> None:
        self._read = read
        self._names = names
        self._refresh = refresh
        self._clocks = clocks

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        trouble = Trouble(log.error, "grants-not-seen")
        while True:
            await self._clocks.sleep(LOOK_EVERY * self._clocks.uniform(0.5, 1.5))
            with trouble.attempt():
                await self.look()

    async def look(self) -> None:
        """Renew what is due."""
        limit = asyncio.Semaphore(MOST_AT_ONCE)
        async with asyncio.TaskGroup() as tasks:
            for name in self._names():
                after = ""
                while True:
                    found = await self._read(partial(of_connection, name=name, limit=PAGE, after=after))
                    for grant in filter(self._is_due, found):
                        await limit.acquire()
                        task = tasks.create_task(self._renew(grant))
                        task.add_done_callback(lambda _: limit.release())
                    if len(found) < PAGE:
                        break
                    after = found[-1].owner

    def _is_due(self, grant: Grant) -> bool:
        """Whether it is to be renewed now."""
        now = self._clocks.now()
        return grant.state is State.CONNECTED and grant.reason != NO_REFRESH_TOKEN and due_at(grant, now) <= now

    async def _renew(self, grant: Grant) -> None:
        await self._clocks.sleep(self._clocks.uniform(0.0, 1.0))
        try:
            await self._refresh(grant.connection, grant.owner, grant.generation)
        except (ConnectionFault, Problem):
            return  # it is in the log, and the next look tries again
        except Exception as error:  # of this grant alone: the others are renewed all the same
            cause = type(error).__name__  # its text may hold what a provider sent
            log.error("grant-not-renewed", entry=entry_of(grant.connection), owner=grant.owner, cause=cause)  # noqa: TRY400
