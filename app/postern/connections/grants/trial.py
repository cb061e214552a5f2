"""Tests an entry that people connect, stage by stage: its key, its secret, its provider, its grants and a token.

It writes nothing, and renews no token: that is for the server, once for all its processes. No token is shown. Nothing
is sent as a person unless `Trial.sends` says so.
"""

import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from sqlalchemy import Connection

from postern.browser_secrets import new_secret
from postern.connections.auth.entry_secret import EntrySecret
from postern.connections.auth.sign_in import SignIn
from postern.connections.auth.sign_in_context import SignInContext
from postern.connections.faults import ConnectionFault
from postern.connections.grants.entries import GrantedEntry
from postern.connections.grants.granted import sign_with
from postern.connections.grants.places import place_of
from postern.connections.grants.provider import Provider
from postern.connections.grants.reasons import REASONS, said_to
from postern.connections.grants.seal import Moved, Seal
from postern.connections.grants.states import Condition, condition
from postern.connections.grants.tokens import Access
from postern.connections.sealing.sealed_text import CannotOpen, Keys
from postern.connections.stage import Stage
from postern.errors import Problem
from postern.http_client import URL, Request
from postern.journal import grants, revocations
from postern.journal.grants import Grant
from postern.journal.server_processes import Transaction
from postern.plain_text import plain

MOST_COUNTED = 1_000
"""Grants of one entry that are counted."""
SPARE_SECONDS = 5.0
"""A token that expires sooner is not sent."""

SHARED_GRANT = "shared"
"""In place of a person's name."""

_CONNECT = "{who} must connect it, on the page Connections of the console"


@dataclass(frozen=True, slots=True)
class Whose:
    """Whose grant is tested. `owner` is "tenant/object", None for a count of all grants of the entry; `person` is for
    showing. With `sends` a request is sent with the token."""

    owner: str | None = None
    person: str = ""
    sends: bool = False


NOBODY = Whose()


@dataclass(frozen=True, slots=True)
class Trial:
    """The test of one entry. `token` is set by the stage of that name if it may be sent."""

    entry: GrantedEntry
    context: SignInContext
    keys: Keys
    provider: Provider
    read: Transaction
    clock: Callable[[], float] = time.time

    async def stages(self, whose: Whose, found: list[Access]) -> AsyncIterator[Stage]:
        """The stages up to the first that fails. A token that may be sent is added to `found`."""
        for before in (self._key, self._secret, self._provider):
            stage = await before()
            if stage is None:
                continue
            yield stage
            if not stage.passed:
                return
        owner = whose.owner if self.entry.per_user else grants.SHARED
        try:
            if owner is None:
                yield await self._counted()
                return
            now = self.clock()
            grant, refused = await self.read(partial(_look, name=self.entry.name, owner=owner, now=now))
        except Problem:
            yield Stage("grant", False, "the database is unavailable", "Start it, or correct POSTERN_DATABASE_URL")
            return
        seen = condition(grant, now, refused=refused)
        stage = state_stage(grant, seen, whose.person if self.entry.per_user else SHARED_GRANT)
        yield stage
        if grant is not None and stage.passed:
            yield await self._token(grant, now, found)

    async def _key(self) -> Stage:
        try:
            version, _ = await self.keys.newest()
        except ConnectionFault as fault:
            return _failed("key", fault)
        return Stage("key", True, f"POSTERN_GRANTS_KEY_NAME, version {plain(version[:8])}")

    async def _secret(self) -> Stage | None:
        """Whether the secret of the client can be read; None if it has none."""
        auth = self.entry.auth
        key = "certificate" if auth.certificate is not None else "client_secret"
        reference = auth.certificate or auth.client_secret
        if reference is None:
            return None
        try:
            await EntrySecret(self.entry.entry, key, reference, self.context.secrets).read()
        except ConnectionFault as fault:
            return _failed(key, fault)
        return Stage(key, True, f"the secret {reference.key_vault} can be read")

    async def _provider(self) -> Stage:
        """Where people sign in. What the provider publishes is requested; an address of the settings is only shown."""
        try:
            url = URL(await self.provider.authorization_url("https://postern.invalid", new_secret(), new_secret()))
        except ConnectionFault as fault:
            return _failed("provider", fault)
        return Stage("provider", True, f"{self.entry.provider}; people sign in at {plain(url.host)}")

    async def _counted(self) -> Stage:
        """How many people have which state. Nobody is named."""
        every = await self.read(partial(grants.of_connection, name=self.entry.name, limit=MOST_COUNTED + 1))
        now = self.clock()
        counts = Counter(condition(each, now).state.value for each in every[:MOST_COUNTED])
        more = "at least " if len(every) > MOST_COUNTED else ""
        states = ", ".join(f"{state} {count}" for state, count in sorted(counts.items())) or "nobody has connected it"
        return Stage("grant", True, f"each person has their own: {more}{states}")

    async def _token(self, grant: Grant, now: float, found: list[Access]) -> Stage:
        """Whether the tokens open, and how long the access token is good."""
        try:
            seal = Seal(self.keys, lambda _: place_of(self.entry, self.context.authority))
            tokens = await seal.open(grant.connection, grant.owner, grant.sealed, grant.key_version)
        except Moved as moved:
            why = REASONS[moved.reason]
            return Stage("token", False, f"it {why.text}", why.fix)
        except CannotOpen:
            return Stage("token", False, "its tokens do not open", "Connect it again: the key of its tokens is gone")
        except ConnectionFault as fault:
            return _failed("token", fault)
        left = None if grant.access_expires_at is None else grant.access_expires_at - now
        if left is None or left > SPARE_SECONDS:
            found.append(Access(tokens.access_token, grant.generation, grant.instance_url))
        return Stage("token", True, life_of(left))


