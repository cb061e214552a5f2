"""DBOS in a thread with an event loop of its own: it keeps the checkpoints of durable runs, and starts them again.

Nothing else here imports DBOS. Its calls block a thread for each, and it replaces its loop's default executor: neither
is felt by the server's event loop, in which the code of authors runs. The journal decides who runs what
(`journal/durable_runs.py`); DBOS has one workflow, whose only argument is the id of a run.

DBOS itself waits for its database in some cases, without an end and in its threads, and gives up in others. So here it
never waits (`_retry_connection_errors`), and `DbosCheckpoints` tries again in all of them.

Reference: docs.dbos.dev/python. Seen on 3.4.0.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from contextvars import Context, copy_context
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog
from dbos import DBOS, DBOSConfig, SetWorkflowID, StepOptions, StepReservation
from dbos import error as dbos_errors
from dbos._utils import GlobalParams
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from postern.durable.across_loops import Loop, across, new_event_loop
from postern.durable.checkpoint_writer import CheckpointWriter
from postern.durable.checkpoints import Changed, Execute, Later, Left, Lost
from postern.durable.checkpoints_database import checkpoints_engine, checkpoints_file, checkpoints_url
from postern.durable.dbos_intervals import SCHEDULES_SECONDS, lengthen
from postern.durable.dbos_log import route
from postern.durable.dbos_rows import DbosRows, Row
from postern.durable.first_checkpoints import WAITS, FirstCheckpoints
from postern.durable.resumed_queue import NAME as QUEUE
from postern.durable.resumed_queue import ResumedQueue
from postern.durable.text_serializer import TextSerializer, forbid_pickles

if TYPE_CHECKING:
    from dbos._sys_db import SystemDatabase
    from sqlalchemy import Engine

WORKFLOW = "run"
"""The only workflow of DBOS, whose argument is the id of a run."""
VERSION = "1"
"""DBOS never runs what has another version than this, so it is always the same."""
THREADS = 16
"""Of DBOS's own calls of its database."""
THREADS_ON_SQLITE = 4
"""One of them writes at a time, and more cost processor time only."""
AT_ONCE = 16
"""Runs that are handed to DBOS at the same time."""
STOP_SECONDS = 5.0
CALLS_SECONDS = 3.0
"""How long a stop waits for calls of DBOS that are under way."""
LISTEN_SECONDS = 0.25
"""Between two looks of a thread of DBOS that finds nothing here. It ends with the next one."""
_ACTIVE = frozenset({"ENQUEUED", "PENDING", "DELAYED"})

log = structlog.get_logger("postern.durable")


def threads(url: str) -> int:
    """How many threads call the database of checkpoints at a time."""
    return THREADS if checkpoints_file(url) is None else THREADS_ON_SQLITE


class DbosCheckpoints:
    """The checkpoints of one execution of a run, in DBOS."""

    def __init__(self, loop: Loop, home: Loop, context: Context, waits: Sequence[float] = WAITS) -> None:
        self._loop = loop
        self._home = home
        self._context = context
        self._waits = waits

    async def step(self, name: str, body: Callable[[int], Coroutine[Any, Any, str]]) -> tuple[int, str]:
        """See Checkpoints.step."""
        inside = copy_context()
        made: list[str] = []

        def checkpoint() -> Coroutine[Any, Any, tuple[int, str]]:  # one that is cancelled before it begins has a number
            return kept(DBOS.reserve_step())

        async def kept(reserved: StepReservation) -> tuple[int, str]:
            async def there() -> str:
                if not made:
                    made.append(await across(self._home, lambda: body(reserved.step_id), inside))
                return made[0]

            tried = 0
            while True:
                try:
                    return reserved.step_id, await reserved.run_async(StepOptions(name=name), there)
                except (SQLAlchemyError, Later) as error:
                    cause = error.cause if isinstance(error, Later) else type(error).__name__
                if tried == 0:
                    log.warning("checkpoint-not-kept", cause=cause, again=True)  # no text: it may repeat a result
                await asyncio.sleep(self._waits[min(tried, len(self._waits) - 1)])
                tried += 1
                reserved._used = False  # the same number again

        try:
            return await across(self._loop, checkpoint, self._context)
        except dbos_errors.DBOSUnexpectedStepError as error:
            raise Changed(name) from error
        except (dbos_errors.DBOSWorkflowConflictIDError, dbos_errors.DBOSWorkflowCancelledError) as error:
            raise Lost from error

    def skip(self, count: int) -> None:
        """See Checkpoints.skip."""
        for _ in range(count):
            self._loop.call_soon_threadsafe(DBOS.reserve_step, context=self._context.copy())


