"""A server process's durable engine with the journal, for tests: it accepts runs, dies, and another one goes on."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import select

from postern.access import ANYONE, Access, Caller, Policy, bind
from postern.authoring.call_result import Call
from postern.authoring.context import Services
from postern.authoring.request import Request
from postern.authoring.workflow import Workflow
from postern.catalog import Trigger
from postern.durable.acceptance import Acceptance
from postern.durable.approvals import Approvals
from postern.durable.durable_calls import DurableCalls
from postern.durable.durable_steps import DurableSteps
from postern.durable.engine import DurableEngine
from postern.durable.seals import NoSeal
from postern.durable.signals import Signals
from postern.durable.turns import Turns
from postern.durable.waits import HELD, Waits
from postern.durable.wakes import Wakes
from postern.durable.works import Works
from postern.ids import new_id
from postern.journal.durable_ends import cancel
from postern.journal.durable_tables import durable_runs
from postern.journal.journal import Journal
from postern.journal.run import Run
from postern.journal.schema import runs
from postern.journal.signals import Arrival, Sent
from postern.runs.room import Room
from postern.runs.run_lines import RunLines
from postern.runs.steps import Steps
from postern.runs.threads import Threads
from postern.triggers.read import arguments
from tests.journal.operations import execute

PATIENCE = 20.0
"""Seconds that a test waits for what must come."""
MOST = 1024

BY = '{"kind": "user", "object_id": "mia", "client_id": null, "name": "Mia"}'
TENANT = "e2fc6e45-07a1-47e5-a6c7-2a3740ea3a7a"
PEOPLE = {"lisa": "c33a0e11-b6a6-4ce1-b2e0-e5fbe1e362d2", "ada": "ed1bf663-4183-4555-b113-3ed7e5cc901b"}

TAKE_OVER = (
    "UPDATE durable_runs SET phase = CASE phase WHEN 'running' THEN 'ready' ELSE phase END, "
    "deaths = deaths + CASE phase WHEN 'running' THEN 1 ELSE 0 END, owner = NULL WHERE owner = '{}'"
)


async def no_call(ctx: Any, outgoing: Any) -> Any:
    """There is nothing to call."""
    raise LookupError(outgoing.trigger)


class Host:
    """A server process on the database at `url`. `serve` says which workflows it has, and `calls` what `ctx.call` does.
    `held` is for how many seconds a run that waits stays in memory. The database of `checkpoints` is the same by
    another address."""

    def __init__(
        self, url: str, *, held: float = HELD, workers: int = 32, most: int = MOST, checkpoints: str = ""
    ) -> None:
        self.url = checkpoints or url
        self.journal = Journal(url)
        self.triggers: dict[str, Trigger] = {}
        self.calls: Callable[[Any, Any], Awaitable[Any]] = no_call
        self.ended: dict[str, Run] = {}
        self.seals: Any = NoSeal()
        self._options = held, workers, most
        self._threads, self._of_steps = Threads("workflow"), Threads("step")
        self._task: asyncio.Task[None] | None = None
        self._something = asyncio.Event()

    # Life

    async def open(self) -> None:
        """Open the journal, and start the first engine."""
        await self.journal.open()
        self.start()

    def start(self) -> None:
        """Start an engine: a new server process."""
        held, workers, most = self._options
        turns, journal = Turns(workers), self.journal
        self.lines = lines = RunLines(lambda run_id: self.engine.find(run_id), journal)
        lines.open()
        works = Works(
            journal.read,
            journal.write,
            lambda: self.triggers,
            self._read,
            self.seals,
            self._threads,
            self._has_ended,
            lines,
        )
        self.engine = engine = DurableEngine(self.url, new_id(), works, turns)

        steps = Steps(journal.note_step, threads=self._of_steps, left=engine.left)
        self.waits = waits = Waits(journal.write, turns, held=held)
        durable = DurableSteps(steps, waits, engine.execution_of, engine.may_begin, self.seals, most, journal.note_step)
        calls = DurableCalls(durable, self, most, journal.note_call)
        shared = (durable, waits, engine.execution_of, journal.read, journal.write, self.seals)
        self.signals = signals = Signals(*shared, engine.accepted)
        approvals = Approvals(*shared, self._bind)
        self.wakes = Wakes(waits, journal.read, engine._node)
        services = Services(
            self._secret,
            self._connection,
            structlog.get_logger("test"),
            step=durable.step,
            call=calls.call,
            sleep=durable.sleep,
            wait_for=signals.wait_for,
            approval=approvals.approval,
        )
        engine.use(services, durable.checkpoint)
        self.acceptance = Acceptance(
            journal,
            Room(self._threads),
            self.seals,
            self._digest,
            10_000,
            engine,
            self._check,
            engine._now,
            self._fail,
        )
        self._task = asyncio.create_task(engine.run())

    async def crash(self) -> None:
        """The server process dies: nothing is released, and nothing is recorded any more."""
        engine = self.engine
        await self._end_task()
        engine._executions.closed = engine._executions._stopping = True
        for execution in list(engine.executions.values()):
            execution.leave()
        await engine.store.stop()

    async def take_over(self) -> None:
        """Other server processes have noticed the death, and a new process goes on."""
        await self.journal.write(partial(execute, statement=TAKE_OVER.format(self.engine._node)))
        self.start()

    async def reconcile(self, run_id: str) -> None:
        """The engine looks twice for runs of this process that nothing here runs, when that is so."""

        async def left() -> bool:
            return run_id not in self.engine._arrived

        await self.until(left)
        await self.engine.reconcile()
        await self.engine.reconcile()

    def drain(self) -> None:
        """The server process begins to stop, as the application does it."""
        self.waits.drain()
        self.engine.drain()

    async def restart(self) -> None:
        """The server process ends properly, and another one starts."""
        await self._end_task()
        await self.engine.stop()
        self.start()

    async def restart_with(self, seals: Any) -> None:
        """The same, and from then on texts are sealed by these."""
        self.seals = seals
        await self.restart()

    async def close(self) -> None:
        """End all of it."""
        await self._end_task()
        await self.engine.stop()
        await self.journal.aclose()
        self._threads.close()
        self._of_steps.close()

    async def _end_task(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    # Runs

    def serve(self, *workflows: Workflow, digest: str = "1") -> None:
        """Serve these workflows, and no others."""
        self.triggers = {}
        for each in workflows:
            policy = bind(each.access, people={}, tenants=[], audiences=[])
            self.triggers[each.name] = Trigger(each, policy, Path("test.py"), sha256=digest)

    async def accept(self, workflow: Workflow, body: bytes = b"", caller: Caller = ANYONE, **more: Any) -> str:
        """The id of a run that was accepted."""
        kind = "application/json" if body else ""
        request = Request("POST", f"/triggers/{workflow.name}", body=body, content_type=kind)
        given = self._read_at_once(self.triggers[workflow.name], request)
        run = await self.acceptance.start(workflow, caller, request, given, new_id(), **more)
        return run.id

    async def outcome(self, run_id: str) -> Any:
        """The row of a run in the table `runs`, when it has ended."""

        async def ended() -> Any:
            row = await self.row(run_id)
            return row if row.ended_at is not None and (await self.durable(run_id)).phase == "ended" else None

        return await self.until(ended)

    async def result(self, workflow: Workflow, body: bytes = b"") -> Any:
        """Accept a run, and wait for its outcome."""
        return await self.outcome(await self.accept(workflow, body))

    async def row(self, run_id: str) -> Any:
        """The row of a run in the table `runs`."""
        query = select(runs).where(runs.c.id == run_id)
        return await self.journal.read(lambda connection: connection.execute(query).one())

    async def durable(self, run_id: str) -> Any:
        """The row of a run in the table `durable_runs`."""
        query = select(durable_runs).where(durable_runs.c.run_id == run_id)
        return await self.journal.read(lambda connection: connection.execute(query).one())

    async def phase(self, run_id: str, phase: str) -> Any:
        """The same, when the run is in this phase."""

        async def reached() -> Any:
            row = await self.durable(run_id)
            return row if row.phase == phase else None

        return await self.until(reached)

    async def send(self, run_id: str, body: str, name: str = "go") -> Arrival:
        """Send a signal to a run."""
        sent = Sent(run_id, new_id(), name, 1000.0, BY, len(body), body)
        return (await self.signals.send(sent))[0]

    async def cancel(self, run_id: str) -> None:
        """Cancel a run in the journal, as another server process does."""
        await self.journal.write(partial(cancel, run_id=run_id, now=1000.0, by=BY))

    async def until(self, found: Callable[[], Awaitable[Any]]) -> Any:
        """What this returns, when it is true."""
        async with asyncio.timeout(PATIENCE):
            while not (value := await found()):
                self._something.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.02):
                        await self._something.wait()
        return value

    # What the engine works with

    def _has_ended(self, run: Run) -> None:
        self.lines.ended(run)
        self.ended[run.id] = run
        self._something.set()

    def _digest(self, name: str) -> str:
        return self.triggers[name].sha256

    async def _check(self, run: Run, read: Callable[[], Any], seconds: float) -> tuple[Mapping[str, Any], float]:
        return await self._in_thread(run, read), seconds

    async def _fail(self, run: Run, error: BaseException) -> Run:
        raise error

    async def _in_thread(self, run: Run, read: Callable[[], Any]) -> Any:
        return await self._threads.run(run.workflow.name, read)

    async def _read(self, trigger: Trigger, run: Run) -> Mapping[str, Any]:
        return self._read_at_once(trigger, run.request)

    def _read_at_once(self, trigger: Trigger, request: Request) -> Mapping[str, Any]:
        kind = request.content_type.encode() if request.body else None
        return arguments(trigger.workflow, request.body, kind, request.path_parameters)

    async def call(self, ctx: Any, outgoing: Any, note: Any = None) -> Any:
        """A call, as `Calls.call`."""
        call = Call(outgoing.number, outgoing.step, outgoing.trigger, 1.0, 2.0)
        try:
            return await self.calls(ctx, outgoing)
        except BaseException as error:
            call.error = type(error).__name__
            raise
        finally:
            (note or self.journal.note_call)(ctx.run_id, call)

    async def later(self, ctx: Any, outgoing: Any, location: str, *, operation: bool) -> Any:
        """The later result of a call, as `Calls.later`."""
        return await self.calls(ctx, replace(outgoing, path=location, wait=True))

    @staticmethod
    def _bind(access: Access) -> Policy:
        return bind(access, people=PEOPLE, tenants=[TENANT], audiences=["api://here"])

    @staticmethod
    async def _secret(name: str) -> str:
        return f"value of {name}"

    @staticmethod
    def _connection(ctx: Any, name: str) -> Any:
        raise LookupError(name)
