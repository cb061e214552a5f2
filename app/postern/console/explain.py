"""`/console/explain`: whether a workflow admits a token or a person, check by check. A token comes by POST only and is
kept nowhere: it is not in the page, the log or a record."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from postern.access import GUID, Guarded, Signed, checks
from postern.catalog import Snapshot, Trigger
from postern.console.check_rows import CheckRow, Outcome, failed_row, rows_of, rows_of_person, scope_to_ask_for
from postern.console.form import form_of
from postern.console.page import PageRoute, Shown, Visit
from postern.console.services import Services
from postern.errors import Problem
from postern.identity.bearer import MAX_TOKEN_BYTES
from postern.identity.explained import given_token
from postern.plain_text import plain
from postern.redaction import without_tokens

HERE = "explain"
MOST_BYTES = 2 * MAX_TOKEN_BYTES
"""Of the form: a token is hardly longer than it is, percent-encoded."""


MOST_OFFERED = 100
"""Workflows and people that the forms offer. Others are typed."""


class Answer(NamedTuple):
    """The checks of a token or person. `admitted` is None if it depends on the token. `about` says what was checked,
    `unavailable` why it could not be."""

    workflow: str
    about: str
    admitted: bool | None
    checks: list[CheckRow]
    failed: CheckRow | None
    scope: str
    unavailable: str = ""


@dataclass(frozen=True, slots=True)
class Explain:
    """The page."""

    services: Services

    @property
    def routes(self) -> tuple[PageRoute, ...]:
        """Where it is."""
        return (
            PageRoute("GET", "/console/explain", self.person, operators_only=True),
            PageRoute("POST", "/console/explain", self.token, operators_only=True),
        )

    async def person(self, visit: Visit) -> Shown:
        """The two forms, and the checks of a person if one is given."""
        params = visit.request.query_params
        name, person = params.get("workflow", "").strip(), params.get("person", "").strip()
        if without_tokens(person) != person:
            return self._shown(name, note="This looks like a token: paste it into the form for tokens.")
        if not name or not person:
            return self._shown(name, person=person)
        trigger = self.services.snapshot().triggers.get(name)
        if trigger is None or not isinstance(trigger.policy, Guarded):
            return self._shown(name, note=_note(trigger, name), person=person)
        return self._of_person(trigger, trigger.policy, person)

    async def token(self, visit: Visit) -> Shown:
        """The checks of a token."""
        fields = await form_of(visit, MOST_BYTES)
        name, token = fields.get("workflow", "").strip(), given_token(fields.pop("token", ""))
        trigger = self.services.snapshot().triggers.get(name)
        if trigger is None or not isinstance(trigger.policy, Guarded):
            return self._shown(name, note=_note(trigger, name))
        if not token:
            return self._shown(name, note="Paste the token that a client sent, or would send.")
        try:
            found = await self.services.explain(token, trigger.policy)
        except Problem as shown:
            return self._shown(name, note=shown.detail)
        rows = rows_of(found.checks, trigger.policy)
        answer = self._answer(trigger.policy, name, "The token that you pasted", rows, unavailable=found.keys_error)
        return self._shown(name, answer=answer)

    def _of_person(self, trigger: Trigger, policy: Guarded, person: str) -> Shown:
        name, people = trigger.workflow.name, self._people()
        object_id = people.get(person, person).lower()
        if not GUID.fullmatch(object_id):
            return self._shown(name, note="This is neither a name of [people] nor an object id.", person=person)
        about = person if person in people else f"Object id {object_id}"
        caller = self.services.local_caller(person, policy)
        if caller is not None:
            rows = rows_of(checks(policy, caller), None)
            answer = self._answer(policy, name, f"{about}, with a token of the local tenant", rows)
        else:
            rows = rows_of_person(policy, self.services.installation.tenant_id or "", object_id)
            answer = self._answer(policy, name, about, rows)
        return self._shown(name, answer=answer, person=person)

    def _answer(self, policy: Guarded, name: str, about: str, rows: list[CheckRow], *, unavailable: str = "") -> Answer:
        failed = failed_row(rows)
        depends = any(row.outcome is Outcome.DEPENDS for row in rows)
        admitted = False if failed is not None else None if depends else True
        scope = scope_to_ask_for(failed, policy, self.services.installation.audiences)
        return Answer(name, about, admitted, rows, failed, scope, plain(unavailable))

    def _people(self) -> dict[str, str]:
        return people_of(self.services.settings.people, self.services.snapshot())

    def _shown(self, workflow: str, *, answer: Answer | None = None, note: str = "", person: str = "") -> Shown:
        triggers = self.services.snapshot().triggers
        values: dict[str, Any] = {
            "workflows": [name for name in sorted(triggers) if isinstance(triggers[name].policy, Guarded)][
                :MOST_OFFERED
            ],
            "all_offered": len(triggers) <= MOST_OFFERED,
            "workflow": workflow if workflow in triggers else "",
            "people": sorted(self._people())[:MOST_OFFERED],
            "person": plain(person)[:200],
            "answer": answer,
            "note": note,
            "local": self.services.local,
        }
        return Shown("explain.html", values, HERE)


def people_of(settings: Mapping[str, str], snapshot: Snapshot) -> dict[str, str]:
    """The names of people and their object ids: those of the settings, and those that lists of workflows name, which
    follow changes of `[people]`."""
    found = dict(settings)
    for trigger in snapshot.triggers.values():
        found |= {listed.name: listed.object_id for listed in trigger.policy.people or () if listed.name}
    return found


def _note(trigger: Trigger | None, name: str) -> str:
    if trigger is None:
        return "Choose a workflow." if not name else "There is no workflow of this name now."
    if isinstance(trigger.policy, Signed):
        return f"{name} takes requests that are signed: no token opens it."
    return f"{name} is open to anyone: it takes no token, and ignores one that is sent."
