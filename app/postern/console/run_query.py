"""The filters of the list of runs, as the form of its page sends them. Pure. They have the names and the rules of the
run API. An empty field means any value."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import urlencode

from postern.api.list_query import PageQuery, pairs_of, run_page_of
from postern.console.words import state_words
from postern.errors import Problem
from postern.journal.reading.filters import ANONYMOUS
from postern.plain_text import plain

LABELS: Mapping[str, str] = {
    "state": "state",
    "workflow": "workflow",
    "caller": "caller",
    "kind": "started by",
    "via": "through",
    "since": "since",
    "until": "until",
    "text": "text",
    "parent": "called by run",
}
"""The filters in words, in the order of the form."""
A_TIME = "must be a time, such as 15m, 2h or 3d ago, 2026-01-31, or 2026-01-31 12:00"
TIMES = ("since", "until")
_OF_THE_API = frozenset({"limit"})
_AGO = re.compile(r"([0-9]{1,6})([smhd])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_WITHOUT_ZONE = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})[T ]([0-9]{2}:[0-9]{2})(:[0-9]{2}(?:\.[0-9]{1,9})?)?[Zz]?")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class Chip(NamedTuple):
    """A filter that is set: its words, and the query of the list without it."""

    name: str
    words: str
    link: str


@dataclass(frozen=True, slots=True)
class RunQuery:
    """A requested list. `typed` are the filters as they were typed, `exact` the same with times that do not depend on
    now, so that cursors stay valid. `errors` says by field what is wrong; then there is no `page`."""

    typed: Mapping[str, str]
    exact: Mapping[str, str]
    owner: tuple[str, str] | None
    page: PageQuery | None
    errors: Mapping[str, str]

    def link(self, *, without: str = "", cursor: str | None = None) -> str:
        """The query of the list: without a filter, or of the page after a cursor. It begins with `?`, or is empty."""
        if cursor is not None:
            return "?" + urlencode({**_filters(self.exact), "cursor": cursor})
        left = {name: text for name, text in _filters(self.typed).items() if name != without}
        return f"?{urlencode(left)}" if left else ""

    @property
    def exact_link(self) -> str:
        """The query of the list with exact times, without its beginning `?`."""
        return urlencode(_filters(self.exact))

    def chips(self) -> Iterator[Chip]:
        """The filters that are set, in the order of the form."""
        for name, label in LABELS.items():
            if name in self.typed:
                text = state_words(plain(self.typed[name])) if name == "state" else plain(self.typed[name])
                yield Chip(name, f"{label} {text}", self.link(without=name))

    def without(self, name: str) -> PageQuery:
        """The beginning of the list without one filter."""
        return run_page_of([pair for pair in _filters(self.exact).items() if pair[0] != name], self.owner)


def run_query(query: bytes, owner: tuple[str, str] | None, now: float) -> RunQuery:
    """The list that a query requests; `owner` limits it to that caller's runs."""
    try:
        pairs = [(name, text.strip()) for name, text in pairs_of(query)]
    except Problem as wrong:
        return RunQuery({}, {}, owner, None, _errors(wrong))
    pairs = [(name, text) for name, text in pairs if text and name not in _OF_THE_API]
    exact = [(name, exact_time(text, now) if name in TIMES else text) for name, text in pairs]
    exact = [(name, text.lower() if name == "caller" and text.lower() == ANONYMOUS else text) for name, text in exact]
    page, errors = None, {}
    try:
        page = run_page_of(exact, owner)
    except Problem as wrong:
        errors = _errors(wrong)
    return RunQuery(dict(pairs), dict(exact), owner, page, errors)


def exact_time(text: str, now: float) -> str:
    """A time as the run API takes it. `90s`, `15m`, `2h` and `3d` are so long ago. A day and a time without zone are
    UTC. Any other text stays as it is."""
    if ago := _AGO.fullmatch(text):
        moment = max(now - int(ago[1]) * _UNITS[ago[2]], 0.0)
        return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if found := _WITHOUT_ZONE.fullmatch(text):
        return f"{found[1]}T{found[2]}{found[3] or ':00'}Z"
    return f"{text}T00:00:00Z" if _DAY.fullmatch(text) else text


def _filters(texts: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in texts.items() if name in LABELS}


def _errors(wrong: Problem) -> dict[str, str]:
    found = {each["where"]: each["message"] for each in wrong.members.get("errors", ())}
    return {name: A_TIME if name in TIMES and "RFC 3339" in text else text for name, text in found.items()}
