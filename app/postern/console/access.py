"""`/console/access`: who may call which workflow, why, and when they last did, with marks and as CSV."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from anyio import to_thread

from postern.api.list_query import review_filter
from postern.console.page import Download, PageRoute, Shown, Visit
from postern.console.services import Services
from postern.errors import Problem, problem
from postern.plain_text import plain
from postern.security.review.documents import review_csv
from postern.security.review.review import MARKS, UNUSED_DAYS, Filter, Review, Row, chosen

HERE = "access"
MOST_SHOWN = 500
"""Rows of the page. The CSV has all."""
LABELS: Mapping[str, str] = {"workflow": "workflow", "mark": "mark", "text": "who"}
"""The filters in words, in the order of the form."""
SERIOUS = frozenset({"anyone", "unexpected", "unknown", "disabled", "revoked"})


@dataclass(frozen=True, slots=True)
class AccessRow:
    """A row as the page shows it. `used` is in words where no time is known. Marks have their meaning, and whether they
    need a person."""

    workflow: str
    who: str
    kind: str
    object_id: str
    why: str
    conditions: tuple[str, ...]
    last_used: float | None
    used: str
    marks: tuple[tuple[str, str, bool], ...]


def access_row(row: Row, known_since: float | None) -> AccessRow:
    """A row of the table. Names may be those of a directory."""
    return AccessRow(
        row.workflow,
        plain(row.name or row.who),
        row.who,
        plain(row.object_id),
        plain(row.why),
        tuple(map(plain, row.conditions)),
        row.last_used,
        used_words(row, known_since),
        tuple((mark, MARKS[mark], mark in SERIOUS) for mark in row.marks),
    )


def used_words(row: Row, known_since: float | None) -> str:
    """What is said of a row whose last use is not known. "Never" is said only of what was known for long enough."""
    if row.uses is None:
        return ""
    if known_since is None:
        return "not known"
    if "unused" in row.marks:
        return "never"
    return f"not since {time.strftime('%Y-%m-%d', time.gmtime(known_since))}"


@dataclass(frozen=True, slots=True)
class Access:
    """The page and the file."""

    services: Services

    @property
    def routes(self) -> tuple[PageRoute, ...]:
        """Where they are."""
        return (
            PageRoute("GET", "/console/access", self.index, operators_only=True),
            PageRoute("GET", "/console/access.csv", self.csv, operators_only=True),
        )

    async def index(self, visit: Visit) -> Shown:
        """The rows, with their filters as a form."""
        wanted = asked(visit.query)
        made = await self.services.review()
        found = chosen(made, wanted)
        given = {name: getattr(wanted, name) for name in LABELS if getattr(wanted, name)}
        snapshot = self.services.snapshot()
        values = {
            "rows": [access_row(row, made.known_since) for row in found.rows[:MOST_SHOWN]],
            "found": len(found.rows),
            "asked": wanted,
            "chips": [(LABELS[name], value, link(given, drop=name)) for name, value in given.items()],
            "marks": list(MARKS),
            "workflows": sorted(snapshot.triggers),
            "csv": link(given),
            "unexpected": made.unexpected,
            "faulty": len(snapshot.faults),
            "known_since": made.known_since,
            "young": is_young(made),
            "days": UNUSED_DAYS,
            "directory": plain(made.directory),
        }
        return Shown("access.html", values, HERE)

    async def csv(self, visit: Visit) -> Download:
        """The same rows for a spreadsheet, all of them."""
        made = chosen(await self.services.review(), asked(visit.query))
        content = await to_thread.run_sync(review_csv, made)
        return Download("access.csv", "text/csv; charset=utf-8", content.encode("utf-8", "replace"))


def asked(query: bytes) -> Filter:
    """The filter of the form. Empty fields are none. Raises Problem `bad-filter`."""
    fields = [field for field in query.split(b"&") if field and not field.endswith(b"=")]
    try:
        return review_filter(b"&".join(fields))
    except Problem:
        raise problem("bad-filter", detail="The address of this page is not valid: open the list again.") from None


def link(given: Mapping[str, str], drop: str = "") -> str:
    """The query of a list without a filter. It begins with `?`, or is empty."""
    left = {name: value for name, value in given.items() if name != drop}
    return f"?{urlencode(left)}" if left else ""


def is_young(made: Review) -> bool:
    """Whether uses are known for less time than it takes to call a caller unused."""
    return made.known_since is None or made.known_since > made.at - UNUSED_DAYS * 86400
