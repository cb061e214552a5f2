"""Cancel and resubmit a run: a page that names the effect, and the form that it sends."""

from dataclasses import dataclass
from typing import Any

from postern.access import ANYONE, Refused
from postern.api.resubmit import caller_again, check_resubmit
from postern.api.run_actions import RunActions, Seen
from postern.catalog import Trigger
from postern.console.bodies import readable
from postern.console.durable_view import resumable
from postern.console.form import form_of
from postern.console.page import PageRoute, SeeOther, Shown, Visit, unproved
from postern.console.run_pages import seen_run
from postern.console.run_words import caller_words, sentence
from postern.console.services import Services
from postern.errors import Problem, problem
from postern.journal.body_form import Form
from postern.journal.reading.records import RunRecord
from postern.journal.writing.rows import MAX_KEPT_BYTES
from postern.plain_text import plain

HERE = "runs"
MOST_FORM_BYTES = 4 * MAX_KEPT_BYTES
"""Bytes of a form: a browser writes many characters of a body as three."""
SHOWN_AGAIN = frozenset({"cannot-resubmit", "too-many-runs", "body-too-large", "journal-unavailable", "shutting-down"})
"""Problems that are said in the form, which keeps what was typed."""
UNPROVED = (
    "Signing in to the console shows who you are, but not which application or scope you would call it with, or that "
    "you are no guest. Send the request again with your own client."
)


@dataclass(frozen=True, slots=True)
class RunChanges:
    """The pages of both. They do what the run API does, with the same checks and log lines."""

    services: Services
    actions: RunActions

    @property
    def routes(self) -> tuple[PageRoute, ...]:
        """Where they are."""
        return (
            PageRoute("GET", "/console/runs/{id}/cancel", self.ask_cancel),
            PageRoute("POST", "/console/runs/{id}/cancel", self.cancel),
            PageRoute("GET", "/console/runs/{id}/resubmit", self.ask_resubmit),
            PageRoute("POST", "/console/runs/{id}/resubmit", self.resubmit),
        )

    async def ask_cancel(self, visit: Visit) -> Shown:
        """What a cancellation does."""
        seen = await seen_run(self.services, visit)
        return Shown("run_cancel.html", self._about(seen) | {"ended": seen.record.ended}, HERE)

    async def cancel(self, visit: Visit) -> SeeOther:
        """Cancel the run, and go on to it."""
        seen = await seen_run(self.services, visit)
        record = await self.actions.cancel(seen)
        return SeeOther(f"/console/runs/{record.id}")

    async def ask_resubmit(self, visit: Visit) -> Shown:
        """What a resubmit does, with the body to edit."""
        seen = await seen_run(self.services, visit)
        self.actions.note_view(seen)
        return self._form(seen)

    async def resubmit(self, visit: Visit) -> Shown | SeeOther:
        """Start the new run, and go on to it as soon as it is recorded. A body that does not fit is shown again, with
        what is wrong. Raises Refused, which is recorded with its checks, for a person who may not call the workflow."""
        seen = await seen_run(self.services, visit)
        typed = (await form_of(visit, MOST_FORM_BYTES)).get("body")
        as_caller = seen._replace(caller=unproved(seen.caller))
        if typed is not None:
            typed = _lines(typed)
        if typed == _lines(_prefilled(seen.record)):
            typed = None  # the body stays byte for byte as it was sent
        try:
            if typed is not None:
                self._check_edit(seen, typed)
            record = await self.actions.resubmit(as_caller, goes_on=True, body=typed)
        except Problem as wrong:
            if wrong.code not in SHOWN_AGAIN:
                raise
            errors = wrong.members.get("errors") or [{"where": "", "message": wrong.detail}]
            return self._form(seen, typed, errors=errors, status=wrong.status)
        return SeeOther(f"/console/runs/{record.id}")

    def _check_edit(self, seen: Seen, typed: str) -> None:
        if not_editable(seen.record, self._trigger(seen)):
            raise problem("cannot-resubmit", detail="The body of this run cannot be edited.")
        trigger = self._trigger(seen)
        limit = (trigger.workflow.max_body_bytes if trigger else None) or self.services.settings.max_body_bytes
        limit = min(limit, MAX_KEPT_BYTES)
        if len(typed.encode()) > limit:
            raise problem("body-too-large", detail=f"The body is longer than {limit} bytes. Shorten it.")

    def _trigger(self, seen: Seen) -> Trigger | None:
        return self.services.snapshot().triggers.get(seen.record.workflow)

    def _form(
        self,
        seen: Seen,
        typed: str | None = None,
        *,
        errors: list[dict[str, str]] | None = None,
        status: int = 200,
    ) -> Shown:
        trigger = self._trigger(seen)
        caller = caller_again(seen.record, trigger, seen.caller)
        values = self._about(seen) | {
            "why": self._why_not(seen, trigger),
            "anonymous": caller.kind == ANYONE.kind,
            "not_editable": not_editable(seen.record, trigger),
            "body": _prefilled(seen.record) if typed is None else typed,
            "edited": typed is not None,
            "errors": [{"where": plain(each["where"]), "message": plain(each["message"])} for each in errors or ()],
        }
        return Shown("run_resubmit.html", values, HERE, status=status)

    def _why_not(self, seen: Seen, trigger: Trigger | None) -> str:
        """Why this viewer cannot resubmit the run; "" if that is possible."""
        try:
            check_resubmit(seen.record, trigger, seen.standing, unproved(seen.caller))
        except Refused as refused:
            return _refused_words(refused)
        except Problem as wrong:
            return wrong.detail
        return ""

    def _about(self, seen: Seen) -> dict[str, Any]:
        record = seen.record
        return {
            "id": record.id,
            "workflow": plain(record.workflow),
            "caller": caller_words(record),
            "sentence": sentence(record, "", self.services.now()),
            "own": seen.own,
            "durable": record.durable is not None,
            "resumable": resumable(record),
        }


def not_editable(record: RunRecord, trigger: Trigger | None) -> str:
    """Why the body of a run cannot be edited; "" if it can."""
    if trigger is None or trigger.workflow.body is None:
        return "The workflow takes no body."
    if record.inputs_form is Form.BASE64:
        return "The body is no text, so it is sent again as it was."
    if record.inputs_form not in (Form.JSON, Form.TEXT, Form.NONE, None):
        return "The recorded body is not the one that was sent."
    return ""


def _prefilled(record: RunRecord) -> str:
    return readable(record.inputs or "", record.inputs_form)


def _lines(text: str) -> str:
    """The text with line feeds only: a browser sends lines of a form with CR and LF."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _refused_words(refused: Refused) -> str:
    reason = refused.failed.advice or "You may not call this workflow now."
    return f"{plain(reason)} {UNPROVED}" if refused.failed.name in ("scope", "client", "no-guests") else plain(reason)
