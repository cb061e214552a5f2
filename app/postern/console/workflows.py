"""`/console/workflows`: the served workflows and the faulty files, and one workflow with its last runs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode

import anyio.to_thread
from sqlalchemy import Connection

from postern.catalog import Trigger
from postern.console.page import PageRoute, Shown, Visit
from postern.console.run_rows import run_rows
from postern.console.services import Services
from postern.console.uses_words import uses_words
from postern.console.workflow_view import (
    MOST_MEMBERS,
    MOST_PEOPLE,
    MOST_TEXT,
    fault_row,
    operations_of,
    workflow_page,
    workflow_row,
)
from postern.errors import problem
from postern.journal.reading.failures import Recent, recent_failures
from postern.journal.reading.filters import RunFilter
from postern.journal.reading.queries import Page, list_runs
from postern.journal.reading.records import RunRecord
from postern.openapi.docs_page import Shown as Operation

HERE = "workflows"
MOST_ROWS = 50
MOST_FAULTS = 10
LAST_RUNS = 10
DAY = 86400.0


@dataclass(frozen=True, slots=True)
class Workflows:
    """The two pages. `_kept` has what was made of each trigger, by its name."""

    services: Services
    _kept: dict[str, tuple[Trigger, list[Operation]]] = field(default_factory=dict)

    @property
    def routes(self) -> tuple[PageRoute, ...]:
        """Where they are."""
        return (
            PageRoute("GET", "/console/workflows", self.index, operators_only=True),
            PageRoute("GET", "/console/workflows/{name}", self.one, operators_only=True),
        )

    async def index(self, visit: Visit) -> Shown:
        """The workflows by name, and the faulty files."""
        snapshot = self.services.snapshot()
        params = visit.request.query_params
        text, after = params.get("name", "").strip().lower(), params.get("after", "")
        names = [name for name in sorted(snapshot.triggers) if text in name and name > after]
        shown, more = names[:MOST_ROWS], len(names) > MOST_ROWS
        recent = await self._failures(visit)
        values = {
            "rows": [workflow_row(snapshot.triggers[name], recent) for name in shown],
            "faults": [fault_row(fault) for fault in snapshot.faults[:MOST_FAULTS]],
            "more_faults": max(len(snapshot.faults) - MOST_FAULTS, 0),
            "complete": recent.complete,
            "text": text,
            "after": after,
            "next": _link({"name": text, "after": shown[-1]}) if more else "",
            "first": _link({"name": text}) if after else None,
            "folder": str(self.services.settings.workflows),
        }
        return Shown("workflows.html", values, HERE)

    async def one(self, visit: Visit) -> Shown:
        """One workflow."""
        name = visit.request.path_params["name"]
        snapshot = self.services.snapshot()
        trigger = snapshot.triggers.get(name)
        if trigger is None:
            raise problem("not-found", detail="There is no workflow of this name now.")

        def last_runs(connection: Connection) -> Page[RunRecord]:
            return list_runs(connection, RunFilter(workflow=name), None, LAST_RUNS)

        page = await self.services.read(last_runs, visit.holder)
        recent = await self._failures(visit)
        faults = [fault for fault in snapshot.faults if name in fault.still_serving]
        values = {
            "workflow": workflow_page(trigger, self.services.now(), seals_runs=self.services.installation.seals_runs),
            "uses": uses_words(trigger.uses, self.services.settings.connections),
            "operations": await self._operations(trigger),
            "most_members": MOST_MEMBERS,
            "most_people": MOST_PEOPLE,
            "most_text": MOST_TEXT,
            "runs": run_rows(page.items, self.services.now(), private=visit.viewer.operator),
            "older": page.next is not None,
            "failures": recent.workflows.get(name),
            "complete": recent.complete,
            "faults": [fault_row(fault) for fault in faults],
        }
        return Shown("workflow.html", values, HERE)

    async def _failures(self, visit: Visit) -> Recent:
        since = self.services.now() - DAY
        return await self.services.read(lambda connection: recent_failures(connection, since), visit.holder)

    async def _operations(self, trigger: Trigger) -> list[Operation]:
        """Made in a thread, because they try authors' types, and kept until the workflow changes."""
        name = trigger.workflow.name
        kept = self._kept.get(name)
        if kept is not None and kept[0] is trigger:
            return kept[1]
        for gone in self._kept.keys() - self.services.snapshot().triggers.keys():
            del self._kept[gone]
        made = await anyio.to_thread.run_sync(self._made, trigger)
        self._kept[name] = (trigger, made)
        return made

    def _made(self, trigger: Trigger) -> list[Operation]:
        command = self.services.token_command
        return operations_of(trigger, self.services.installation, command(trigger) if command is not None else None)


def _link(parameters: Mapping[str, str]) -> str:
    given = {name: value for name, value in parameters.items() if value}
    return f"?{urlencode(given)}" if given else ""
