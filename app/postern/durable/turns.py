"""How many durable runs of this server process execute code at the same time."""

import asyncio
from typing import Protocol


class Holder(Protocol):
    """Whoever has a turn."""

    turn: bool

    def goes_on(self) -> None:
        """It has a turn."""

    def rests(self) -> None:
        """It has none any more."""


class Turns:
    """Turns of POSTERN_DURABLE_WORKERS. A run that waits has none."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.wanted = 0
        self._turns = asyncio.Semaphore(most)

    @property
    def free(self) -> int:
        """How many more runs would get a turn at once."""
        return max(0, self.most - self.wanted)

    async def take(self, holder: Holder) -> None:
        """Wait for a turn, and take it."""
        self.wanted += 1
        try:
            await self._turns.acquire()
        except BaseException:
            self.wanted -= 1
            raise
        holder.turn = True
        holder.goes_on()

    def give_back(self, holder: Holder) -> None:
        """The holder waits, or has ended. If it has no turn, nothing happens."""
        if holder.turn:
            holder.turn = False
            holder.rests()
            self.wanted -= 1
            self._turns.release()
