"""`/console/runs`: the list of runs with its filters, and how many newer ones there are."""

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from sqlalchemy import Connection

from postern.access import KINDS
from postern.api.access import visible
from postern.api.list_query import DEFAULT_LIMIT, PageQuery
from postern.console.look_on import look_on
from postern.console.page import PageRoute, Shown, Visit
from postern.console.run_query import LABELS, Chip, RunQuery, run_query
from postern.console.run_rows import run_rows
from postern.console.run_words import KIND_WORDS
from postern.console.services import Services
from postern.console.words import state_words
from postern.errors import problem
from postern.ids import id_at, is_id, time_of
from postern.journal.reading.cursor import opened
from postern.journal.reading.newer_runs import Newer, newer_runs
from postern.journal.reading.queries import Page, list_runs
from postern.journal.reading.records import RunRecord
from postern.journal.run import State

HERE = "runs"
MOST_SECONDS = 0.03
"""Seconds after which a page looks no further: it says how far it came, and the next one goes on from there."""
MOST_SUGGESTED = 200
"""Names of workflows that the form suggests."""


@dataclass(frozen=True, slots=True)
class Runs:
    """The list. Operators see all runs, others their own."""

    services: Services

    @property
    def routes(self) -> tuple[PageRoute, ...]:
        """Where its pages are. The part of the page comes first: `new` is no id of a run."""
        return (
            PageRoute("GET", "/console/runs", self.list),
            PageRoute("GET", "/console/runs/new", self.new),
        )

    async def list(self, visit: Visit) -> Shown:
        """A page of the list, with its filters as a form."""
        asked = run_query(visit.query, _owner(visit), self.services.now())
        if asked.page is None:
            return Shown("runs.html", self._form(visit, asked) | {"found": False}, HERE, status=400)
        page, filters = asked.page, asked.page.filter
        found = await self._look_on(visit, page, page.cursor, DEFAULT_LIMIT)
        reached = time_of(opened(filters, found.next)) if found.next and len(found.items) < DEFAULT_LIMIT else None
        first = page.cursor is None
        newest = found.items[0].id if found.items else id_at(self.services.now())
        values = self._form(visit, asked) | {
            "found": True,
            "rows": run_rows(found.items, self.services.now(), private=visit.viewer.operator),
            "next": asked.link(cursor=found.next) if found.next else "",
            "newest": "" if first else asked.link(),
            "first": first,
            "reached": reached,
            "excluding": await self._excluding(visit, asked) if first and not found.items and not found.next else None,
            "news": _news(newest, asked) if first else None,
        }
        return Shown("runs.html", values, HERE)

    async def new(self, visit: Visit) -> Shown:
        """The part of the list that says how many newer runs there are. The page asks for it now and then."""
        asked = run_query(_without_above(visit), _owner(visit), self.services.now())
        above = visit.request.query_params.get("above", "")
        if asked.page is None or not is_id(above):
            raise problem("bad-filter")
        filters = asked.page.filter
        newer = await self.services.read(lambda connection: newer_runs(connection, filters, above), visit.holder)
        news = _news(above, asked) | {"words": newer_words(newer)}
        return Shown("runs_new.html", {"news": news}, HERE)

    def _form(self, visit: Visit, asked: RunQuery) -> dict[str, Any]:
        triggers = self.services.snapshot().triggers
        names = sorted(visible(self.services.installation, triggers, visit.viewer.caller))
        return {
            "typed": {name: asked.typed.get(name, "") for name in LABELS},
            "errors": {name: text for name, text in asked.errors.items() if name in LABELS},
            "other_errors": [f"{name}: {text}" for name, text in asked.errors.items() if name not in LABELS],
            "chips": list(asked.chips()),
            "states": [(state.value, state_words(state.value)) for state in State],
            "kinds": [(kind, KIND_WORDS[kind]) for kind in KINDS],
            "workflows": names[:MOST_SUGGESTED],
        }

    async def _look_on(self, visit: Visit, page: PageQuery, cursor: str | None, limit: int) -> Page[RunRecord]:
        async def read(after: str | None, wanted: int) -> Page[RunRecord]:
            return await self.services.read(_page(page, after, wanted), visit.holder)

        return await look_on(read, cursor, limit, MOST_SECONDS)

    async def _excluding(self, visit: Visit, asked: RunQuery) -> Chip | None:
        """The first filter without which there are runs, as far as short looks show."""
        until = perf_counter() + MOST_SECONDS
        for chip in asked.chips():
            if perf_counter() >= until:
                break
            page = await self.services.read(_page(asked.without(chip.name), None, 1), visit.holder)
            if page.items:
                return chip
        return None


def newer_words(newer: Newer) -> str:
    """How many newer runs there are; "" if there are none."""
    if not newer.number:
        return "Look for newer runs" if newer.more else ""
    return f"{newer.number}{'+' if newer.more else ''} newer {'run' if newer == (1, False) else 'runs'}"


def _page(page: PageQuery, cursor: str | None, limit: int) -> Callable[[Connection], Page[RunRecord]]:
    return lambda connection: list_runs(connection, page.filter, cursor, limit)


def _owner(visit: Visit) -> tuple[str, str] | None:
    return None if visit.viewer.operator else visit.viewer.person


def _news(above: str, asked: RunQuery) -> dict[str, str]:
    """What the part of the list needs that looks for newer runs."""
    return {"above": above, "query": asked.exact_link, "list": asked.link(), "words": ""}


def _without_above(visit: Visit) -> bytes:
    return b"&".join(part for part in visit.query.split(b"&") if not part.startswith(b"above="))
