"""The table of findings: one for each subject, kind and day, which all server processes write together."""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, case, delete, func, select, update

from postern.journal.finding import OF_ADDRESS, Finding, FindingState, Sighting, Who, evidence_of
from postern.journal.inserts import insert_into
from postern.journal.known_callers import is_new_batch
from postern.journal.schema import findings

KEPT_DAYS = 400
MOST_ROWS = 20_000
BATCH = 500


def record(connection: Connection, writer: str, number: int, now: float, seen: Sequence[Sighting]) -> list[Finding]:
    """Write what one server process saw since its last batch. Returns the findings that are new with it, also if the
    batch is repeated."""
    if is_new_batch(connection, writer, number, now):
        for sighting in sorted(seen, key=lambda each: each.key):  # in one order, so that two writers never deadlock
            _write(connection, sighting)
    ids = [sighting.id for sighting in seen]
    rows = connection.execute(select(findings).where(findings.c.id.in_(ids)).order_by(findings.c.id))
    return [finding_of(row) for row in rows]


def find(connection: Connection, finding_id: str) -> Finding | None:
    """The finding of this id."""
    row = connection.execute(select(findings).where(findings.c.id == finding_id)).one_or_none()
    return None if row is None else finding_of(row)


def mark(connection: Connection, finding_id: str, state: FindingState, by: str, now: float) -> Finding | None:
    """Note that an operator acknowledged the finding, or revoked what it is about. `by` is what `journal.run.actor`
    returns. The first one stays noted, but a revocation replaces an acknowledgement. It may be repeated. Returns the
    finding; None if there is none."""
    earlier = [FindingState.NEW.value] + ([FindingState.ACKNOWLEDGED.value] if state is FindingState.REVOKED else [])
    connection.execute(
        update(findings)
        .where(findings.c.id == finding_id, findings.c.state.in_(earlier))
        .values(state=state.value, state_by=by, state_at=now)
    )
    return find(connection, finding_id)


def to_alert(connection: Connection, since: float, limit: int) -> list[Finding]:
    """New findings of that time or later for which no alert was started: those of callers first, then by their age."""
    table = findings.c
    waiting = table.state == FindingState.NEW.value, table.alerted_at.is_(None), table.first_at >= since
    return [
        finding_of(row)
        for row in connection.execute(
            select(findings).where(*waiting).order_by(_is_of_address(), table.id).limit(limit)
        )
    ]


def claim_alert(connection: Connection, finding_id: str, now: float) -> bool:
    """Take the alert of a finding: one server process gets it. `now` tells the claims apart, so that one that is
    repeated is the same."""
    table = findings.c
    free = table.alerted_at.is_(None) | (table.alerted_at == now)
    claimed = update(findings).where(table.id == finding_id, free).values(alerted_at=now).returning(table.id)
    return connection.execute(claimed).first() is not None


def release_alert(connection: Connection, finding_id: str, claimed_at: float) -> None:
    """Give back an alert that could not be started. It may be repeated."""
    claimed = findings.c.id == finding_id, findings.c.alerted_at == claimed_at
    connection.execute(update(findings).where(*claimed).values(alerted_at=None))


def count_new(connection: Connection, most: int = 1000) -> int:
    """How many findings are new; `most` if there are more."""
    chosen = select(findings.c.id).where(findings.c.state == FindingState.NEW.value).limit(most).subquery()
    return connection.scalar(select(func.count()).select_from(chosen)) or 0


def trim(connection: Connection, now: float, most_rows: int = MOST_ROWS, limit: int = BATCH) -> int:
    """Delete up to `limit` findings that are too old or too many, the oldest first. Of too many those of addresses go
    first. Returns how many."""
    ids = findings.c.id
    old = findings.c.last_at < now - KEPT_DAYS * 86400.0
    gone = connection.scalars(select(ids).where(old).order_by(ids).limit(limit)).all()
    too_many = (connection.scalar(select(func.count()).select_from(findings)) or 0) - most_rows
    if not gone and too_many > 0:
        first = select(ids).order_by(_is_of_address().desc(), ids).limit(min(too_many, limit))
        gone = connection.scalars(first).all()
    connection.execute(delete(findings).where(ids.in_(gone)))
    return len(gone)


def _is_of_address() -> ColumnElement[int]:
    """1 for a finding about an address, 0 for others."""
    return case((findings.c.subject.startswith(OF_ADDRESS), 1), else_=0)


def finding_of(row: Row[Any]) -> Finding:
    """The finding of a row."""
    values = row._mapping
    return Finding(
        values["id"],
        values["kind"],
        values["subject"],
        values["day"],
        Who(
            values["caller_kind"],
            values["object_id"] or "",
            values["tenant_id"] or "",
            values["client_id"] or "",
            values["caller_name"] or "",
            values["token_id"] or "",
        ),
        values["client_address"],
        values["workflow"],
        values["first_at"],
        values["last_at"],
        values["count"],
        evidence_of(json.loads(values["evidence"])),
        values["state"],
        json.loads(values["state_by"]) if values["state_by"] else None,
        values["state_at"],
        values["alerted_at"],
    )


def _write(connection: Connection, sighting: Sighting) -> None:
    new = (
        insert_into(connection.dialect.name, findings)
        .values(_row(sighting))
        .on_conflict_do_nothing(index_elements=["subject", "kind", "day"])
    )
    if connection.execute(new.returning(findings.c.id)).first() is not None:
        return
    subject, kind, day = sighting.key
    its_key = findings.c.subject == subject, findings.c.kind == kind, findings.c.day == day
    row = connection.execute(select(findings).where(*its_key).with_for_update()).one()
    earlier = finding_of(row)
    evidence = json.dumps(earlier.evidence.joined(sighting.evidence).as_json())
    connection.execute(
        update(findings)
        .where(*its_key)
        .values(
            first_at=min(earlier.first_at, sighting.first_at),
            last_at=max(earlier.last_at, sighting.last_at),
            count=earlier.count + sighting.count,
            evidence=evidence,
        )
    )


def _row(sighting: Sighting) -> dict[str, Any]:
    who = sighting.who
    return {
        "id": sighting.id,
        "kind": sighting.kind.value,
        "subject": sighting.subject,
        "day": sighting.day,
        "caller_kind": who.kind,
        "object_id": who.object_id or None,
        "tenant_id": who.tenant_id or None,
        "client_id": who.client_id or None,
        "caller_name": who.name or None,
        "token_id": who.token_id or None,
        "client_address": sighting.client_address,
        "workflow": sighting.workflow,
        "first_at": sighting.first_at,
        "last_at": sighting.last_at,
        "count": sighting.count,
        "evidence": json.dumps(sighting.evidence.as_json()),
        "state": FindingState.NEW.value,
    }
