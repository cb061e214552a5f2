"""Signals: they are kept, and wake the run that waits for one, which takes it as a checkpoint (`ctx.wait_for`)."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from time import time
from typing import Any

from postern.authoring.context import Context
from postern.authoring.waits import Signal
from postern.connections.faults import ConnectionFault
from postern.connections.sealing.sealed_text import CannotOpen
from postern.durable.durable_steps import DurableSteps
from postern.durable.execution import Execution
from postern.durable.seals import Seals, key_unavailable
from postern.durable.waits import Waits
from postern.journal.durable_runs import Reason
from postern.journal.signals import Arrival, Sent, Taken, has_come, send, take
from postern.json_parser import parse

Journal = Callable[[Callable[[Any], Any]], Awaitable[Any]]


class Signals:
    """The signals of durable runs. `read` and `write` are the journal's. `look` makes the engine look for runs that go
    on."""

    def __init__(
        self,
        steps: DurableSteps,
        waits: Waits,
        execution_of: Callable[[str], Execution],
        read: Journal,
        write: Journal,
        seals: Seals,
        look: Callable[[], object] = lambda: None,
        now: Callable[[], float] = time,
    ) -> None:
        self._steps = steps
        self._waits = waits
        self._execution_of = execution_of
        self._read = read
        self._write = write
        self._seals = seals
        self._look = look
        self._now = now

    async def send(self, sent: Sent) -> tuple[Arrival, float]:
        """Keep a signal, whose body is plain here, and let its run go on if it waits for it here, or nowhere. Returns
        what became of it, and when it was sent: a little later than by the clock if another one came before. Raises
        Problem."""
        arrival, at = Arrival.EARLY, sent.sent_at
        while arrival is Arrival.EARLY:
            sent = replace(sent, sent_at=at)
            try:
                kept, version = await self._seals.seal(sent.run_id, column_of(sent), sent.body)
            except ConnectionFault as fault:
                raise key_unavailable(fault) from None
            arrival, at = await self._write(partial(send, sent=replace(sent, body=kept, key_version=version)))
        if arrival is Arrival.ARRIVED:
            self.come(sent.run_id)
        return arrival, at

    def come(self, run_id: str) -> None:
        """Something has come for a run: it looks at once if it waits here, or in no process's memory."""
        self._waits.wake(run_id)
        self._look()

    async def wait_for(self, ctx: Context, name: str, seconds: float | None) -> Signal | None:
        """The next signal of this name, or None after so many seconds, which are counted from the first execution."""

        execution = self._execution_of(ctx.run_id)

        async def begin(number: int) -> str:
            return json.dumps([number, None if seconds is None else self._now() + seconds])

        async def end(_: int) -> str:
            return await self._taken(execution, name, number, until)

        execution.check_own_code()
        number, until = json.loads(await self._steps.checkpoint(ctx, f"wait {name}", execution.unharmed(begin)))
        found = parse(await self._steps.checkpoint(ctx, f"signal {name}", execution.unharmed(end)))
        if found is None:
            return None
        body, sent_at, sent_by, signal_id = found
        execution.signals.add(signal_id)
        return Signal(name, body, sent_at, sent_by)

    async def _taken(self, execution: Execution, name: str, number: int, until: float | None) -> str:
        """The members of the signal as JSON, with its id; null if none came in time. Raises CannotOpen."""
        run_id = execution.run_id
        taken: list[Taken] = []

        async def found() -> bool:
            if await self._read(partial(has_come, run_id=run_id, name=name, number=number)):
                signal = await self._write(partial(take, hold=execution.hold, name=name, number=number))
                taken.extend([signal] if signal is not None else [])
            return bool(taken)

        if not await self._waits.wait(execution, Reason.SIGNAL, name, until, found):
            return "null"
        signal = taken[0]
        if signal.id in execution.signals:
            raise CannotOpen("the run has this signal already: its row was changed")
        body = await self._seals.open(run_id, column_of(signal), signal.body, signal.key_version)
        return f"[{body}, {json.dumps(signal.sent_at)}, {signal.sent_by}, {json.dumps(signal.id)}]"


def column_of(signal: Sent | Taken) -> str:
    """Where the body of a signal is sealed for (see Seals): it opens under no other name, for no other sender, and as
    one of no other time."""
    return f"signal {json.dumps([signal.id, signal.name, signal.sent_by, signal.sent_at])}"
