"""Giving consent: the browser of a person is sent to the provider of a connection, and comes back with a code.

What is begun belongs to the browser, the session and the connection: the row of the journal has one hash over all
three, and is consumed before the provider is asked anything.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from sqlalchemy import Connection

from postern.api.grant_actions import CONNECT, Asker, GrantActions, Own
from postern.browser_secrets import hash_of, is_secret, new_secret
from postern.connections.faults import ConnectionFault
from postern.connections.grants.entries import GrantedEntry
from postern.connections.grants.places import place_of
from postern.connections.grants.provider import Provider, RefusedByProvider
from postern.connections.grants.reasons import REASONS, UNAVAILABLE, YOU, reason_of, said_to
from postern.connections.grants.tokens import Issued
from postern.console.cookies import Cookies, secret_in
from postern.console.destination import destination
from postern.console.entra import LATER
from postern.console.faults import fault
from postern.console.limits import OF_PERSON, Starts
from postern.console.page import Visit
from postern.console.return_query import error_in, numbers_in, parameters
from postern.errors import Problem, problem
from postern.journal import authorizations, invitations
from postern.journal.authorizations import Authorization, NotTaken

KIND = "consent"
NOT_STARTED = "consent-not-started"
_DECLINED = "declined"


@dataclass(frozen=True, slots=True)
class Onward:
    """Where the browser goes to, and the cookie that it keeps meanwhile."""

    url: str
    cookie: tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class OtherAccount:
    """A person came back with another account, or of another tenant, than the grant's. Nothing was stored."""

    before: Own
    account_name: str
    tenant: str


@dataclass(frozen=True, slots=True)
class Consent:
    """`address` is where browsers reach this server, `provider` returns the one of a grant's name, and `clock`
    is monotonic."""

    actions: GrantActions
    provider: Callable[[str], Provider]
    cookies: Cookies
    address: str
    starts: Starts = field(default_factory=Starts)
    of_people: Starts = field(default_factory=lambda: Starts(OF_PERSON))
    clock: Callable[[], float] = time.monotonic

    async def begin(
        self, visit: Visit, entry: GrantedEntry, asker: Asker, return_to: str, invitation: str = ""
    ) -> Onward:
        """Begin a consent. `invitation` is the hash of the link that the person used, which is used up by this. Raises
        Problem."""
        now = self.clock()
        if not (
            self.starts.admit_one(visit.viewer.session.id_hash, now) and self.of_people.admit_one(asker.person, now)
        ):
            raise fault("too-many-consents", headers={"Retry-After": "60"})
        own = await self.actions.own_of(entry, asker)
        state, secret = new_state(), secret_in(visit.request.scope["headers"], self.cookies.authorization)
        secret = secret or new_secret()
        try:
            claims = own.grant.claims if own.grant is not None else ""
            url = await self.provider(entry.name).authorization_url(self._redirect_uri(entry), state, secret, claims)
        except ConnectionFault as error:
            shown = _unavailable(entry, f"{error.entry} {error.wrong}. {error.fix}")
        else:
            about = json.dumps({"connection": entry.name, "return_to": return_to})
            bound = hash_of(_bound(visit, entry, secret))
            begun = Authorization(hash_of(state), bound, KIND, about, self.actions.now())
            using = self._using(visit, entry, asker, invitation) if invitation else None
            if not await self.actions.write(partial(store, begun=begun, using=using)):
                raise problem("not-found")
            return Onward(url, self.cookies.set_authorization(secret))
        raise shown

    def _using(self, visit: Visit, entry: GrantedEntry, asker: Asker, invitation: str) -> Callable[[Connection], bool]:
        """The operation that uses an invitation up."""
        return partial(
            invitations.use,
            hash_=invitation,
            name=entry.name,
            owner=asker.person,
            request_id=visit.request_id,
            now=self.actions.now(),
        )

    async def finish(self, visit: Visit, entry: GrantedEntry, asker: Asker) -> str | OtherAccount:
        """The browser comes back. Returns the page to go on to. Raises Problem."""
        query = parameters(visit.request, NOT_STARTED)
        state, secret = query.get("state", ""), secret_in(visit.request.scope["headers"], self.cookies.authorization)
        if not is_secret(state):
            raise fault(NOT_STARTED, reason="no state that was given out here")
        if not secret:
            raise fault(NOT_STARTED, reason="no cookie of a consent that was begun in this browser")
        return_to = await self._taken(visit, entry, state, secret)
        owner = entry.owner(asker.person).rpartition("/")[2]
        try:
            issued = await self._issued(entry, query, state, secret)
            other = await self._stored(visit, entry, asker, issued)
        except RefusedByProvider as error:
            shown = _refused(entry, error)
            self.actions.consented(entry.name, owner, asker, "refused")
        except ConnectionFault as error:
            shown = _unavailable(entry, f"{error.entry} {error.wrong}. {error.fix}")
        else:
            self.actions.consented(entry.name, owner, asker, "connected" if other is None else "other-account")
            return other or return_to
        raise shown  # outside of the handler: what is in its context may hold the code

    async def _taken(self, visit: Visit, entry: GrantedEntry, state: str, secret: str) -> str:
        """Consume the consent of this browser, session and connection; the page to go on to. It is read first: a state
        that nobody began writes nothing."""
        state_hash, browser_hash, now = hash_of(state), hash_of(_bound(visit, entry, secret)), self.actions.now()
        why = await self.actions.read(
            lambda connection: authorizations.look(connection, state_hash, browser_hash, KIND, now), visit.holder
        )
        if why is not None:
            raise fault(NOT_STARTED, reason=f"the state is {why.value}")
        take = partial(
            authorizations.take,
            state_hash=state_hash,
            browser_hash=browser_hash,
            kind=KIND,
            request_id=visit.request_id,
            now=now,
        )
        taken = await self.actions.write(take)
        if isinstance(taken, NotTaken):
            raise fault(NOT_STARTED, reason=f"the state is {taken.value}")
        page = f"{CONNECT}/{entry.name}"
        # What was stored is looked at again: the journal is no reason to send a browser anywhere.
        return destination(str(json.loads(taken.about)["return_to"]), page)

    async def _issued(self, entry: GrantedEntry, query: Mapping[str, str], state: str, secret: str) -> Issued:
        """The tokens. Raises RefusedByProvider, ConnectionFault and Problem."""
        provider = self.provider(entry.name)
        await provider.check_issuer(query.get("iss"))
        if "error" in query:
            numbers = numbers_in(query)
            code = reason_of(query["error"], numbers)
            wrong, fix = REASONS[code]
            raise RefusedByProvider(wrong, fix, error_in(query), code)
        if not query.get("code"):
            raise fault("consent-refused", reason="neither a code nor an error")
        return await provider.redeem(query["code"], self._redirect_uri(entry), state, secret)

    async def _stored(self, visit: Visit, entry: GrantedEntry, asker: Asker, issued: Issued) -> OtherAccount | None:
        """Store the grant; what is wrong if it is of another account. Raises ConnectionFault and Problem."""
        owner = entry.owner(asker.person)
        grants, asked = self.actions.grants, self.provider(entry.name).scopes
        if grants is None:
            raise problem("unknown-connection")
        if await grants.store(entry.name, owner, issued, asker.person, asked, visit.request_id):
            return None
        before = await self.actions.own_of(entry, asker)
        return OtherAccount(before, issued.account_name or issued.account, issued.tenant)

    def _redirect_uri(self, entry: GrantedEntry) -> str:
        """Each connection has its own, so that the response of one provider is none of another's (RFC 9700, section
        4.4.2)."""
        return redirect_uri(self.address, entry.name)


