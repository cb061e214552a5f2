"""Reads the audit log: a page of events, and the state of its chains.

Pages use keyset paging, as those of runs do (`queries.py`): events are listed by time, then by server process and
number. A page examines at most MOST_CANDIDATES rows and takes little more than MOST_SECONDS, so it may be short, or
empty with a cursor.
"""

import json
import math
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Row, func, select, tuple_

from postern.errors import problem
from postern.journal.audit_event import Kind
from postern.journal.reading.cursor import opened, sealed
from postern.journal.reading.queries import (
    FIRST_WINDOW,
    LAST_WINDOW,
    MOST_CANDIDATES,
    Page,
    next_window,
)
from postern.journal.security_tables import audit_chains, audit_checkpoints, audit_events

OF_WORKFLOWS = (Kind.WORKFLOW_ADDED, Kind.WORKFLOW_CHANGED, Kind.WORKFLOW_REMOVED, Kind.ACCESS_CHANGED)
MOST_CHANGES = 10_000
"""Events about workflows since the start of a server process that are read."""

MOST_CHAINS = 200
"""Chains whose state is read: those with the latest events."""

_PLACE_TEXT = re.compile(r"([0-9a-f]{16})-([0-9]{1,9})-([0-9a-z-]{1,36})")
_column = audit_events.c
_PLACE = (_column.at, _column.node, _column.number)


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """The filters for events. `subject` is the object id of who did it or of whom it is, and `name` a part of any text
    in the event, ignoring case. `since` and `until` are Unix seconds, both inclusive."""

    kind: Kind | None = None
    subject: str | None = None
    name: str | None = None
    workflow: str | None = None
    node: str | None = None
    since: float | None = None
    until: float | None = None


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """An event as it is recorded. `number` counts the events of the server process `node`."""

    node: str
    number: int
    at: float
    kind: str
    subject: str
    workflow: str
    fields: Mapping[str, Any]
    hash: str


class Chain(NamedTuple):
    """The chain of one server process: its first event that is left, its last one, and the hash of that."""

    node: str
    first: int
    last: int
    head: str
    last_at: float

    @property
    def events(self) -> int:
        """How many events are left."""
        return self.last - self.first + 1


class LastCheckpoint(NamedTuple):
    """The last checkpoint. `key_id` is of the public key that checks its signature, "" if it has none."""

    node: str
    at: float
    signed: bool
    key_id: str


class AuditState(NamedTuple):
    """The state of the audit log. `more` says that there are chains that are not listed."""

    chains: tuple[Chain, ...]
    more: bool
    checkpoint: LastCheckpoint | None


class LastStart(NamedTuple):
    """The fields of the last event about the start of another server process, and what it noted about workflows
    afterwards: kind, workflow and fields of each event, in order."""

    fields: Mapping[str, Any]
    later: tuple[tuple[str, str, Mapping[str, Any]], ...]


def list_events(
    connection: Connection,
    filters: AuditFilter,
    cursor: str | None = None,
    limit: int = 50,
    clock: Callable[[], float] = perf_counter,
) -> Page[AuditRecord]:
    """A page of events, newest first. Raises Problem `bad-filter` if the cursor is of another list."""
    below = _place_in(opened(filters, cursor)) if cursor is not None else None
    rows, last = _page(connection, filters, below, limit, clock)
    return Page(tuple(map(_record, rows)), sealed(filters, _place_text(last)) if last is not None else None)


def audit_state(connection: Connection) -> AuditState:
    """Where the chains end, and the last checkpoint."""
    chains = audit_chains.c
    query = select(chains.node, chains.first, chains.last, chains.head, chains.last_at)
    found = connection.execute(query.order_by(chains.last_at.desc()).limit(MOST_CHAINS + 1)).all()
    table = audit_checkpoints.c
    last = connection.execute(
        select(table.node, table.at, table.signature, table.key_id).order_by(table.at.desc()).limit(1)
    ).first()
    checkpoint = None
    if last is not None:
        checkpoint = LastCheckpoint(last.node, last.at, last.signature is not None, last.key_id or "")
    return AuditState(tuple(Chain(*row) for row in found[:MOST_CHAINS]), len(found) > MOST_CHAINS, checkpoint)


