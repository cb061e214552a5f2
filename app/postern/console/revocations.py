"""`/console/revocations`: whose access has ended, for operators, with a form that ends access and one that takes it
back. Other pages link here with the subject filled in: `?kind=caller&subject=OBJECT-ID`."""

from dataclasses import dataclass
from functools import partial
from typing import Any

from postern.console.form import form_of
from postern.console.page import PageRoute, SeeOther, Shown, Visit
from postern.console.services import Services
from postern.errors import Problem, problem
from postern.ids import is_id
from postern.journal import revocations
from postern.journal.reading.revocations import Left
from postern.journal.revocations import Kind, Revocation, actor_of
from postern.plain_text import plain
from postern.security.revocation.revoking import Revoking, Wanted

PATH = "/console/revocations"
HERE = "revocations"
MOST_FORM_BYTES = 4096
PAGE = 50
LONGEST_SHOWN = 200
FIELDS = ("subject", "kind", "hours", "reason", "confirm")
"""The fields of the form. `hours` is for how long new tokens are barred."""
KINDS = (
    ("caller", "a person or a service principal, by object id"),
    ("client", "an application, by client id"),
    ("token", "one token, by its id (uti)"),
)
OF_THE_FORM = frozenset({"invalid-body", "confirmation-required", "too-many-revocations"})
"""Problems that are shown above the form."""


@dataclass(frozen=True, slots=True)
class Row:
    """A revocation, as the page shows it. `state` is a word."""

    revocation: Revocation
    who: str
    by: str
    state: str


def row_of(revocation: Revocation, now: float) -> Row:
    """The row of the page."""
    by = actor_of(revocation.made_by)
    state = "taken back" if revocation.lifted else "in effect" if revocation.in_effect(now) else "over"
    who = plain(revocation.name or revocation.rule.subject)
    return Row(revocation, who, plain(str(by.get("name") or by.get("object_id") or "")), state)


@dataclass(frozen=True, slots=True)
class Revocations:
    """The page and its forms."""

    services: Services

    @property
    def routes(self) -> tuple[PageRoute, ...]:
        """Where they are."""
        return (
            PageRoute("GET", "/console/revocations", self.page, operators_only=True),
            PageRoute("POST", "/console/revocations", self.make, operators_only=True),
            PageRoute("POST", "/console/revocations/{id}/lift", self.lift, operators_only=True),
        )

    async def page(self, visit: Visit) -> Shown:
        """The list, and the form, with what a link fills in."""
        query = visit.request.query_params
        filled = {name: plain(query.get(name, ""))[:LONGEST_SHOWN] for name in FIELDS}
        return await self._shown(visit, filled)

    async def make(self, visit: Visit) -> Shown | SeeOther:
        """End access."""
        given = await form_of(visit, MOST_FORM_BYTES)
        filled = {name: plain(given.get(name, ""))[:LONGEST_SHOWN] for name in FIELDS}
        revoking, by = self._revoking, visit.viewer.caller
        try:
            made = await revoking.make(self._wanted(given), by)
        except Problem as wrong:
            if wrong.code not in OF_THE_FORM:
                raise
            return await self._shown(visit, filled, wrong=wrong, status=wrong.status)
        if revoking.revocations.refusing(by) is not None:
            return SeeOther("/console/signed-out")  # the browser must not be sent on to Entra from a form
        return await self._shown(visit, {}, made=made, left=await revoking.left_by(made))

    async def lift(self, visit: Visit) -> SeeOther:
        """Take a revocation back."""
        await self._revoking.lift(visit.request.path_params["id"], visit.viewer.caller)
        return SeeOther(PATH)

    @property
    def _revoking(self) -> Revoking:
        if self.services.revoking is None:
            raise problem("not-found")
        return self.services.revoking

    def _wanted(self, given: dict[str, str]) -> Wanted:
        """The revocation that the form asks for. Raises Problem `invalid-body`."""
        kind, subject = given.get("kind", ""), given.get("subject", "").strip()
        if kind not in tuple(Kind):
            raise _invalid("kind", f"is one of {', '.join(Kind)}")
        if kind == Kind.CALLER.value:
            subject = self.services.settings.people.get(subject, subject)
        return Wanted(
            subject=subject,
            kind=Kind(kind),
            seconds=_hours(given.get("hours", "")) * 3600,
            reason=given.get("reason", ""),
            confirmed=given.get("confirm", "") == "yes",
        )

    async def _shown(
        self,
        visit: Visit,
        filled: dict[str, str],
        *,
        wrong: Problem | None = None,
        made: Revocation | None = None,
        left: Left | None = None,
        status: int = 200,
    ) -> Shown:
        now, query = self.services.now(), visit.request.query_params
        after, everything = query.get("after", ""), query.get("all", "") == "yes"
        if after and not is_id(after):
            raise problem("bad-filter", errors=[{"where": "after", "message": "is not a place in this list"}])
        of = partial(revocations.listed, now=now, limit=PAGE + 1, after=after, active=not everything)
        found = await self.services.read(of, visit.holder)
        errors = wrong.members.get("errors", []) if wrong is not None else []
        values: dict[str, Any] = {
            "rows": [row_of(each, now) for each in found[:PAGE]],
            "all": everything,
            "more": found[PAGE - 1].id if len(found) > PAGE else "",
            "kinds": KINDS,
            "people": sorted(self.services.settings.people),
            "filled": filled,
            "wrong": [f"{each['where']} {each['message']}" for each in errors] or ([wrong.detail] if wrong else []),
            "unconfirmed": wrong is not None and wrong.code == "confirmation-required",
            "made": row_of(made, now) if made is not None else None,
            "again_at": made.rule.as_revoked().retry_at() if made is not None else 0.0,
            "left": left,
        }
        return Shown("revocations.html", values, HERE, status)


def _hours(text: str) -> float:
    """Hours of the form, 0 if it has none. Raises Problem `invalid-body`."""
    if not text.strip():
        return 0.0
    try:
        return float(text.strip().replace(",", "."))
    except ValueError:
        raise _invalid("hours", "is a number, such as 8 or 0.5") from None


def _invalid(where: str, message: str) -> Problem:
    return problem("invalid-body", errors=[{"where": where, "message": message}])
