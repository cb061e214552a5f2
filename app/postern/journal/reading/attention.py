"""What the journal says about what needs a person: workflows whose runs fail, and many rejected requests. A read
touches a bounded number of rows, whatever the database holds."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, select

from postern.ids import id_at
from postern.journal.reading.activity import FAILURES, Owner
from postern.journal.reading.failures import recent_failures
from postern.journal.reading.filters import FIRST_ID, LAST_ID, between
from postern.journal.reading.records import UNENDED
from postern.journal.run import State
from postern.journal.schema import refusals, runs

MOST_OWN = 500
"""Runs of a person that are read, newest first."""
MOST_WORKFLOWS = 20
LATEST = 5
"""Runs of a failing workflow in which the one that ended last is searched."""
MOST_WINDOWS = 500
"""Rows of refusals that are read, newest first."""


@dataclass(frozen=True, slots=True)
class Failing:
    """A workflow with failed runs: how many (at least so many if `more`), and the last of them. `recovered` says that a
    later run succeeded."""

    workflow: str
    count: int
    run_id: str
    at: float
    error: str
    more: bool
    recovered: bool


@dataclass(frozen=True, slots=True)
class Burst:
    """Rejected requests of one reason for one workflow ("" if none was found): how many, of how many addresses (None:
    very many), and the record with the most of them."""

    reason: str
    workflow: str
    count: int
    addresses: int | None
    at: float
    refusal_id: str


def failing(connection: Connection, since: float, owner: Owner | None = None) -> list[Failing]:
    """The workflows whose runs have failed since then, the last failure first; with an `owner` only of the runs that
    this person started."""
    if owner is not None:
        return _own_failing(connection, since, owner)
    found = recent_failures(connection, since)
    newest = sorted(found.workflows.items(), key=lambda each: each[1].last_id, reverse=True)[:MOST_WORKFLOWS]
    return [
        Failing(workflow, *failures, not found.complete, _recovered(_latest(connection, workflow), failures.last_id))
        for workflow, failures in newest
    ]


def bursts(connection: Connection, since: float, least: int) -> list[Burst]:
    """Rejected requests since then of which there were at least so many, the most first."""
    rows = connection.execute(
        select(*_WINDOW, refusals.c["count"].label("requests"))
        .where(refusals.c.id >= id_at(since))
        .order_by(refusals.c.id.desc())
        .limit(MOST_WINDOWS)
    )
    groups: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for row in rows:
        groups[row.reason, row.workflow].append(row)
    found = [_burst(reason, workflow, rows) for (reason, workflow), rows in groups.items()]
    return sorted((each for each in found if each.count >= least), key=lambda each: -each.count)


def any_run(connection: Connection, owner: Owner | None = None) -> bool:
    """Whether there is a run; with an `owner`, whether this person has started one."""
    query = select(runs.c.tenant_id).limit(LATEST)
    if owner is None:
        return connection.execute(query).first() is not None
    own = query.where(*between(runs.c.object_id, owner[1], FIRST_ID, LAST_ID)).order_by(runs.c.object_id, runs.c.id)
    return owner[0] in connection.execute(own).scalars().all()


_WINDOW = tuple(refusals.c[name] for name in ("id", "reason", "workflow", "client_address", "last_at"))
_COLUMNS = (runs.c.id, runs.c.workflow, runs.c.state, runs.c.error_type, runs.c.tenant_id, runs.c.started_at)


def _own_failing(connection: Connection, since: float, owner: Owner) -> list[Failing]:
    rows = connection.execute(
        select(*_COLUMNS)
        .where(*between(runs.c.object_id, owner[1], id_at(since), LAST_ID))
        .order_by(runs.c.object_id.desc(), runs.c.id.desc())
        .limit(MOST_OWN)
    ).all()
    own = [row for row in rows if row.tenant_id == owner[0]]
    return [
        _failing(
            failed,
            more=len(rows) == MOST_OWN,
            recovered=_recovered((row for row in own if row.workflow == workflow), failed[0].id),
        )
        for workflow, failed in _by_workflow(row for row in own if row.state in FAILURES)
    ]


def _by_workflow(failed: Iterable[Any]) -> list[tuple[str, list[Row[Any]]]]:
    """The failed runs of each workflow, newest first. Workflows that failed last come first."""
    groups: dict[str, list[Row[Any]]] = defaultdict(list)
    for row in sorted(failed, key=lambda row: row.id, reverse=True):
        groups[row.workflow].append(row)
    return list(groups.items())[:MOST_WORKFLOWS]


def _failing(rows: list[Row[Any]], *, more: bool, recovered: bool) -> Failing:
    last = rows[0]
    return Failing(last.workflow, len(rows), last.id, last.started_at, last.error_type or last.state, more, recovered)


def _latest(connection: Connection, workflow: str) -> Iterable[Row[Any]]:
    return connection.execute(
        select(runs.c.id, runs.c.state)
        .where(*between(runs.c.workflow, workflow, FIRST_ID, LAST_ID))
        .order_by(runs.c.workflow.desc(), runs.c.id.desc())
        .limit(LATEST)
    )


def _recovered(latest: Iterable[Any], failed: str) -> bool:
    """Whether the run that ended last succeeded. `latest` has the newest runs, newest first, `failed` is the id of the
    last failed one."""
    ended = next((row for row in latest if row.state not in UNENDED), None)
    return ended is not None and ended.id > failed and ended.state == State.SUCCEEDED


def _burst(reason: str, workflow: str, rows: list[Row[Any]]) -> Burst:
    largest = max(rows, key=lambda row: row.requests)
    addresses = {row.client_address for row in rows}
    many = any(address.startswith("(") for address in addresses)
    count, last = sum(row.requests for row in rows), max(row.last_at for row in rows)
    return Burst(reason, workflow, count, None if many else len(addresses), last, largest.id)
