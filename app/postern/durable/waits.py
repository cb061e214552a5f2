"""How a durable run waits: in memory for a while, then in the database only."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from time import time
from typing import Any

from sqlalchemy import Connection

from postern.durable.checkpoints import Left
from postern.durable.execution import Execution
from postern.durable.turns import Turns
from postern.journal.durable_runs import Reason, begin_wait, end_wait, let_go

HELD = 60.0
"""Seconds for which a run that waits stays in memory. After that it is run again from its checkpoints when it goes on,
by whichever server process."""

MOST_HELD = 500
"""Runs that are kept in memory while they wait. One takes about 30 KiB there."""

AGAIN = 1.0
"""Seconds between two looks whether a step has ended that runs beside a wait."""

MOST_REFUSED = 3
"""So often code that was left is told so at once."""

Write = Callable[[Callable[[Connection], Any]], Awaitable[Any]]


class Waits:
    """The waits of this server process. A run that waits holds no turn. `listening` are the executions that wait for
    something which may come at any time."""

    def __init__(self, write: Write, turns: Turns, now: Callable[[], float] = time, held: float = HELD) -> None:
        self.listening: dict[str, Execution] = {}
        self._write = write
        self._turns = turns
        self._now = now
        self._held = held
        self._holding = 0

    async def sleep(self, execution: Execution, until: float) -> None:
        """Wait until a time of day, in Unix seconds."""
        await self.wait(execution, Reason.SLEEP, None, until, self._never)

    async def wait(
        self,
        execution: Execution,
        reason: Reason,
        name: str | None,
        until: float | None,
        found: Callable[[], Awaitable[bool]],
    ) -> bool:
        """Wait until `found`, which is asked at once and each time the run is woken, or until the time is over. Returns
        whether it was found. Raises Left if the run goes on elsewhere, or later."""
        hold = execution.hold
        execution.woken.clear()
        if await found():
            return True
        if until is not None and self._now() >= until:
            return False
        try:  # from here on a timeout of its author may come at any moment
            kept = execution.kept(waits=int(name is not None))
            waiting = partial(begin_wait, hold=hold, reason=reason, waits_for=name, wakes_at=until, checkpoints=kept)
            if not await self._write(waiting):
                self._leave(execution)
            self._turns.give_back(execution)
            execution.of_wait = int(name is not None)
            if name is not None:
                self.listening[execution.run_id] = execution
            # Once more: what came before the run was seen to wait has not made it due.
            ended = await found() or await self._in_memory(execution, until, found)
        except BaseException:  # then its code goes on, and it does not wait
            if not execution.left:
                await self._go_on(execution)
            raise
        finally:
            self.listening.pop(execution.run_id, None)
            execution.of_wait = 0
        if ended is None:  # it ends here, and others may have all turns
            await self._write(partial(let_go, hold=hold))
            self._leave(execution)
        await self._go_on(execution)
        return bool(ended)

    async def _go_on(self, execution: Execution) -> None:
        """The run waits no longer. Raises Left if it is not this process's any more. A timeout of its author that comes
        meanwhile is raised when the run has its turn: otherwise its code would go on without one, as one that waits."""
        going_on = asyncio.get_running_loop().create_task(self._take_turn(execution))
        timed_out: asyncio.CancelledError | None = None
        while not going_on.done():
            try:
                await asyncio.shield(going_on)
            except asyncio.CancelledError as error:
                if execution.left:
                    going_on.cancel()
                    raise
                timed_out = error
        if not going_on.result():
            self._leave(execution)
        if timed_out is not None:
            raise timed_out

    async def _take_turn(self, execution: Execution) -> bool:
        """Take a turn, if the run has none. Returns whether the run is still this process's, and waits no longer."""
        if not execution.turn:
            await self._turns.take(execution)
        return bool(await self._write(partial(end_wait, hold=execution.hold)))

    async def refuse(self, execution: Execution) -> None:
        """Raise Left: the execution has ended. Code that catches that too, and asks again and again, would hold the
        event loop and a turn for ever."""
        self._turns.give_back(execution)
        execution.refused += 1
        if execution.refused > MOST_REFUSED:
            await asyncio.sleep(AGAIN)
        self._leave(execution)

    def drain(self) -> None:
        """The server process is about to end: a run that begins to wait is kept in memory no longer."""
        self._held = 0.0

    def wake(self, run_id: str) -> None:
        """Something has come for a run. If it waits here, it looks at once."""
        execution = self.listening.get(run_id)
        if execution is not None:
            execution.woken.set()

    async def _in_memory(
        self, execution: Execution, until: float | None, found: Callable[[], Awaitable[bool]]
    ) -> bool | None:
        """True if it was found, False if the time is over, None if the run is not kept in memory any longer. It is kept
        while a step of it is under way."""
        given_up = self._now() + (self._held if self._holding < MOST_HELD else 0.0)
        end = given_up if until is None else min(until, given_up)
        self._holding += 1
        try:
            while True:
                if (left := end - self._now()) <= 0:
                    if end == until or not execution.works:
                        break
                    left = AGAIN
                    end = self._now() + left if until is None else min(until, self._now() + left)
                with suppress(TimeoutError):
                    async with asyncio.timeout(left):
                        await execution.woken.wait()
                        execution.woken.clear()
                if execution.left:
                    self._leave(execution)
                if await found():
                    return True
        finally:
            self._holding -= 1
        return False if end == until else None

    @staticmethod
    async def _never() -> bool:
        return False

    @staticmethod
    def _leave(execution: Execution) -> None:
        execution.left = True
        raise Left(execution.run_id)
