"""What a page of the console gets and what it gives back."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from starlette.requests import Request

from postern.access import ANYONE, Caller
from postern.api.client import address_of
from postern.journal.sessions import Session
from postern.journal.shares import Holder, holder_of


@dataclass(frozen=True, slots=True)
class Viewer:
    """The person who is signed in. `caller` is the person as `api.access` decides about callers. `operator` is what it
    decided: operators see everything, others their own runs."""

    session: Session
    caller: Caller
    operator: bool

    @property
    def name(self) -> str:
        """The display name, or the object id of a person without one."""
        return self.session.name or self.session.object_id

    @property
    def person(self) -> tuple[str, str]:
        """Tenant id and object id."""
        return self.session.tenant_id, self.session.object_id


def unproved(caller: Caller) -> Caller:
    """The caller without what a session does not prove: an ID token has no scope, and does not tell members from
    guests."""
    return caller if caller.kind == ANYONE.kind else replace(caller, scopes=frozenset(), guest=True)


async def _still() -> None: ...


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of a person for a page. `still` raises Problem if the person's session has ended since."""

    request: Request
    viewer: Viewer
    request_id: str
    still: Callable[[], Awaitable[None]] = _still

    @property
    def query(self) -> bytes:
        """The query of the URL, as it was sent."""
        query: bytes = self.request.scope["query_string"]
        return query

    @property
    def partial(self) -> bool:
        """Whether the script asks for a part of a page, which it puts into the page that is open (htmx)."""
        return self.request.headers.get("hx-request") == "true"

    @property
    def holder(self) -> Holder:
        """Whose share of the journal's readers a read for this page takes."""
        return holder_of(self.viewer.caller.kind, *self.viewer.person, address_of(self.request))


@dataclass(frozen=True, slots=True)
class Shown:
    """A template of `templates/` with its values. `here` is the entry of the navigation that the page belongs to, and
    `more` are further header fields."""

    template: str
    values: Mapping[str, Any] = field(default_factory=dict)
    here: str = ""
    status: int = 200
    more: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Download:
    """A file that the browser saves. `name` is of letters, digits, dots and hyphens."""

    name: str
    media_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class SeeOther:
    """Send the browser to another page of the console (303). `path` begins with `/console` or `/connect`, without the
    path of the public URL."""

    path: str


Page = Callable[[Visit], Awaitable[Shown | SeeOther | Download]]
"""A page raises Problem for what it cannot show: its `title` and `detail` are shown in the frame of the console, with
its status and the request id."""


class PageRoute(NamedTuple):
    """Where a page is. `path` is Starlette's form of a path. Only operators may open pages of `operators_only`; for
    others these do not exist. Those `for_people` are open to all people, also where the console is for operators. Those
    that are not `resumed` are not opened again after signing in, because their addresses have what must not be kept and
    what can be used once only; so they are finished though the browser leaves.
    Those that are not GET are guarded against requests of other sites."""

    method: str
    path: str
    page: Page
    operators_only: bool = False
    for_people: bool = False
    resumed: bool = True
