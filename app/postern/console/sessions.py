"""The sessions of people: found by the cookie of a request, begun at sign-in, ended at sign-out.

Each request looks its session up in the journal, so that one that was ended anywhere has ended everywhere.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from sqlalchemy import Connection
from starlette.requests import Request

from postern.access import Caller, NoRevocations, Revocations
from postern.access.revocation import BACKDATED
from postern.api.access import is_operator
from postern.api.client import address_of
from postern.api.run_actions import Read, Write
from postern.browser_secrets import hash_of, new_secret
from postern.console.cookies import Cookies, secret_in
from postern.console.page import Viewer
from postern.identity import Person
from postern.journal import sessions
from postern.journal.sessions import Ends, Session
from postern.journal.shares import ANONYMOUS, Holder, holder_of
from postern.plain_text import plain
from postern.settings.installation import Installation

NOTED_EVERY = 60.0
"""Seconds between two notes in the journal that a session is in use."""
MOST_NOTED = 10_000
LONGEST_ADDRESS = 45
"""Characters of an address (IPv6 with an embedded IPv4 address). A trusted proxy may pass on any text."""


@dataclass(frozen=True, slots=True)
class Sessions:
    """`note` queues an operation of the journal, for which nobody waits. `noted` says when that was done for a session:
    while the journal cannot write, its record stays as it is, and each further request would queue one more.
    `revocations` says whose access has ended."""

    cookies: Cookies
    read: Read
    write: Write
    note: Callable[[Callable[[Connection], object]], None]
    installation: Installation
    ends: Ends
    now: Callable[[], float] = time.time
    noted: dict[str, float] = field(default_factory=dict)
    revocations: Revocations = field(default_factory=NoRevocations)

    async def viewer(self, request: Request) -> Viewer | None:
        """The person who sends this request, if the session of the cookie has not ended."""
        session, now = await self._find(request), self.now()
        if session is None:
            return None
        seen_at = max(session.seen_at, self.noted.get(session.id_hash, 0.0))
        if is_activity(request) and now - seen_at >= NOTED_EVERY:
            if len(self.noted) >= MOST_NOTED:
                self.noted.clear()
            self.noted[session.id_hash] = now
            self.note(partial(sessions.note_use, id_hash=session.id_hash, now=now, ends=self.ends))
        return viewer_of(session, self.installation)

    async def begin(self, person: Person, request: Request) -> str:
        """Begin a session, under a new id, in place of the one that the browser had. Returns its secret."""
        secret, now = new_secret(), self.now()
        session = Session(
            hash_of(secret),
            person.tenant_id,
            person.object_id,
            person.name,
            person.roles,
            plain(address_of(request))[:LONGEST_ADDRESS],
            created_at=now,
            seen_at=now,
        )
        await self.write(partial(sessions.begin, session=session))
        await self.end(request)
        return secret

    async def end(self, request: Request) -> Session | None:
        """End the session of the request, if it has one, and return it."""
        session = await self._find(request)  # first: a cookie that is none writes nothing
        if session is not None:
            await self.write(partial(sessions.end, id_hash=session.id_hash))
        return session

    async def _find(self, request: Request) -> Session | None:
        secret = self.secret(request)
        if not secret:
            return None
        find = partial(sessions.find, id_hash=hash_of(secret), now=self.now(), ends=self.ends)
        session = await self.read(find, stranger(request))
        await self.revocations.wait()
        # The settings may name another tenant since the person signed in.
        if session is None or session.tenant_id not in self.installation.tenants:
            return None
        # It was deleted when access ended, unless it was just being stored.
        return session if self.revocations.refusing(caller_of(session, self.installation)) is None else None

    def secret(self, request: Request) -> str:
        """The secret in the cookie of a session; "" if there is none."""
        return secret_in(request.scope["headers"], self.cookies.session)


def viewer_of(session: Session, installation: Installation) -> Viewer:
    """The person of a session, as the rules about callers see it."""
    caller = caller_of(session, installation)
    return Viewer(session, caller, is_operator(installation, caller))


def caller_of(person: Session | Person, installation: Installation) -> Caller:
    """A person who has signed in, as the rules about callers see it: the caller of an ID token for this application.
    That of a session was issued when the session began, and Entra had dated it back."""
    return Caller(
        "user",
        object_id=person.object_id,
        tenant_id=person.tenant_id,
        client_id=installation.client_id,
        audience=installation.client_id,
        name=person.name,
        roles=person.roles,
        token_version="2.0",  # noqa: S106 - a version is no password
        issued_at=person.created_at - BACKDATED if isinstance(person, Session) else person.issued_at,
    )


def is_activity(request: Request) -> bool:
    """Whether a person does something. Scripts of the pages only ask for parts of pages, by a timer."""
    return request.method not in ("GET", "HEAD") or request.headers.get("hx-request") != "true"


def stranger(request: Request) -> Holder:
    """Whose share of the journal's readers a read takes before it is known who asks: that of the address."""
    return holder_of(ANONYMOUS, "", "", address_of(request))
