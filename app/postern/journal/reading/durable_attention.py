"""What the journal says about durable runs that need a person: those that are parked, those that no server process
takes, and approvals that have waited for long. A read touches a bounded number of rows of runs that have not ended."""

from collections import defaultdict
from dataclasses import dataclass

from sqlalchemy import Connection, func, select, tuple_

from postern.ids import id_at
from postern.journal.durable_limits import UNENDED
from postern.journal.durable_runs import Phase
from postern.journal.durable_tables import approvals, durable_runs
from postern.journal.reading.activity import Owner
from postern.journal.schema import runs

MOST_READ = 1000
MOST_GROUPS = 20


@dataclass(frozen=True, slots=True)
class ParkedRun:
    """A parked run."""

    run_id: str
    workflow: str
    reason: str
    attempt: int
    deaths: int


@dataclass(frozen=True, slots=True)
class ParkedRuns:
    """Parked runs of a workflow with one reason: how many (at least so many if `more`), and the oldest one."""

    workflow: str
    reason: str
    count: int
    run_id: str
    more: bool


@dataclass(frozen=True, slots=True)
class Late:
    """Runs of a workflow that were accepted and have not begun: how many (at least so many if `more`), and the oldest
    one."""

    workflow: str
    count: int
    run_id: str
    more: bool


@dataclass(frozen=True, slots=True)
class OldApprovals:
    """Approvals that wait: how many (at least so many if `more`), and since when the oldest one does."""

    count: int
    since: float
    more: bool


def parked_runs(connection: Connection, after: tuple[str, str] | None, most: int) -> list[ParkedRun]:
    """Parked runs behind a workflow and run id, in this order."""
    table = durable_runs.c
    query = select(table.run_id, table.workflow, table.reason, table.attempt, table.deaths)
    query = query.where(table.phase == Phase.PARKED.value, UNENDED)
    if after is not None:
        query = query.where(tuple_(table.workflow, table.run_id) > tuple_(*after))
    rows = connection.execute(query.order_by(table.workflow, table.run_id).limit(most))
    return [ParkedRun(row.run_id, row.workflow, row.reason or "", row.attempt, row.deaths) for row in rows]


def parked(connection: Connection, owner: Owner | None = None) -> list[ParkedRuns]:
    """Why runs are parked, by workflow; with an `owner` only the runs that this person started."""
    found = parked_runs(connection, None, MOST_READ)
    more = len(found) == MOST_READ
    if owner is not None:
        own = _own(connection, [each.run_id for each in found], owner)
        found = [each for each in found if each.run_id in own]
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for each in found:
        groups[each.workflow, each.reason].append(each.run_id)
    return [ParkedRuns(*group, len(ids), min(ids), more) for group, ids in groups.items()][:MOST_GROUPS]


def late(connection: Connection, before: float) -> list[Late]:
    """Runs that were accepted before this time, and that no server process has taken yet, by workflow."""
    table = durable_runs.c
    query = (
        select(table.workflow, table.run_id)
        .where(table.phase == Phase.READY.value, UNENDED, table.attempt == 0, table.run_id < id_at(before))
        .limit(MOST_READ)
    )
    groups: dict[str, list[str]] = defaultdict(list)
    for row in connection.execute(query):
        groups[row.workflow].append(row.run_id)
    more = sum(map(len, groups.values())) == MOST_READ
    return [Late(workflow, len(ids), min(ids), more) for workflow, ids in sorted(groups.items())][:MOST_GROUPS]


def old_approvals(connection: Connection, before: float, now: float) -> OldApprovals | None:
    """Approvals that have waited since before this time, None if there are none."""
    waits = select(approvals.c.since).where(
        approvals.c.state == "waiting",
        approvals.c.since < before,
        approvals.c.until.is_(None) | (approvals.c.until > now),
    )
    some = waits.order_by(approvals.c.since).limit(MOST_READ).subquery()
    count, since = connection.execute(select(func.count(), func.min(some.c.since)).select_from(some)).one()
    return OldApprovals(count, since, count == MOST_READ) if count else None


def _own(connection: Connection, run_ids: list[str], owner: Owner) -> set[str]:
    if not run_ids:
        return set()
    mine = runs.c.tenant_id == owner[0], runs.c.object_id == owner[1]
    return set(connection.execute(select(runs.c.id).where(runs.c.id.in_(run_ids), *mine)).scalars())
