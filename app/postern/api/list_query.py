"""Parses the query of a list's URL into its filters. Pure. Errors name all wrong parameters at once, never their
values."""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple, TypeVar
from urllib.parse import parse_qsl

from postern.access import GUID, KINDS
from postern.errors import problem
from postern.ids import is_id
from postern.journal.audit_event import Kind
from postern.journal.finding import FindingKind, FindingState
from postern.journal.reading.audit import AuditFilter
from postern.journal.reading.cursor import opened
from postern.journal.reading.filters import ANONYMOUS, VIAS, RefusalFilter, RunFilter
from postern.journal.reading.findings import FindingFilter
from postern.journal.run import State
from postern.security.review.review import MARKS, Filter

DEFAULT_LIMIT = 50
MOST = 200
MOST_PARAMETERS = 20
LONGEST = 200
"""Characters of a text to search for, or of a name."""

_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_REQUEST_ID = re.compile(r"[0-9a-f-]{1,64}")

CHECKS = ("resubmit", "resume")

APPROVALS = "approvals"
"""The list of approvals has no filters: the cursors of all its pages are of one list."""

F = TypeVar("F")


class PageQuery(NamedTuple):
    """The requested page of a list: its filters, the cursor that was sent, and the largest number of entries."""

    filter: Any
    cursor: str | None
    limit: int


Pairs = Iterable[tuple[str, str]]
"""The parameters of a query: names and values, decoded."""


class Wrong(ValueError):
    """An invalid value; its text says which values are valid."""


def check_of(pairs: Iterable[tuple[str, str]]) -> tuple[str, list[tuple[str, str]]]:
    """What the list of runs is to check of each run, `resubmit` or `resume`, or "", and the other parameters. Raises
    Problem `bad-filter`."""
    given, others = [], []
    for name, value in pairs:
        if name == "check":
            given.append(value)
        else:
            others.append((name, value))
    if len(given) > 1 or any(value not in CHECKS for value in given):
        raise problem("bad-filter", errors=[_error("check", f"must be one of {', '.join(CHECKS)}")])
    return (given[0] if given else ""), others


def run_page_of(pairs: Pairs, owner: tuple[str, str] | None) -> PageQuery:
    """The requested page of runs, of decoded parameters; `owner` limits it to that caller's runs. Raises Problem
    `bad-filter`."""
    return _page(pairs, RUN_PARAMETERS, lambda values: RunFilter(**values, owner=owner))


def refusal_page(query: bytes) -> PageQuery:
    """The requested page of refusals. Raises Problem `bad-filter`."""
    return refusal_page_of(pairs_of(query))


def refusal_page_of(pairs: Pairs) -> PageQuery:
    """The same, of parameters that are decoded already."""
    return _page(pairs, REFUSAL_PARAMETERS, lambda values: RefusalFilter(**values))


def audit_page(query: bytes) -> PageQuery:
    """The requested page of the audit log. Raises Problem `bad-filter`."""
    return _page(pairs_of(query), AUDIT_PARAMETERS, _audit_filter)


def finding_page(query: bytes) -> PageQuery:
    """The requested page of findings. Raises Problem `bad-filter`."""
    return _page(pairs_of(query), FINDING_PARAMETERS, lambda values: FindingFilter(**values))


def _audit_filter(values: dict[str, Any]) -> AuditFilter:
    """`who` is an object id, or a part of a name."""
    who = values.pop("who", None)
    is_object_id = who is not None and GUID.fullmatch(who.lower()) is not None
    subject, name = (who.lower(), None) if who is not None and is_object_id else (None, who)
    return AuditFilter(**values, subject=subject, name=name)


def approval_page(query: bytes) -> PageQuery:
    """The requested page of approvals. Raises Problem `bad-filter`."""
    return _page(pairs_of(query), {}, lambda _: APPROVALS)


def review_filter(query: bytes) -> Filter:
    """The rows of the access review that the query wants. Raises Problem `bad-filter`."""
    values = _values(pairs_of(query), {"workflow": _name, "mark": _mark, "text": _name})
    return Filter(values.get("workflow", ""), values.get("mark", ""), values.get("text", ""))


def no_parameters(query: bytes) -> None:
    """Check that the query is empty. Raises Problem `bad-filter`."""
    _values(pairs_of(query), {})


def pairs_of(query: bytes) -> list[tuple[str, str]]:
    """The parameters of a query. Raises Problem `bad-filter` if it is not one."""
    try:
        return parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MOST_PARAMETERS)
    except ValueError:
        message = f"may have at most {MOST_PARAMETERS} parameters, in percent-encoded UTF-8"
        raise problem("bad-filter", errors=[_error("query", message)]) from None


