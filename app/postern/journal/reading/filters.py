"""What a list of runs or refusals is asked for, and the conditions that it means. Pure.

Each list is read along one index, in the order of ids. Conditions that are not of that index are written so that no
index can serve them (`column || ''`): a database that chose another one would have to sort. SQLite keeps to that as
long as it has no statistics (ANALYZE, PRAGMA optimize): they show it averages, and a page is no average.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, ColumnElement, Table, TextClause, func, or_
from sqlalchemy import text as sql

from postern.ids import id_at, is_id, time_of
from postern.journal.run import State
from postern.journal.schema import refusals, runs

ANONYMOUS = "anonymous"
"""The caller of runs whose caller is not known."""
SLACK = 300.0
"""Seconds by which an id may be older or younger than the time on record: it is made when the request arrives, and
the clocks of nodes differ."""

Condition = ColumnElement[bool] | TextClause

UNUSUAL = sql("state <> 'Succeeded'")
NESTED = sql("parent_run_id IS NOT NULL")
"""As the partial indexes have them: SQLite uses one only where the query says the same (Partial Indexes, section 3)."""


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs. `caller` is an object id or ANONYMOUS; `since` and `until` bound the start, in Unix seconds, both
    inclusive; `text` is looked for in names, bodies and types of errors, whatever the case. `owner` (tenant id, object
    id) leaves nobody else's runs in sight."""

    workflow: str | None = None
    state: State | None = None
    caller: str | None = None
    since: float | None = None
    until: float | None = None
    text: str | None = None
    parent: str | None = None
    owner: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class RefusalFilter:
    """Which refusals. `since` and `until` meet those of which any request lies between them."""

    workflow: str | None = None
    reason: str | None = None
    address: str | None = None
    since: float | None = None
    until: float | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Way:
    """How a list is read: along the index of `lead` (None: of the ids alone) with the conditions `along`; from what is
    met there, what fulfils `rest`."""

    table: Table
    lead: Column[Any] | None
    along: tuple[Condition, ...]
    rest: tuple[ColumnElement[bool], ...]


def way_of_runs(asked: RunFilter, dialect: str) -> Way:
    """The way along the most selective index. `dialect` is SQLAlchemy's name of the database's kind."""
    column = runs.c
    object_id = asked.owner[1] if asked.owner else asked.caller
    unusual = asked.state if asked.state is not State.SUCCEEDED else None
    values: list[tuple[Column[Any], str | None, tuple[Condition, ...]]] = [
        (column.parent_run_id, asked.parent, (NESTED,)),
        (column.object_id, object_id, ()),
        (column.state, unusual and unusual.value, (UNUSUAL,)),
        (column.workflow, asked.workflow, ()),
    ]
    equal = [each for each in values if each[1] is not None]
    lead: Column[Any] | None = None
    along: tuple[Condition, ...] = ()
    if equal:
        lead, value, implied = equal[0]
        along = (_is(lead, value), *implied)
    rest = [_is(each.concat(""), value) for each, value, _ in equal[1:]]
    if asked.state is State.SUCCEEDED:
        rest.append(column.state.concat("") == State.SUCCEEDED.value)
    if asked.owner is not None:
        rest.append(column.tenant_id == asked.owner[0])
        if asked.caller is not None:
            rest.append(_is(column.object_id.concat(""), asked.caller))
    bounds = _between(column.id, asked.since, asked.until)
    if asked.since is not None:
        rest.append(column.started_at >= asked.since)
    if asked.until is not None:
        rest.append(column.started_at <= asked.until)
    if asked.text is not None:
        searched = (column.workflow, column.caller_name, column.error_type, column.inputs, column.outputs)
        rest.append(or_(*(_holds(each, asked.text, dialect) for each in searched)))
    return Way(runs, lead, (*along, *bounds), tuple(rest))


def way_of_refusals(asked: RefusalFilter, dialect: str) -> Way:
    """The way along the most selective index. A refusal has the id of its first request: a later one is above it."""
    column = refusals.c
    rest: list[ColumnElement[bool]] = []
    lead = column.workflow if asked.workflow is not None else None
    along = (column.workflow == asked.workflow,) if asked.workflow is not None else ()
    bounds = _between(column.id, None, asked.until)
    if asked.reason is not None:
        rest.append(column.reason == asked.reason)
    if asked.address is not None:
        rest.append(column.client_address == asked.address)
    if asked.since is not None:
        rest.append(column.last_at >= asked.since)
    if asked.until is not None:
        rest.append(column.first_at <= asked.until)
    if asked.request_id is not None:
        rest.append(_holds(column.request_ids, asked.request_id, dialect))
        if is_id(asked.request_id):
            bounds += _between(column.id, None, time_of(asked.request_id))
    return Way(refusals, lead, (*along, *bounds), tuple(rest))


def _is(column: ColumnElement[Any], value: str | None) -> ColumnElement[bool]:
    return column.is_(None) if value == ANONYMOUS else column == value


def _between(column: Column[Any], since: float | None, until: float | None) -> list[ColumnElement[bool]]:
    """The ids of the times between, and a little more."""
    bounds: list[ColumnElement[bool]] = []
    if since is not None:
        bounds.append(column >= id_at(since - SLACK))
    if until is not None:
        bounds.append(column < id_at(until + SLACK))
    return bounds


def _holds(column: Column[Any], part: str, dialect: str) -> ColumnElement[bool]:
    """Whether the text holds this part. Not LIKE: on a text like `aaaa...` its time is the product of both lengths,
    a hundred times that of a search, and its own signs would have to be escaped."""
    position = func.strpos if dialect == "postgresql" else func.instr
    return position(func.lower(column), func.lower(part)) > 0
