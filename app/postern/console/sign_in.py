"""Signing in and out: OpenID Connect, authorization code with PKCE.

The browser keeps one random secret in a cookie. Verifier and nonce of a request are derived from it, and the journal
has its hash only, so that a code can be exchanged once, by the browser that began.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import urlencode, urlsplit

from starlette.requests import Request
from structlog.typing import FilteringBoundLogger

from postern.access import Check, Refused
from postern.api.client import address_of
from postern.api.run_actions import Write
from postern.browser_secrets import hash_of, is_secret, new_secret
from postern.console.cookies import secret_in
from postern.console.destination import destination
from postern.console.entra import Entra, new_state, refused_by_entra
from postern.console.faults import SIGN_IN, fault
from postern.console.frame import Frame
from postern.console.limits import Starts
from postern.console.own_origin import PORTS
from postern.console.return_query import numbers_in, parameters
from postern.console.sessions import Sessions, caller_of, stranger
from postern.errors import problem
from postern.journal import authorizations
from postern.journal.audit_event import Kind
from postern.journal.authorizations import Authorization, NotTaken
from postern.security.audit.log import Note, not_noted
from postern.triggers.reply import Answer
from postern.triggers.secure_transport import passed_on

KIND = "sign-in"
DOCUMENT = "document"
"""What browsers say that they open where a person follows a link (Fetch Metadata)."""
STATE = "state"
BROWSER = "browser"
"""The checks of a browser that comes back."""


@dataclass(frozen=True, slots=True)
class SignIn:
    """The requests of signing in and out. None of them needs a session. `note` notes them in the audit log."""

    frame: Frame
    sessions: Sessions
    entra: Entra
    write: Write
    log: FilteringBoundLogger
    note: Note = not_noted
    starts: Starts = field(default_factory=Starts)
    now: Callable[[], float] = time.time
    clock: Callable[[], float] = time.monotonic

    async def start(self, request: Request, request_id: str) -> Answer:
        """Send the browser to Entra, if it opens a page: an image or frame of any other site would use up the starts of
        this person's address. Under another host than the console's it is sent there first, because cookies
        belong to a host."""
        if (what := request.headers.get("sec-fetch-dest", DOCUMENT)) != DOCUMENT:
            raise fault("cross-site-request", reason=f"Sec-Fetch-Dest is {what[:40]!a}, not {DOCUMENT}")
        query = parameters(request)
        to = destination(query.get("to", ""))
        if self._is_elsewhere(request):
            if "moved" in query:  # a proxy replaces the Host, and says so nowhere: it would go round in a circle
                raise problem("misdirected-request")
            return self.frame.redirect(f"{self.frame.address}{sign_in_path(to)}&moved=1")
        if not self.starts.admit(address_of(request), self.clock()):
            raise fault("too-many-sign-ins", headers={"Retry-After": "60"})
        cookies = self.sessions.cookies
        secret = secret_in(request.scope["headers"], cookies.authorization) or new_secret()
        state = new_state()
        url = await self.entra.sign_in_url(state, secret)
        begun = Authorization(hash_of(state), hash_of(secret), KIND, to, self.now())
        await self.write(partial(authorizations.begin, authorization=begun))
        return self.frame.redirect(url, status=302, more=(cookies.set_authorization(secret),))

    async def callback(self, request: Request, request_id: str) -> Answer:
        """The browser comes back from Entra, with a code or an error."""
        query = parameters(request)
        state, code = query.get("state", ""), query.get("code", "")
        cookies = self.sessions.cookies
        secret = secret_in(request.scope["headers"], cookies.authorization)
        if not is_secret(state):
            raise _not_started(STATE, "no state that was given out here")
        if not secret:
            raise _not_started(BROWSER, "no cookie of a sign-in that was begun in this browser")
        taken = await self._taken(request, state, secret, request_id)
        if "error" in query:
            raise refused_by_entra(query, numbers_in(query))
        if not code:
            raise fault("sign-in-refused", reason="neither a code nor an error")
        person = await self.entra.person(code, state, secret)
        session = await self.sessions.begin(person, request)
        self.log.info(
            "signed-in",
            object_id=person.object_id,
            tenant=person.tenant_id,
            client_address=address_of(request),
            request_id=request_id,
        )
        by, where = caller_of(person, self.sessions.installation), {"client_address": address_of(request)}
        self.note(Kind.SIGN_IN, by=by, fields=where)
        # What was stored is looked at again: the journal is no reason to send a browser anywhere.
        return self.frame.redirect(self.frame.below(destination(taken.about)), more=(cookies.set_session(session),))

    async def _taken(self, request: Request, state: str, secret: str, request_id: str) -> Authorization:
        """The sign-in that this browser began. It is read first: a state that nobody began writes nothing."""
        state_hash, browser_hash, now = hash_of(state), hash_of(secret), self.now()
        why = await self.sessions.read(
            lambda connection: authorizations.look(connection, state_hash, browser_hash, KIND, now), stranger(request)
        )
        if why is not None:
            raise _not_started(STATE, why.value)
        take = partial(
            authorizations.take,
            state_hash=state_hash,
            browser_hash=browser_hash,
            kind=KIND,
            request_id=request_id,
            now=now,
        )
        taken = await self.write(take)
        if isinstance(taken, NotTaken):
            raise _not_started(STATE, taken.value)
        return taken

    async def sign_out(self, request: Request, _: str) -> Answer:
        """End the session. It does not redirect to Entra: browsers stop a form that is sent on to another origin."""
        ended = await self.sessions.end(request)
        if ended is not None:
            by = caller_of(ended, self.sessions.installation)
            self.note(Kind.SIGN_OUT, by=by, fields={"owner": ended.object_id})
        after = self.frame.below("/console/signed-out")
        return self.frame.redirect(after, more=(self.sessions.cookies.clear_session(),))

    async def signed_out(self, _: Request, request_id: str) -> Answer:
        """The page after that, with a link to Entra's own sign-out."""
        values = {"at_entra": await self.entra.sign_out_url()}
        return self.frame.page("signed-out.html", values, request_id)

    def _is_elsewhere(self, request: Request) -> bool:
        """Whether the browser used another name than the console's. A proxy may have replaced it."""
        if passed_on(request.scope):
            return False
        own = urlsplit(self.frame.address)
        standard = PORTS.get(own.scheme, "")
        host = request.headers.get("host", "").lower()
        return host.removesuffix(standard) != own.netloc.lower().removesuffix(standard)


def sign_in_path(to: str) -> str:
    """The path that begins a sign-in for this destination."""
    return f"{SIGN_IN}?{urlencode({'to': to})}"


def _not_started(what: str, found: str) -> Refused:
    """The refusal of a browser that comes back with something that was not begun in it."""
    return Refused([Check(what, False, "a sign-in that this browser began, once, in ten minutes", found)])
