"""`/console/findings`: odd activity of callers, with the evidence. An operator acknowledges one, or ends the access of
whom it is about: one click leads to the choice, and the second one does it."""

from dataclasses import dataclass
from functools import partial

from sqlalchemy import Connection

from postern.api.list_query import DEFAULT_LIMIT, finding_page
from postern.console.finding_view import finding_rows, finding_view
from postern.console.form import form_of
from postern.console.page import PageRoute, SeeOther, Shown, Visit
from postern.console.services import Services
from postern.errors import Problem, problem
from postern.ids import is_id
from postern.journal.finding import Finding, FindingState
from postern.journal.findings import find
from postern.journal.known_callers import known_since
from postern.journal.reading.findings import FindingFilter, list_findings
from postern.journal.reading.queries import Page
from postern.journal.revocations import Kind
from postern.security.findings.kinds import title_of
from postern.security.revocation.revoking import Wanted

HERE = "findings"
MOST_FORM_BYTES = 4096
BARS = {"": 0.0, "8h": 8 * 3600.0, "7d": 7 * 86400.0}
"""For how long new tokens are refused too, as the form offers it."""


@dataclass(frozen=True, slots=True)
class Findings:
    """The pages."""

    services: Services

    @property
    def routes(self) -> tuple[PageRoute, ...]:
        """Where they are."""
        return (
            PageRoute("GET", "/console/findings", self.index, operators_only=True),
            PageRoute("GET", "/console/findings/{id}", self.one, operators_only=True),
            PageRoute("POST", "/console/findings/{id}/acknowledge", self.acknowledge, operators_only=True),
            PageRoute("GET", "/console/findings/{id}/revoke", self.ask_revoke, operators_only=True),
            PageRoute("POST", "/console/findings/{id}/revoke", self.revoke, operators_only=True),
        )

    async def index(self, visit: Visit) -> Shown:
        """A page of the list: those that are new, or all."""
        filters, cursor, _ = finding_page(visit.query)
        page, since = await self.services.read(partial(_listed, filters=filters, cursor=cursor), visit.holder)
        values = {
            "rows": finding_rows(page.items),
            "only_new": filters == FindingFilter(state=FindingState.NEW),
            "all": filters == FindingFilter(),
            "next": page.next,
            "state": filters.state.value if filters.state is not None else "",
            "first": cursor is None,
            "since": since,
        }
        return Shown("findings.html", values, HERE)

    async def one(self, visit: Visit) -> Shown:
        """One finding with its evidence."""
        return Shown("finding.html", {"finding": finding_view(await self._find(visit))}, HERE)

    async def acknowledge(self, visit: Visit) -> SeeOther:
        """Note that it needs nothing more, and show it."""
        found = await self._find(visit)
        await self._mark(visit, found, FindingState.ACKNOWLEDGED)
        return SeeOther(f"/console/findings/{found.id}")

    async def ask_revoke(self, visit: Visit) -> Shown:
        """What can be revoked, and what that does."""
        return self._form(await self._find(visit))

    async def revoke(self, visit: Visit) -> Shown | SeeOther:
        """End the access that was chosen, and show the finding."""
        found = await self._find(visit)
        typed = await form_of(visit, MOST_FORM_BYTES)
        chosen = next((each for each in finding_view(found).choices if each.kind.value == typed.get("what")), None)
        seconds = BARS.get(typed.get("bar", ""))
        if chosen is None or seconds is None or self.services.revoking is None:
            raise problem("bad-request", detail="Choose what is to be revoked.")
        wanted = Wanted(
            subject=chosen.subject,
            kind=chosen.kind,
            seconds=seconds if chosen.kind is not Kind.TOKEN else 0.0,
            reason=f"{title_of(found.kind)} (finding {found.id})",
            tenant_id=found.who.tenant_id if chosen.kind is Kind.CALLER else "",
            name=found.who.name if chosen.kind is Kind.CALLER else "",
            confirmed=typed.get("confirm") == "yes",
        )
        try:
            await self.services.revoking.make(wanted, visit.viewer.caller)
        except Problem as wrong:
            if wrong.code != "confirmation-required":
                raise
            return self._form(found, chosen.kind.value, typed.get("bar", ""), wrong)
        await self._mark(visit, found, FindingState.REVOKED)
        return SeeOther(f"/console/findings/{found.id}")

    def _form(self, found: Finding, what: str = "", bar: str = "", wrong: Problem | None = None) -> Shown:
        values = {
            "finding": finding_view(found),
            "what": what or next((each.kind.value for each in finding_view(found).choices), ""),
            "bar": bar,
            "confirm": wrong.detail if wrong is not None else "",
        }
        return Shown("finding_revoke.html", values, HERE, status=wrong.status if wrong is not None else 200)

    async def _find(self, visit: Visit) -> Finding:
        finding_id = visit.request.path_params["id"].lower()
        found = None
        if is_id(finding_id):
            found = await self.services.read(partial(find, finding_id=finding_id), visit.holder)
        if found is None:
            raise problem("unknown-finding", detail="There is no such finding. Findings are deleted after 400 days.")
        return found

    async def _mark(self, visit: Visit, found: Finding, state: FindingState) -> None:
        if self.services.findings is None:
            raise problem("journal-unavailable")
        await self.services.findings.mark(found.id, state, visit.viewer.caller)


def _listed(connection: Connection, filters: FindingFilter, cursor: str | None) -> tuple[Page[Finding], float | None]:
    """A page of findings, and since when uses of callers are known."""
    return list_findings(connection, filters, cursor, DEFAULT_LIMIT), known_since(connection)