def _page(
    pairs: Pairs, parameters: Mapping[str, Callable[[str], Any]], make: Callable[[dict[str, Any]], F]
) -> PageQuery:
    values = _values(pairs, {**parameters, "limit": _limit, "cursor": str})
    cursor, limit = values.pop("cursor", None), values.pop("limit", DEFAULT_LIMIT)
    if values.get("since", 0) > values.get("until", float("inf")):
        raise problem("bad-filter", errors=[_error("since", "is later than until")])
    filters = make(values)
    if cursor is not None:
        opened(filters, cursor)
    return PageQuery(filters, cursor, limit)


def _values(pairs: Pairs, parameters: Mapping[str, Callable[[str], Any]]) -> dict[str, Any]:
    """The values of the parameters that were sent. Raises Problem `bad-filter` with everything that is wrong."""
    values: dict[str, Any] = {}
    errors: dict[str, str] = {}
    for name, text in pairs:
        if name not in parameters:
            known = ", ".join(parameters)
            errors["query"] = f"has an unknown parameter; valid ones: {known}" if known else "must be empty"
        elif name in values or name in errors:
            errors[name] = "is given twice"
        else:
            try:
                values[name] = parameters[name](text)
            except Wrong as wrong:
                errors[name] = str(wrong)
    if errors:
        raise problem("bad-filter", errors=[_error(*each) for each in errors.items()])
    return values


def _error(where: str, message: str) -> dict[str, str]:
    return {"where": where, "message": message}


def _name(text: str) -> str:
    if not 0 < len(text) <= LONGEST or "\0" in text:
        raise Wrong(f"must have 1 to {LONGEST} characters")
    return text


def _mark(text: str) -> str:
    if text not in MARKS:
        raise Wrong(f"must be one of {', '.join(MARKS)}")
    return text


def _state(text: str) -> State:
    try:
        return State(text)
    except ValueError:
        raise Wrong(f"must be one of {', '.join(State)}") from None


def _kind(text: str) -> Kind:
    try:
        return Kind(text)
    except ValueError:
        raise Wrong(f"must be one of {', '.join(Kind)}") from None


def _caller(text: str) -> str:
    if text != ANONYMOUS and not GUID.fullmatch(text.lower()):
        raise Wrong(f"must be an object id, or {ANONYMOUS}")
    return text.lower()


def _caller_kind(text: str) -> str:
    if text not in KINDS:
        raise Wrong(f"must be one of {', '.join(KINDS)}")
    return text


def _via(text: str) -> str:
    if text not in VIAS:
        raise Wrong(f"must be {' or '.join(VIAS)}")
    return text


def _time(text: str) -> float:
    """Unix seconds of a time with its offset (RFC 3339, section 5.6)."""
    try:
        if _TIME.fullmatch(text):
            return datetime.fromisoformat(text.upper()).timestamp()
    except (ValueError, OverflowError):
        pass
    raise Wrong("must be an RFC 3339 time like 2026-01-31T12:00:00Z (in a URL, + is written %2B)")


def _finding_kind(text: str) -> FindingKind:
    if text not in tuple(FindingKind):
        raise Wrong(f"must be one of {', '.join(FindingKind)}")
    return FindingKind(text)


def _finding_state(text: str) -> FindingState:
    if text not in tuple(FindingState):
        raise Wrong(f"must be one of {', '.join(FindingState)}")
    return FindingState(text)


def _object_or_client(text: str) -> str:
    if not GUID.fullmatch(text.lower()):
        raise Wrong("must be an object id or a client id")
    return text.lower()


def _run_id(text: str) -> str:
    if not is_id(text):
        raise Wrong("must be the id of a run")
    return text


def _node(text: str) -> str:
    if not is_id(text):
        raise Wrong("must be the id of a server process")
    return text


def _request_id(text: str) -> str:
    if not _REQUEST_ID.fullmatch(text):
        raise Wrong("must be the id of a request")
    return text


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= MOST):
        raise Wrong(f"must be a whole number from 1 to {MOST}")
    return int(text)


RUN_PARAMETERS: Mapping[str, Callable[[str], Any]] = {
    "workflow": _name,
    "state": _state,
    "caller": _caller,
    "kind": _caller_kind,
    "since": _time,
    "until": _time,
    "text": _name,
    "parent": _run_id,
    "via": _via,
}
REFUSAL_PARAMETERS: Mapping[str, Callable[[str], Any]] = {
    "workflow": _name,
    "reason": _name,
    "address": _name,
    "since": _time,
    "until": _time,
    "request_id": _request_id,
    "via": _via,
}
AUDIT_PARAMETERS: Mapping[str, Callable[[str], Any]] = {
    "kind": _kind,
    "who": _name,
    "workflow": _name,
    "since": _time,
    "until": _time,
    "node": _node,
}
FINDING_PARAMETERS: Mapping[str, Callable[[str], Any]] = {
    "kind": _finding_kind,
    "state": _finding_state,
    "caller": _object_or_client,
    "since": _time,
    "until": _time,
}
