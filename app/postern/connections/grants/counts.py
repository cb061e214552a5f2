"""How many grants there are by connection and state, for metrics: read now and then, not for each scrape."""

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from functools import partial

import structlog

from postern.connections.grants.reasons import NO_REFRESH_TOKEN
from postern.connections.grants.states import SOON, Shown
from postern.errors import Problem
from postern.journal.reading.grant_counts import Counted, count_grants
from postern.journal.server_processes import Transaction

LOOK_EVERY = 60.0
"""Seconds between two looks, up to a quarter more or less: server processes are then not in step."""

NONE = Counted()

log = structlog.get_logger("postern.connections")


class GrantCounts:
    """Counts the grants of the entries in `per_user`: their names, and whether each person has a grant of their own.
    `found` has the numbers of the last look by name and state, with 0 where there is none. A shared entry without a
    grant is 1 `Needed`; whose grant is missing where each person has one, nobody knows."""

    def __init__(self, read: Transaction, per_user: Mapping[str, bool], now: Callable[[], float] = time.time) -> None:
        self.found: Mapping[tuple[str, str], int] = {}
        self._read = read
        self._per_user = per_user
        self._now = now

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        failing = False
        while True:
            try:
                await self.look()
                failing = False
            except Exception as error:
                cause = error.code if isinstance(error, Problem) else type(error).__name__
                if not failing:
                    log.error("grants-not-counted", cause=cause)  # noqa: TRY400 - its text may hold a password
                failing = True
            await asyncio.sleep(LOOK_EVERY * random.uniform(0.75, 1.25))  # noqa: S311 - no secret

    async def look(self) -> None:
        """Count them now."""
        query = partial(count_grants, now=self._now(), soon=SOON, without_refresh=NO_REFRESH_TOKEN)
        counted = await self._read(query)
        found: dict[tuple[str, str], int] = {}
        for name, per_user in self._per_user.items():
            numbers = counted.get(name, NONE)
            found[name, Shown.NEEDED.value] = int(not per_user and not any(numbers))
            found[name, Shown.CONNECTED.value] = numbers.connected
            found[name, Shown.EXPIRING.value] = numbers.expiring
            found[name, Shown.BROKEN.value] = numbers.broken
        self.found = found
