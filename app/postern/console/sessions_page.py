"""`/console/sessions`: who is signed in, and from where. Operators end any session, others their own."""

from dataclasses import dataclass
from functools import partial

from postern.browser_secrets import is_hash
from postern.console.page import PageRoute, SeeOther, Shown, Viewer, Visit
from postern.console.services import Services
from postern.errors import problem
from postern.journal import sessions
from postern.journal.audit_event import Kind
from postern.journal.sessions import Ends, Session, ends_of

PAGE = 50


@dataclass(frozen=True, slots=True)
class Row:
    """A session, as the page shows it. `ends_at` is when it ends without another request."""

    session: Session
    name: str
    own: bool
    ends_at: float


def rows_of(found: list[Session], viewer: Viewer, ends: Ends) -> list[Row]:
    """The rows of the page."""
    return [
        Row(
            each,
            each.name or each.object_id,
            each.id_hash == viewer.session.id_hash,
            min(each.created_at + ends.life, each.seen_at + ends.idle),
        )
        for each in found
    ]


def place(last: Session) -> str:
    """The place in the list after this session."""
    return f"{last.seen_at.hex()}~{last.id_hash}"


def position(text: str) -> tuple[float, str] | None:
    """The place in the list that a link of the page before names. Raises Problem `bad-filter`."""
    if not text:
        return None
    seen_at, _, id_hash = text.rpartition("~")
    try:
        moment = float.fromhex(seen_at)
    except (ValueError, OverflowError):
        moment = float("nan")
    if moment != moment or not is_hash(id_hash):
        raise problem("bad-filter", errors=[{"where": "after", "message": "is not a place in this list"}])
    return moment, id_hash


@dataclass(frozen=True, slots=True)
class SessionPages:
    """The list, and the form that ends one."""

    services: Services

    @property
    def routes(self) -> tuple[PageRoute, ...]:
        """Where the pages are."""
        return (
            PageRoute("GET", "/console/sessions", self.list),
            PageRoute("POST", "/console/sessions/{hash}/end", self.end),
        )

    async def list(self, visit: Visit) -> Shown:
        """The sessions that have not ended, the latest use first."""
        viewer, ends = visit.viewer, ends_of(self.services.settings)
        after = position(visit.request.query_params.get("after", ""))
        person = None if viewer.operator else viewer.person
        query = partial(sessions.listed, now=self.services.now(), ends=ends, person=person, limit=PAGE + 1, after=after)
        found = await self.services.read(query, visit.holder)
        last = found[PAGE - 1] if len(found) > PAGE else None
        values = {
            "rows": rows_of(found[:PAGE], viewer, ends),
            "all": viewer.operator,
            "more": place(last) if last is not None else "",
        }
        return Shown("sessions.html", values)

    async def end(self, visit: Visit) -> SeeOther:
        """End a session. One that is not there, or not the viewer's, stays as it is."""
        id_hash: str = visit.request.path_params["hash"]
        if not is_hash(id_hash):
            raise problem("not-found")
        viewer = visit.viewer
        person = None if viewer.operator else viewer.person
        owner = await self.services.write(partial(sessions.end, id_hash=id_hash, person=person))
        if owner:
            self.services.note(Kind.SIGN_OUT, by=viewer.caller, fields={"owner": owner})
        self.services.log.info("session-ended", by=viewer.session.object_id, request_id=visit.request_id)
        # The browser must not be sent on to Entra from a form, which its own policy stops.
        own = id_hash == viewer.session.id_hash
        return SeeOther("/console/signed-out" if own else "/console/sessions")