class DbosEngine:
    """DBOS on the database at `url`, for the server process `node`. `execute` is called in the loop in which `start`
    was. There is one in a process at a time."""

    def __init__(self, url: str, node: str, execute: Execute) -> None:
        self._url = url
        self._node = node
        self._execute = execute
        self._loop: Loop | None = None
        self._thread: threading.Thread | None = None
        self._stopped: Future[None] | None = None
        self._engine: Engine | None = None
        self._dispatch: Any = None
        self._queue: ResumedQueue | None = None
        self._writer: CheckpointWriter[Row] | None = None
        self._calls: set[asyncio.Task[Any]] = set()

    @property
    def runs(self) -> bool:
        """Whether it was started: runs can be executed."""
        return self._writer is not None

    async def start(self) -> None:
        """Open the database of checkpoints, and make its tables. Raises whatever it raises, and can be called again
        then."""
        home = asyncio.get_running_loop()
        loop = self._loop = new_event_loop()
        self._thread = threading.Thread(target=loop.run_forever, name="durable", daemon=True)
        self._thread.start()
        try:
            system = await self._there(lambda: self._launch(loop, home))
            if self._loop is loop:  # it was not stopped meanwhile
                rows = DbosRows(system, WORKFLOW, self._node, VERSION)
                self._writer = CheckpointWriter(system.engine, home, rows.write)
        except BaseException:
            await self.stop()
            raise

    def first(self, run_id: str) -> FirstCheckpoints:
        """The checkpoints of a run's first execution, which DBOS does not call."""
        if self._writer is None:
            raise RuntimeError("the durable engine does not run")
        return FirstCheckpoints(run_id, self._writer)

    async def begin(self, run_ids: Sequence[str]) -> list[str]:
        """Start runs. If DBOS knows one already, nothing happens. Returns those that could not be started."""
        turns = asyncio.Semaphore(AT_ONCE)

        async def begin(run_id: str) -> None:
            async with turns:
                with SetWorkflowID(run_id):
                    await DBOS.start_workflow_async(self._dispatch, run_id)

        async def all_of_them() -> list[str]:
            found = await asyncio.gather(*map(begin, run_ids), return_exceptions=True)
            return [run_id for run_id, error in zip(run_ids, found, strict=True) if error is not None]

        not_begun: list[str] = await self._there(all_of_them)
        return not_begun

    async def go_on(self, run_ids: Sequence[str]) -> list[str]:
        """Run these runs again from their last checkpoints, whatever their state is; those that DBOS does not know are
        started. Returns those that could not be started."""

        async def go_on() -> list[str]:
            found = await DBOS.list_workflows_async(workflow_ids=list(run_ids), load_input=False, load_output=False)
            states = {each.workflow_id: each.status for each in found}
            ended = [run_id for run_id in run_ids if states.get(run_id) in ("SUCCESS", "ERROR")]
            for run_id in ended:
                steps = await DBOS.list_workflow_steps_async(run_id)
                last = max((step["function_id"] for step in steps), default=0)
                await DBOS.rewind_workflow_async(run_id, start_step=last + 1, queue_name=QUEUE)
            if open_ones := [run_id for run_id in run_ids if run_id in states and run_id not in ended]:
                await DBOS.resume_workflows_async(open_ones, queue_name=QUEUE)
            await self._begin_queued()
            return [run_id for run_id in run_ids if run_id not in states]

        unknown: list[str] = await self._there(go_on)
        return await self.begin(unknown) if unknown else []

    async def repeat(self, run_id: str, first: int) -> bool:
        """Run a run again, whatever its state is, after deleting its checkpoints from this number on; from 0 on all of
        them. False if it could not be started."""

        async def repeat() -> bool:
            found = await DBOS.list_workflows_async(workflow_ids=[run_id], load_input=False, load_output=False)
            if found and first:
                if found[0].status in _ACTIVE:  # only what has ended can be rewound
                    await DBOS.cancel_workflows_async([run_id])
                await DBOS.rewind_workflow_async(run_id, start_step=first, queue_name=QUEUE)
                await self._begin_queued()
                return True
            if found:
                await DBOS.delete_workflows_async([run_id])
            return False

        return bool(await self._there(repeat)) or not await self.begin([run_id])

    async def _begin_queued(self) -> None:
        if self._queue is not None:
            await asyncio.to_thread(self._queue.begin)

    async def delete(self, run_ids: Sequence[str]) -> None:
        """Delete the checkpoints of runs that have ended."""

        async def delete() -> None:
            await DBOS.delete_workflows_async(list(run_ids))

        await self._there(delete)

    async def known(self, offset: int, most: int) -> list[str]:
        """The ids of runs that have checkpoints, the oldest first, from one place on."""

        async def known() -> list[str]:
            found = await DBOS.list_workflows_async(offset=offset, limit=most, load_input=False, load_output=False)
            return [each.workflow_id for each in found]

        found: list[str] = await self._there(known)
        return found

    async def stop(self) -> None:
        """End all executions here, without an outcome, and close the database. It takes STOP_SECONDS at most: what has
        not ended then is abandoned with its threads."""
        loop, thread = self._loop, self._thread
        if loop is not None and thread is not None:
            self._loop, self._stopped = None, Future()
            writer, self._writer = self._writer, None
            stopping = partial(self._stop, loop, thread, writer, self._stopped)
            threading.Thread(target=stopping, name="durable-stop", daemon=True).start()
        if self._stopped is None:
            return
        stopped = asyncio.wrap_future(self._stopped)
        await asyncio.wait([stopped], timeout=STOP_SECONDS)
        if not stopped.done():
            log.warning("durable-engine-abandoned", seconds=STOP_SECONDS)

    def _stop(
        self, loop: Loop, thread: threading.Thread, writer: CheckpointWriter[Row] | None, stopped: "Future[None]"
    ) -> None:
        async def cancel() -> None:
            if self._calls:
                await asyncio.wait(self._calls, timeout=CALLS_SECONDS)
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            if others:
                await asyncio.wait(others, timeout=1.0)

        if writer is not None:
            writer.stop(CALLS_SECONDS)
        asyncio.run_coroutine_threadsafe(cancel(), loop).result()
        DBOS.destroy(destroy_registry=True)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        if self._engine is not None:
            self._engine.dispose()
        stopped.set_result(None)

    async def _launch(self, loop: Loop, home: Loop) -> "SystemDatabase":
        self._engine = engine = checkpoints_engine(self._url)
        with engine.connect() as connection:  # DBOS would wait for a server that refuses connections
            connection.execute(text("SELECT 1"))
        route()
        forbid_pickles()
        GlobalParams.dbos_cloud = False  # whatever its environment variables say
        instance = DBOS(config=self._config(engine))

        @DBOS.workflow(name=WORKFLOW)
        async def dispatch(run_id: str) -> str:
            checkpoints = DbosCheckpoints(loop, home, copy_context())

            async def execute() -> bool:
                return await self._execute(run_id, checkpoints)

            if not await across(home, execute, Context()):
                raise Left(run_id)
            return ""

        self._dispatch = dispatch
        DBOS.listen_queues([QUEUE])
        lengthen(instance)
        DBOS.launch()
        system = instance._sys_db
        system._retry_connection_errors = False
        self._queue = await ResumedQueue.register(instance, self._node, VERSION)
        return system

    def _config(self, engine: "Engine") -> DBOSConfig:
        return {
            "name": "postern",
            "system_database_url": checkpoints_url(self._url),
            "system_database_engine": engine,
            "executor_id": self._node,
            "application_version": VERSION,
            "serializer": TextSerializer(),
            "max_executor_threads": threads(self._url),
            "use_listen_notify": False,
            "notification_listener_polling_interval_sec": LISTEN_SECONDS,
            "scheduler_polling_interval_sec": SCHEDULES_SECONDS,
            "enable_otlp": False,
            "log_level": "WARNING",
        }

    async def _there(self, make: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        if self._loop is None:
            raise RuntimeError("the durable engine does not run")
        return await across(self._loop, partial(self._to_its_end, make), Context())

    async def _to_its_end(self, make: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """A call of DBOS, which goes on if what waits for it is cancelled: threads of it would find no DBOS after a
        stop, and no event loop for what they return."""
        call = asyncio.create_task(make())
        self._calls.add(call)
        call.add_done_callback(self._call_ended)
        return await asyncio.shield(call)

    def _call_ended(self, call: "asyncio.Task[Any]") -> None:
        self._calls.discard(call)
        if not call.cancelled():
            call.exception()  # raised to what waits for it, if anything still does
