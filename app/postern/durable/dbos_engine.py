"""DBOS in a thread with an event loop of its own: it keeps the checkpoints of durable runs, and starts them again.

Nothing else here imports DBOS. Its calls block a thread for each, and it replaces its loop's default executor: neither
is felt by the server's event loop, in which the code of authors runs. The journal decides who runs what
(`journal/durable_runs.py`); DBOS has one workflow, whose only argument is the id of a run.

Reference: docs.dbos.dev/python. Seen on 3.4.0.
"""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any

import structlog
from dbos import DBOS, DBOSConfig, SetWorkflowID
from dbos import error as dbos_errors

from postern.durable.across_loops import Loop, across
from postern.durable.checkpoints_database import checkpoints_engine, checkpoints_url
from postern.durable.text_serializer import TextSerializer

if TYPE_CHECKING:
    from sqlalchemy import Engine

QUEUE = "resumed"
"""The only queue: of runs that go on."""
VERSION = "1"
"""DBOS never runs what has another version than this, so it is always the same."""
THREADS = 16
"""Of DBOS's own calls of its database."""
STOP_SECONDS = 10.0
_ACTIVE = frozenset({"ENQUEUED", "PENDING", "DELAYED"})

log = structlog.get_logger("postern.durable")


class Left(BaseException):
    """This execution of a run ends here, without an outcome: another one goes on. DBOS records nothing of it."""


class Changed(Exception):
    """The code asks for another step than the one that was recorded here."""


class Lost(Exception):
    """Another server process runs this run by now."""


class Checkpoints:
    """The checkpoints of one execution of a run. `step` is called in the server's event loop."""

    def __init__(self, loop: Loop, home: Loop, context: Context) -> None:
        self._loop = loop
        self._home = home
        self._context = context

    async def step(self, name: str, body: Callable[[int], Coroutine[Any, Any, str]]) -> str:
        """What `body` returned when this checkpoint was made: now, or in an earlier execution. It gets the number of
        the checkpoint. Numbers are given in the order of calls. Raises Changed if another step was recorded under this
        number, Lost if another process has taken over, and whatever the database of checkpoints raises."""
        inside = copy_context()

        async def checkpoint() -> str:
            reserved = DBOS.reserve_step()

            async def there() -> str:
                return await across(self._home, lambda: body(reserved.step_id), inside)

            return await reserved.run_async({"name": name}, there)

        try:
            return await across(self._loop, checkpoint, self._context)
        except dbos_errors.DBOSUnexpectedStepError as error:
            raise Changed(name) from error
        except (dbos_errors.DBOSWorkflowConflictIDError, dbos_errors.DBOSWorkflowCancelledError) as error:
            raise Lost from error


Execute = Callable[[str, Checkpoints], Awaitable[bool]]
"""Runs a run, in the server's event loop, under its id. False if it did not end here."""