def store(connection: Connection, begun: Authorization, using: Callable[[Connection], bool] | None) -> bool:
    """Store the request, and use the invitation up that it came by, both or neither. False if that is used already."""
    if using is not None and not using(connection):
        return False
    authorizations.begin(connection, begun)
    return True


def redirect_uri(address: str, name: str) -> str:
    """The redirect URI of a connection, which is registered at its provider."""
    return f"{address}{CONNECT}/{name}/callback"


def new_state() -> str:
    """The `state` of an authorization request: it cannot be guessed."""
    return new_secret()


def _bound(visit: Visit, entry: GrantedEntry, secret: str) -> str:
    """What a consent belongs to: the browser, the session of a person in it, the connection, and where its tokens go.
    The code of the former provider is not sent to that of a changed entry."""
    return f"{secret} {visit.viewer.session.id_hash} {entry.name} {place_of(entry, '')}"


def _refused(entry: GrantedEntry, error: RefusedByProvider) -> Problem:
    """The problem for what the provider did not allow. None of its text is shown."""
    reason = f"{error.code} {error.reason}".strip()
    if error.reason == UNAVAILABLE:
        return _unavailable(entry, reason)
    detail = f"{entry.name} {error.wrong}. {said_to(YOU, error.fix)}."
    return fault("consent-cancelled" if error.reason == _DECLINED else "consent-refused", reason=reason, detail=detail)


def _unavailable(entry: GrantedEntry, reason: str) -> Problem:
    detail = f"{entry.provider} cannot be asked at the moment, so nothing was connected. Try again in a minute."
    return fault("consent-unavailable", reason=reason, detail=detail, headers=LATER)
