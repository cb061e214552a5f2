"""DBOS's queue of the runs that go on. They begin when they are put there.

DBOS looks at a queue once in each interval, and nothing wakes it: as many runs as there are turns would go on in
an interval, and no more. A look by itself costs as much as one that finds something, so a short interval is no answer.

Seen on DBOS 3.4.0.
"""

from contextlib import suppress
from typing import TYPE_CHECKING
from uuid import uuid4

import structlog
from dbos import DBOS, Queue
from dbos._core import execute_dequeued_workflow
from sqlalchemy.exc import SQLAlchemyError

from postern.durable.dbos_intervals import only_queue

if TYPE_CHECKING:
    from dbos._sys_db import SystemDatabase

NAME = "resumed"
"""The only queue."""
POLL_SECONDS = 4.0
"""Between two looks of DBOS itself, for runs that could not be begun here at once."""

log = structlog.get_logger("postern.durable")


class ResumedQueue:
    """The queue of the server process `node`, which runs what has this `version`."""

    def __init__(self, instance: DBOS, queue: Queue, node: str, version: str) -> None:
        self._instance = instance
        self._system: SystemDatabase = instance._sys_db
        self._queue = queue
        self._of = node, version

    @classmethod
    async def register(cls, instance: DBOS, node: str, version: str) -> "ResumedQueue":
        """Make the queue, if it is not there."""
        queue = await DBOS.register_queue_async(NAME, polling_interval_sec=POLL_SECONDS)
        only_queue(instance._sys_db, queue)
        return cls(instance, queue, node, version)

    def begin(self) -> None:
        """Execute what waits in the queue, as a look of DBOS does it. It blocks. If the database cannot be used, DBOS
        looks again by itself. A run that cannot be executed is left, and does not keep others from it: the engine puts
        it back."""
        token, system = str(uuid4()), self._system
        with suppress(SQLAlchemyError):
            claimed, _ = system.start_queued_workflows(self._queue, *self._of, None, owner_xid=token)
            for status in system.get_workflow_statuses(claimed) if claimed else ():
                try:
                    execute_dequeued_workflow(self._instance, status, token)
                except Exception as error:
                    cause = type(error).__name__
                    log.warning("durable-run-left", run_id=status["workflow_uuid"], cause=cause)
