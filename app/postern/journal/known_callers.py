"""The table of known callers: which workflows, applications, networks and credentials each of them used, first and
last, and how often. All server processes write it together. It is personal data.

A subject is a caller (`caller_subject`), a client application (`application_subject`), or the installation ("").
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection, delete, func, select, tuple_, update

from postern.journal.inserts import insert_into
from postern.journal.schema import known_callers

KEPT_DAYS = 400
"""Days after its last use for which a fact is kept, whatever the retention days are."""
MOST_ROWS = 100_000
BATCH = 500
"""Rows that are read, written or deleted in one statement."""

INSTALLATION = ""
KNOWN_SINCE = "known-since"
BATCHES = "batch"
_BATCHES_KEPT = 86400.0
"""Seconds for which it is kept which batch a server process wrote last: a batch is repeated within minutes."""
WORKFLOW, APPLICATION, NETWORK, CREDENTIAL = "workflow", "application", "network", "credential"


class Fact(NamedTuple):
    """What is known of one subject."""

    subject: str
    fact: str
    value: str


@dataclass(slots=True)  # not frozen: many are made for each request that is looked at
class Uses:
    """When something was used first and last, in Unix seconds, and how often. It does not change."""

    first_at: float
    last_at: float
    count: int

    def joined(self, other: "Uses") -> "Uses":
        """Both together."""
        first = min(other.first_at, self.first_at)
        last = max(other.last_at, self.last_at)
        return Uses(first, last, self.count + other.count)


@dataclass(frozen=True, slots=True)
class WorkflowUse:
    """A workflow that a caller used."""

    tenant_id: str
    object_id: str
    workflow: str
    first_at: float
    last_at: float
    count: int


def caller_subject(tenant_id: str, object_id: str) -> str:
    """The subject of a person or a service principal."""
    return f"{tenant_id}/{object_id}"


def application_subject(client_id: str) -> str:
    """The subject of a client application, whoever uses it."""
    return f"application/{client_id}"


def known_since(connection: Connection) -> float | None:
    """Since when uses are known completely; None if nothing was ever noted. A use before it may have been forgotten:
    pages say "known since" and not "never"."""
    return connection.scalar(select(known_callers.c.first_at).where(*_is(Fact(INSTALLATION, KNOWN_SINCE, ""))))


def workflow_uses(connection: Connection) -> list[WorkflowUse]:
    """Which caller used which workflow, by caller and workflow."""
    table = known_callers.c
    of_callers = table.fact == WORKFLOW, table.subject.like("%/%"), table.subject.not_like("application/%")
    rows = connection.execute(select(known_callers).where(*of_callers).order_by(table.subject, table.value))
    return [_workflow_use(row) for row in rows]


def facts_of(connection: Connection, subjects: Collection[str]) -> dict[Fact, Uses]:
    """All facts of these subjects."""
    ordered, found = sorted(subjects), {}
    for start in range(0, len(ordered), BATCH):
        chosen = known_callers.c.subject.in_(ordered[start : start + BATCH])
        for row in connection.execute(select(known_callers).where(chosen)):
            found[Fact(row.subject, row.fact, row.value)] = _uses(row)
    return found


def is_new_batch(connection: Connection, writer: str, number: int, now: float) -> bool:
    """Whether this batch of a writer has not been written, and note that it is. A batch may be repeated after a lost
    connection, and counts once. The numbers of a writer go up."""
    statement = insert_into(connection.dialect.name, known_callers).values(
        subject=INSTALLATION, fact=BATCHES, value=writer, first_at=now, last_at=now, count=number
    )
    written = statement.on_conflict_do_update(
        index_elements=["subject", "fact", "value"],
        where=known_callers.c["count"] < statement.excluded["count"],
        set_={"count": statement.excluded["count"], "last_at": statement.excluded.last_at},
    )
    return connection.execute(written.returning(known_callers.c.value)).first() is not None


def note(connection: Connection, writer: str, number: int, now: float, facts: Mapping[Fact, Uses]) -> None:
    """Add what one server process saw since its last batch."""
    begin(connection, now)
    if not is_new_batch(connection, writer, number, now):
        return
    rows = [_row(fact, facts[fact]) for fact in sorted(facts)]  # in one order, so that two writers never deadlock
    for start in range(0, len(rows), BATCH):
        _add(connection, rows[start : start + BATCH])


def begin(connection: Connection, now: float) -> None:
    """Note since when uses are known, unless that is noted."""
    row = _row(Fact(INSTALLATION, KNOWN_SINCE, ""), Uses(now, now, 1))
    key = ["subject", "fact", "value"]
    connection.execute(
        insert_into(connection.dialect.name, known_callers).values(row).on_conflict_do_nothing(index_elements=key)
    )


def forget_before(connection: Connection, now: float) -> None:
    """Note that uses are known completely since now only: those before it may be missing. No server runs."""
    table = known_callers.c
    connection.execute(update(known_callers).where(*_is(Fact(INSTALLATION, KNOWN_SINCE, ""))).values(first_at=now))
    connection.execute(delete(known_callers).where(table.subject == INSTALLATION, table.fact == BATCHES))


def trim(connection: Connection, now: float, most_rows: int = MOST_ROWS, limit: int = BATCH) -> int:
    """Delete up to `limit` rows that are too old or too many, the oldest use first. Returns how many. What was used
    before the newest of those that were too many is not known completely any more."""
    table = known_callers.c
    own = (table.subject != INSTALLATION) | table.fact.not_in([KNOWN_SINCE, BATCHES])
    old = (own & (table.last_at < now - KEPT_DAYS * 86400.0)) | (
        (table.fact == BATCHES) & (table.subject == INSTALLATION) & (table.last_at < now - _BATCHES_KEPT)
    )
    key = table.subject, table.fact, table.value
    chosen = tuple_(*key).in_(select(*key).where(old).limit(limit))
    if deleted := connection.execute(delete(known_callers).where(chosen)).rowcount:
        return deleted
    too_many = (connection.scalar(select(func.count()).select_from(known_callers).where(own)) or 0) - most_rows
    if too_many <= 0:
        return 0
    oldest = connection.execute(
        select(*key, table.last_at).where(own).order_by(table.last_at, *key).limit(min(too_many, limit))
    ).all()
    for row in oldest:
        connection.execute(delete(known_callers).where(*_is(Fact(row.subject, row.fact, row.value))))
    since = Fact(INSTALLATION, KNOWN_SINCE, "")
    later = oldest[-1].last_at
    connection.execute(update(known_callers).where(*_is(since), table.first_at < later).values(first_at=later))
    return len(oldest)


def _add(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    statement = insert_into(connection.dialect.name, known_callers)
    new, old = statement.excluded, known_callers.c
    least, most = (func.min, func.max) if connection.dialect.name == "sqlite" else (func.least, func.greatest)
    statement = statement.on_conflict_do_update(
        index_elements=["subject", "fact", "value"],
        set_={
            "first_at": least(old.first_at, new.first_at),
            "last_at": most(old.last_at, new.last_at),
            "count": old["count"] + new["count"],
        },
    )
    connection.execute(statement, list(rows))


def _uses(row: Any) -> Uses:
    return Uses(row.first_at, row.last_at, row._mapping["count"])


def _workflow_use(row: Any) -> WorkflowUse:
    tenant_id, _, object_id = row.subject.partition("/")
    return WorkflowUse(tenant_id, object_id, row.value, row.first_at, row.last_at, row._mapping["count"])


def _row(fact: Fact, uses: Uses) -> dict[str, Any]:
    return {
        **fact._asdict(),
        "first_at": uses.first_at,
        "last_at": uses.last_at,
        "count": uses.count,
    }


def _is(fact: Fact) -> Iterable[Any]:
    return [known_callers.c[name] == value for name, value in fact._asdict().items()]
