"""Resume a durable run, for operators: a page that names the effect, and the form that it sends."""

from dataclasses import dataclass
from typing import Any

from postern.api.run_actions import RunActions, Seen
from postern.console.durable_view import resumable
from postern.console.form import form_of
from postern.console.page import PageRoute, SeeOther, Shown, Visit
from postern.console.run_pages import HERE, seen_run
from postern.console.run_words import sentence
from postern.console.services import Services
from postern.errors import Problem, problem
from postern.journal.durable_runs import Phase, Reason
from postern.plain_text import plain

MOST_FORM_BYTES = 1024
HOW = {"on": False, "start": True}
"""The values of the field `from`, and whether the run begins from its start."""


@dataclass(frozen=True, slots=True)
class RunResume:
    """The page. It does what the run API does, with the same checks and log lines."""

    services: Services
    actions: RunActions

    @property
    def routes(self) -> tuple[PageRoute, ...]:
        """Where it is."""
        return (
            PageRoute("GET", "/console/runs/{id}/resume", self.ask, operators_only=True),
            PageRoute("POST", "/console/runs/{id}/resume", self.resume, operators_only=True),
        )

    async def ask(self, visit: Visit) -> Shown:
        """What it does to resume the run, and to resume it from the start."""
        return self._shown(await seen_run(self.services, visit))

    async def resume(self, visit: Visit) -> Shown | SeeOther:
        """Resume the run, and go on to it."""
        how = HOW.get((await form_of(visit, MOST_FORM_BYTES)).get("from", ""))
        if how is None:
            raise problem("bad-request", detail="The form does not say from where to resume: open it again.")
        seen = await seen_run(self.services, visit)
        try:
            record = await self.actions.resume(seen, from_start=how)
        except Problem as wrong:
            if wrong.code != "cannot-resume":
                raise
            return self._shown(seen, wrong.detail, wrong.status)
        return SeeOther(f"/console/runs/{record.id}")

    def _shown(self, seen: Seen, wrong: str = "", status: int = 200) -> Shown:
        record = seen.record
        values: dict[str, Any] = {
            "id": record.id,
            "workflow": plain(record.workflow),
            "sentence": sentence(record, "", self.services.now()),
            "why": wrong
            or (
                ""
                if resumable(record)
                else "Only a durable run that is parked, failed, timed out or was cancelled can be resumed."
            ),
            "parked": record.durable is not None and record.durable.phase is Phase.PARKED,
            "changed": record.durable is not None and record.durable.reason == Reason.CHANGED,
        }
        return Shown("run_resume.html", values, HERE, status)
