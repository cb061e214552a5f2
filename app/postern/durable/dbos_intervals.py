"""How often DBOS looks for what does not occur here: runs of its own with a delay or a limit of time, and runs in its
own queue. Each look costs processor time, also of a server that is idle, and none of the intervals is a setting.

Seen on DBOS 3.4.0.
"""

from dbos import DBOS, _workflow_commands

JOBS_SECONDS = 3.0
"""DBOS sleeps in a transaction meanwhile, which PostgreSQL ends after `BACKGROUND_JOB_LOCK_IDLE_TIMEOUT_MS`."""
QUEUE_SECONDS = 60.0


def lengthen(instance: DBOS) -> None:
    """Look less often. Call it before the launch."""
    _workflow_commands._BACKGROUND_JOBS_INTERVAL_SEC = JOBS_SECONDS
    instance._registry.get_internal_queue()._polling_interval_sec = QUEUE_SECONDS