class DbosEngine:
    """DBOS on the database at `url`, for the server process `node`. `execute` is called in the loop in which `start`
    was. There is one in a process at a time."""

    def __init__(self, url: str, node: str, execute: Execute) -> None:
        self._url = url
        self._node = node
        self._execute = execute
        self._loop: Loop | None = None
        self._thread: threading.Thread | None = None
        self._engine: Engine | None = None
        self._dispatch: Any = None

    @property
    def runs(self) -> bool:
        """Whether it was started."""
        return self._loop is not None

    async def start(self) -> None:
        """Open the database of checkpoints, and make its tables. Raises whatever it raises, and can be called again
        then."""
        home = asyncio.get_running_loop()
        loop = self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=loop.run_forever, name="durable", daemon=True)
        self._thread.start()
        try:
            await self._there(lambda: self._launch(loop, home))
        except BaseException:
            await self.stop()
            raise

    async def begin(self, run_id: str) -> None:
        """Start a run. If DBOS knows it already, nothing happens."""

        async def begin() -> None:
            with SetWorkflowID(run_id):
                await DBOS.start_workflow_async(self._dispatch, run_id)

        await self._there(begin)

    async def go_on(self, run_ids: Sequence[str]) -> None:
        """Run these runs again from their last checkpoints, whatever their state is; those that DBOS does not know are
        started."""

        async def go_on() -> None:
            found = await DBOS.list_workflows_async(workflow_ids=list(run_ids), load_input=False, load_output=False)
            states = {each.workflow_id: each.status for each in found}
            ended = [run_id for run_id in run_ids if states.get(run_id) in ("SUCCESS", "ERROR")]
            for run_id in ended:
                steps = await DBOS.list_workflow_steps_async(run_id)
                last = max((step["function_id"] for step in steps), default=0)
                await DBOS.rewind_workflow_async(run_id, start_step=last + 1, queue_name=QUEUE)
            if open_ones := [run_id for run_id in run_ids if run_id in states and run_id not in ended]:
                await DBOS.resume_workflows_async(open_ones, queue_name=QUEUE)

        await self._there(go_on)
        known = await self._known(run_ids)
        for run_id in run_ids:
            if run_id not in known:
                await self.begin(run_id)

    async def repeat(self, run_id: str, first: int) -> None:
        """Run a run again, whatever its state is, after deleting its checkpoints from this number on; from 0 on all of
        them."""

        async def repeat() -> bool:
            found = await DBOS.list_workflows_async(workflow_ids=[run_id], load_input=False, load_output=False)
            if found and first:
                if found[0].status in _ACTIVE:  # only what has ended can be rewound
                    await DBOS.cancel_workflows_async([run_id])
                await DBOS.rewind_workflow_async(run_id, start_step=first, queue_name=QUEUE)
                return True
            if found:
                await DBOS.delete_workflows_async([run_id])
            return False

        if not await self._there(repeat):
            await self.begin(run_id)

    async def delete(self, run_ids: Sequence[str]) -> None:
        """Delete the checkpoints of runs that have ended."""

        async def delete() -> None:
            await DBOS.delete_workflows_async(list(run_ids))

        await self._there(delete)

    async def stop(self) -> None:
        """End all executions here, without an outcome, and close the database."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        self._loop = None
        await asyncio.to_thread(self._stop, loop, thread)

    def _stop(self, loop: Loop, thread: threading.Thread) -> None:
        async def destroy() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            if others:
                await asyncio.wait(others, timeout=1.0)
            await asyncio.to_thread(DBOS.destroy, destroy_registry=True)

        asyncio.run_coroutine_threadsafe(destroy(), loop).result(STOP_SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(STOP_SECONDS)
        loop.close()
        if self._engine is not None:
            self._engine.dispose()

    async def _known(self, run_ids: Sequence[str]) -> set[str]:
        async def known() -> set[str]:
            found = await DBOS.list_workflows_async(workflow_ids=list(run_ids), load_input=False, load_output=False)
            return {each.workflow_id for each in found}

        found: set[str] = await self._there(known)
        return found

    async def _launch(self, loop: Loop, home: Loop) -> None:
        self._engine = checkpoints_engine(self._url)
        config: DBOSConfig = {
            "name": "postern",
            "system_database_url": checkpoints_url(self._url),
            "system_database_engine": self._engine,
            "executor_id": self._node,
            "application_version": VERSION,
            "serializer": TextSerializer(),
            "max_executor_threads": THREADS,
            "use_listen_notify": False,
            "enable_otlp": False,
            "log_level": "ERROR",
        }
        DBOS(config=config)
        logging.getLogger("dbos").setLevel(logging.CRITICAL)

        @DBOS.workflow(name="run")
        async def dispatch(run_id: str) -> str:
            checkpoints = Checkpoints(loop, home, copy_context())

            async def execute() -> bool:
                return await self._execute(run_id, checkpoints)

            if not await across(home, execute, Context()):
                raise Left(run_id)
            return ""

        self._dispatch = dispatch
        DBOS.listen_queues([QUEUE])
        DBOS.launch()
        await DBOS.register_queue_async(QUEUE, polling_interval_sec=1.0)

    async def _there(self, make: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        if self._loop is None:
            raise RuntimeError("the durable engine does not run")
        return await across(self._loop, make, Context())