class OneToken(SignIn):
    """Signs with one token of an entry, which is not renewed."""

    def __init__(self, entry: str, access: Access, domains: tuple[str, ...]) -> None:
        self._entry = entry
        self._access = access
        self._domains = domains

    async def credential(self) -> str:
        """The token."""
        return self._access.token

    def sign(self, request: Request, credential: str) -> None:
        """Put it on the request, which goes to the address of the grant if it has one."""
        sign_with(request, self._access, self._entry, self._domains)

    async def another(self, refused: str) -> str | None:
        """There is no other."""
        return None

    async def try_out(self) -> AsyncIterator[Stage]:
        """The stage of the token."""
        yield Stage("token", True)


def life_of(left: float | None) -> str:
    """How long a token is good, in words."""
    if left is None:
        return "good until the other side rejects it: the provider does not say when it expires"
    return f"good for {int(left // 60)} min" if left > SPARE_SECONDS else "has expired: the next run renews it"


def state_stage(grant: Grant | None, seen: Condition, person: str) -> Stage:
    """The state of one grant, of this person or SHARED_GRANT."""
    whose = plain(person)
    who = "An operator" if whose == SHARED_GRANT else whose
    fix = said_to(who, seen.fix) if grant is not None else _CONNECT.format(who=who)
    if not seen.usable:
        return Stage("grant", False, f"{whose}: {seen.state.value}, it {seen.text}", fix)
    if grant is None:
        raise ValueError("a grant that is usable exists")
    account = f" as {plain(grant.account_name)}" if grant.account_name else ""
    since = datetime.fromtimestamp(grant.connected_at, UTC).strftime("%Y-%m-%d %H:%M")
    remark = f"; it {seen.text}: {fix}" if seen.text else ""
    scopes = plain(" ".join(grant.scopes)) or "none"
    return Stage("grant", True, f"{whose}: {seen.state.value}{account} since {since} UTC, scopes {scopes}{remark}")


def _look(connection: Connection, name: str, owner: str, now: float) -> tuple[Grant | None, bool]:
    """The grant, and whether an operator has ended the access of its owner."""
    grant = grants.find(connection, name, owner)
    if grant is None or not owner:
        return grant, False
    return grant, revocations.refuses_owner(connection, owner, grant.connected_at, now)


def _failed(name: str, fault: ConnectionFault) -> Stage:
    return Stage(name, False, f"{fault.entry} {fault.wrong}", fault.fix)
