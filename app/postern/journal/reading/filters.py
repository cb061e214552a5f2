"""The filters of lists of runs and refusals, and their SQL conditions. Pure.

Each list is read along one index, in the order of ids. Conditions outside of that index are written so that no index
can serve them (`column || ''`): a database that chose another index would have to sort. SQLite follows this as long as
it has no statistics (ANALYZE, PRAGMA optimize), which describe averages and mislead it for a page.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, ColumnElement, Table, TextClause, and_, func, or_, tuple_
from sqlalchemy import text as sql

from postern.ids import id_at, is_id, time_of
from postern.journal.run import State
from postern.journal.schema import refusals, runs
from postern.journal.search_text import search_term

ANONYMOUS = "anonymous"
"""The filter value for runs without a known caller."""
VIAS = ("mcp",)
"""Through what runs are started and requests come, beside the URLs of triggers."""
SLACK = 300.0
"""Seconds by which an id may be older or younger than the recorded time: the id is made when the request arrives, and
the clocks of server processes differ."""

FIRST_ID, LAST_ID = id_at(0.0), id_at(1e12)
"""Below and above all ids."""

Condition = ColumnElement[bool] | TextClause

UNUSUAL = sql("state <> 'Succeeded'")
NESTED = sql("parent_run_id IS NOT NULL")
THROUGH = sql("via IS NOT NULL")
"""The conditions of the partial indexes: SQLite uses one only if the query repeats it (Partial Indexes, section 3)."""


@dataclass(frozen=True, slots=True)
class RunFilter:
    """The filters for runs. `caller` is an object id or ANONYMOUS, `kind` the kind of the caller, `via` one of VIAS.
    `since` and `until` limit the start, in Unix seconds, both inclusive. `text` is searched in names, bodies and
    errors, ignoring case. `owner` (tenant id, object id) limits the list to the runs of that caller, who does not see
    all messages of errors."""

    workflow: str | None = None
    state: State | None = None
    caller: str | None = None
    since: float | None = None
    until: float | None = None
    text: str | None = None
    parent: str | None = None
    owner: tuple[str, str] | None = None
    kind: str | None = None
    via: str | None = None


@dataclass(frozen=True, slots=True)
class RefusalFilter:
    """The filters for refusals. `since` and `until` match a row if any of its requests is between them."""

    workflow: str | None = None
    reason: str | None = None
    address: str | None = None
    since: float | None = None
    until: float | None = None
    request_id: str | None = None
    via: str | None = None


@dataclass(frozen=True, slots=True)
class Way:
    """How a list is read: along the index of `lead` (None: the index of ids) with the conditions `along`, from the id
    `lowest` to below `highest`. Of the rows found there, those that fulfil `rest` are listed."""

    table: Table
    lead: Column[Any] | None
    along: tuple[Condition, ...]
    rest: tuple[ColumnElement[bool], ...]
    lowest: str | None = None
    highest: str | None = None

    def between(self, low: str | None, high: str | None) -> tuple[Condition, ...]:
        """The conditions along the index for ids from `low` to below `high` too. There is one at each end: SQLite goes
        along an index by one of several, and would look at all rows up to it."""
        lows, highs = [each for each in (self.lowest, low) if each], [each for each in (self.highest, high) if each]
        column = self.table.c.id
        bounds: list[ColumnElement[bool]] = []
        if lows:
            bounds.append(column >= max(lows))
        if highs:
            bounds.append(column < min(highs))
        return (*self.along, *bounds)


def between(column: Column[Any], value: Any, first: Any, end: Any) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """The conditions for runs with this value in a column, and ids from `first` to below `end`. Only the index of the
    column and the ids can serve them: PostgreSQL would otherwise also go along the ids, and look at every run."""
    pair = tuple_(column, runs.c.id)
    return pair >= tuple_(value, first), pair < tuple_(value, end)


def way_of_runs(filters: RunFilter, dialect: str) -> Way:
    """The way along the most selective index. `dialect` is SQLAlchemy's name of the database's kind."""
    column = runs.c
    object_id = filters.owner[1] if filters.owner else filters.caller
    unusual = filters.state if filters.state is not State.SUCCEEDED else None
    values: list[tuple[Column[Any], str | None, tuple[Condition, ...]]] = [
        (column.parent_run_id, filters.parent, (NESTED,)),
        (column.via, filters.via, (THROUGH,)),
        (column.object_id, object_id, ()),
        (column.state, unusual and unusual.value, (UNUSUAL,)),
        (column.workflow, filters.workflow, ()),
    ]
    equal = [each for each in values if each[1] is not None]
    lead: Column[Any] | None = None
    along: tuple[Condition, ...] = ()
    if equal:
        lead, value, implied = equal[0]
        along = (_is(lead, value), *implied)
    rest = [_is(each.concat(""), value) for each, value, _ in equal[1:]]
    if filters.caller == ANONYMOUS:  # runs that the server started have no object id either
        rest.append(column.caller_kind == ANONYMOUS)
    if filters.kind is not None:
        rest.append(column.caller_kind == filters.kind)
    if filters.state is State.SUCCEEDED:
        rest.append(column.state.concat("") == State.SUCCEEDED.value)
    if filters.owner is not None:
        rest.append(column.tenant_id == filters.owner[0])
        if filters.caller is not None:
            rest.append(_is(column.object_id.concat(""), filters.caller))
    if filters.since is not None:
        rest.append(column.started_at >= filters.since)
    if filters.until is not None:
        rest.append(column.started_at <= filters.until)
    if filters.text is not None:
        rest.append(_mentions(filters.text, dialect, hidden=filters.owner is None))
    return Way(runs, lead, along, tuple(rest), _from(filters.since), _to(filters.until))


def way_of_refusals(filters: RefusalFilter, dialect: str) -> Way:
    """The way along the most selective index. A refusal has the id of its first request, so ids of later requests are
    higher."""
    column = refusals.c
    rest: list[ColumnElement[bool]] = []
    lead = column.workflow if filters.workflow is not None else None
    along = (column.workflow == filters.workflow,) if filters.workflow is not None else ()
    highest = _to(filters.until)
    if filters.reason is not None:
        rest.append(column.reason == filters.reason)
    if filters.address is not None:
        rest.append(column.client_address == filters.address)
    if filters.since is not None:
        rest.append(column.last_at >= filters.since)
    if filters.until is not None:
        rest.append(column.first_at <= filters.until)
    if filters.via is not None:
        rest.append(column.via == filters.via)
    if filters.request_id is not None:
        rest.append(_holds(column.request_ids, filters.request_id, dialect))
        if is_id(filters.request_id):
            highest = min(each for each in (highest, _to(time_of(filters.request_id))) if each)
    return Way(refusals, lead, along, tuple(rest), highest=highest)


def _is(column: ColumnElement[Any], value: str | None) -> ColumnElement[bool]:
    return column.is_(None) if value == ANONYMOUS else column == value


def _from(since: float | None) -> str | None:
    """The lowest id that may be of this time or later."""
    return None if since is None else id_at(since - SLACK)


def _to(until: float | None) -> str | None:
    """The id below which all are that may be of this time or earlier."""
    return None if until is None else id_at(until + SLACK)


def _mentions(text: str, dialect: str, *, hidden: bool) -> ColumnElement[bool]:
    """Whether a run has this text in a name, a body or its error. `hidden` includes messages that only operators see:
    a search must not tell others what they say."""
    column = runs.c
    stored = (column.workflow, column.caller_name, column.error_type, column.inputs, column.outputs)
    message = or_(_holds(column.error_message, text, dialect), _has(column.search_error, text, dialect))
    return or_(
        *(_holds(each, text, dialect) for each in stored),
        _has(column.search_text, text, dialect),
        message if hidden else and_(column.error_shown == 1, message),
    )


def _has(column: Column[Any], part: str, dialect: str) -> ColumnElement[bool]:
    """Whether a text in the form of `search_text` holds this part."""
    position = func.strpos if dialect == "postgresql" else func.instr
    return position(column, search_term(part)) > 0


def _holds(column: Column[Any], part: str, dialect: str) -> ColumnElement[bool]:
    """Whether the text holds this part. LIKE is not used: on a text like `aaaa...` its time is the product of both
    lengths, a hundred times that of a search, and its wildcards would have to be escaped."""
    position = func.strpos if dialect == "postgresql" else func.instr
    return position(func.lower(column), func.lower(part)) > 0
