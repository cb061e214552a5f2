"""How often DBOS looks for what does not occur here: runs of its own with a delay or a limit of time, runs in its own
queue, schedules of its own, and queues that others make. Each look costs processor time and takes the interpreter from
requests, also in a server without durable runs. One of the intervals is a setting.

Seen on DBOS 3.4.0.
"""

from typing import TYPE_CHECKING

from dbos import DBOS, Queue, _scheduler, _workflow_commands

if TYPE_CHECKING:
    from dbos._sys_db import SystemDatabase

JOBS_SECONDS = 3.0
"""DBOS sleeps in a transaction meanwhile, which PostgreSQL ends after `BACKGROUND_JOB_LOCK_IDLE_TIMEOUT_MS`."""
QUEUE_SECONDS = 60.0
SCHEDULES_SECONDS = 3600.0


def lengthen(instance: DBOS) -> None:
    """Look less often. Call it before the launch."""
    _workflow_commands._BACKGROUND_JOBS_INTERVAL_SEC = JOBS_SECONDS
    _scheduler._STARTUP_FAST_POLL_DURATION_SEC = 0.0
    instance._registry.get_internal_queue()._polling_interval_sec = QUEUE_SECONDS


def only_queue(system: "SystemDatabase", queue: Queue) -> None:
    """There is no other queue than this one, so that DBOS, which looks for new ones each second, asks no database."""
    system.list_queues = lambda **_: [queue]  # type: ignore[method-assign]
