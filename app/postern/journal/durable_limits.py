"""How many durable runs of a workflow, or of each of its keys, may have begun and not ended, in all server processes.
Operations for the journal's writer."""

from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, case, func, or_, select, text

from postern.journal.durable_tables import durable_runs

CLAIM_LOCK = 0x706F7375
"""The advisory lock of PostgreSQL under which runs of workflows with `max_concurrency` are claimed."""

UNENDED = text("durable_runs.phase <> 'ended'")
"""The condition of the index by phase. SQLite uses that index only if the query repeats it, and would otherwise look at
all runs on record."""

OPEN = text("durable_runs.phase IN ('ready', 'running', 'waiting', 'parked')")
"""The same in a join, beside UNENDED: without it SQLite looks at all records of runs first, for their state."""

_READY = text("durable_runs.phase = 'ready'")


def may_count(connection: Connection) -> bool:
    """Whether no other server process claims runs of workflows with a limit in this moment."""
    if connection.dialect.name == "sqlite":
        return True
    return bool(connection.execute(text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": CLAIM_LOCK}).scalar())


def begun(connection: Connection, workflow: str) -> int:
    """How many runs of a workflow have begun and not ended. One that was resumed begins again when it is claimed."""
    count = select(func.count()).where(durable_runs.c.workflow == workflow, has_begun(), UNENDED)
    return connection.execute(count).scalar_one()


def has_begun() -> ColumnElement[bool]:
    """The condition for runs that have their places, among those that have not ended."""
    table = durable_runs.c
    return and_(table.attempt > 0, or_(table.phase != "ready", table.repeat_from.is_(None)))


def claimable(workflow: str, limit: int, most: int, below_deaths: int) -> Select[Any]:
    """The query for up to `most` ids of ready runs of a workflow whose limit holds for each key, the oldest first:
    those that have their places already, and those whose keys have some left. Runs without a key, of before the
    workflow had one, count as runs of one key. It looks at the index by key only."""
    table = durable_runs.c
    key, again = func.coalesce(table.concurrency_key, ""), case((has_begun(), 1), else_=0)
    taken = (
        select(key.label("key"), func.count().label("runs"))
        .where(table.workflow == workflow, UNENDED, has_begun())
        .group_by(key)
        .subquery()
    )
    place = func.row_number().over(partition_by=(key, again), order_by=table.run_id)
    ready = (
        select(table.run_id, key.label("key"), again.label("again"), place.label("place"))
        .where(table.workflow == workflow, UNENDED, _READY, table.deaths < below_deaths)
        .subquery()
    )
    left = ready.c.place + func.coalesce(taken.c.runs, 0) <= limit
    return (
        select(ready.c.run_id)
        .select_from(ready.outerjoin(taken, taken.c.key == ready.c.key))
        .where(or_(ready.c.again == 1, left))
        .order_by(ready.c.again.desc(), ready.c.run_id)
        .limit(most)
    )


def waiting_by_workflow(connection: Connection) -> dict[str, int]:
    """How many runs of each workflow are ready, and wait until a run with the same key has ended."""
    name = durable_runs.c.workflow
    found = select(name, func.count()).where(UNENDED, waiting_for_key()).group_by(name)
    return {row[0]: row[1] for row in connection.execute(found)}


def waiting_for_key() -> ColumnElement[bool]:
    """The condition for runs of `durable_runs` that are ready and have no place yet, and whose key has a run that a
    server process has, or that waits or is parked."""
    table, other = durable_runs.c, durable_runs.alias("of_same_key")
    same = (
        other.c.workflow == table.workflow,
        other.c.concurrency_key == table.concurrency_key,
        other.c.phase.in_(("running", "waiting", "parked")),
        text("of_same_key.phase <> 'ended'"),
    )
    has_key = (table.phase == "ready", table.concurrency_key.is_not(None), ~has_begun())
    return and_(*has_key, select(1).where(*same).exists())