def last_start(connection: Connection, node: str) -> LastStart | None:
    """The last start of a server process other than `node`, None if there was none."""
    start = connection.execute(
        select(audit_events)
        .where(_column.kind == Kind.SERVER_STARTED, _column.node != node)
        .order_by(_column.at.desc())
        .limit(1)
    ).first()
    if start is None:
        return None
    later = connection.execute(
        select(audit_events)
        .where(_column.node == start.node, _column.number > start.number, _column.kind.in_(OF_WORKFLOWS))
        .order_by(_column.number)
        .limit(MOST_CHANGES)
    )
    records = [_record(row) for row in later]
    return LastStart(_record(start).fields, tuple((each.kind, each.workflow, each.fields) for each in records))


Place = tuple[float, str, int]
"""The place of an event in the list: when it was, its server process and its number there."""


def _page(
    connection: Connection, filters: AuditFilter, below: Place | None, limit: int, clock: Callable[[], float]
) -> tuple[list[Row[Any]], Place | None]:
    """The rows of a page, and the place after which the next page begins, or None if nothing is left."""
    along, rest = _along(filters), _rest(filters, connection.dialect.name)
    found: list[Row[Any]] = []
    looked_at, size = 0, FIRST_WINDOW
    began = before = clock()
    while True:
        bottom = _bottom(connection, along, below, size) if rest else None
        wanted = limit - len(found)
        query = select(audit_events).where(*along, *_between(bottom, below), *rest)
        rows = connection.execute(query.order_by(*(each.desc() for each in _PLACE)).limit(wanted + 1)).all()
        found += rows[:wanted]
        if len(rows) > wanted:
            last = found[-1]
            return found, (last.at, last.node, last.number)
        if bottom is None or len(found) == limit:
            return found, bottom
        below = bottom
        looked_at += size
        now = clock()
        larger = next_window(size, MOST_CANDIDATES - looked_at, now - began, now - before, LAST_WINDOW)
        if not larger:
            return found, bottom
        before, size = now, larger


def _bottom(connection: Connection, along: list[ColumnElement[bool]], below: Place | None, size: int) -> Place | None:
    """The place of the last of the next `size` rows; None if fewer are left."""
    query = select(*_PLACE).where(*along, *_between(None, below)).order_by(*(each.desc() for each in _PLACE))
    found = connection.execute(query.limit(1).offset(size - 1)).first()
    return None if found is None else (found.at, found.node, found.number)


def _between(low: Place | None, high: Place | None) -> list[ColumnElement[bool]]:
    """The conditions for places from `low` to below `high`."""
    place = tuple_(*_PLACE)
    bounds: list[ColumnElement[bool]] = []
    if low is not None:
        bounds.append(place >= tuple_(*low))
    if high is not None:
        bounds.append(place < tuple_(*high))
    return bounds


def _along(filters: AuditFilter) -> list[ColumnElement[bool]]:
    """The conditions that an index serves."""
    conditions: list[ColumnElement[bool]] = []
    if filters.kind is not None:
        conditions.append(_column.kind == filters.kind)
    if filters.since is not None:
        conditions.append(_column.at >= filters.since)
    if filters.until is not None:
        conditions.append(_column.at <= filters.until)
    return conditions


def _rest(filters: AuditFilter, dialect: str) -> list[ColumnElement[bool]]:
    """The conditions that are checked row by row. No index may serve them: the list would have to be sorted."""
    conditions: list[ColumnElement[bool]] = [
        column.concat("") == value
        for column, value in (
            (_column.subject, filters.subject),
            (_column.workflow, filters.workflow),
            (_column.node, filters.node),
        )
        if value is not None
    ]
    if filters.name is not None:
        position = func.strpos if dialect == "postgresql" else func.instr
        written = json.dumps(filters.name, ensure_ascii=True)[1:-1]
        conditions.append(position(func.lower(_column.body), written.lower()) > 0)
    return conditions


def _record(row: Row[Any]) -> AuditRecord:
    body = json.loads(row.body)
    fields = body.get("fields", {})
    return AuditRecord(row.node, row.number, row.at, row.kind, row.subject or "", row.workflow or "", fields, row.hash)


def _place_text(place: Place) -> str:
    """A place as a cursor holds it."""
    at, node, number = place
    return f"{struct.pack('>d', at).hex()}-{number}-{node}"


def _place_in(text: str) -> Place:
    """The place in a cursor. Raises Problem `bad-filter`: a cursor is not signed."""
    found = _PLACE_TEXT.fullmatch(text)
    at = struct.unpack(">d", bytes.fromhex(found[1]))[0] if found else math.nan
    if found is None or not math.isfinite(at):
        raise problem("bad-filter", errors=[{"where": "cursor", "message": "is not a cursor for this list"}])
    return at, found[3], int(found[2])
