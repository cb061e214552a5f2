"""What the tests of renewing use: a database without a writer's process, a provider that says what the test wants,
keys, and clocks that are moved by hand."""

import asyncio
import pickle
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine

from postern.connections.faults import ConnectionFault
from postern.connections.grants.clocks import Clocks
from postern.connections.grants.provider import Provider, RefusedByProvider
from postern.connections.grants.seal import Places, Seal
from postern.connections.grants.seal import sealed as seal
from postern.connections.grants.server_grants import ServerGrants
from postern.connections.grants.tokens import GrantTokens, Issued
from postern.connections.sealing.sealed_text import CannotOpen
from postern.journal import grants as table
from postern.journal.grants import Grant, find
from postern.journal.journal import unavailable
from postern.journal.process_identity import this_machine, this_process
from postern.journal.server_processes import ServerProcess, beat
from tests.journal.engines import empty_journal

T = TypeVar("T")

LISA = "tenant/lisa"
NOW = 1_700_000_000.0


class Database:
    """Runs the operations of a journal in this thread. `away` is a journal that does not answer, `unheard` are writes
    that are committed while their callers get an error, and `twice` has each run again after a lost acknowledgement."""

    def __init__(self, url: str) -> None:
        self.engine: Engine = empty_journal(url)
        self.away = False
        self.unheard = 0
        self.twice = False
        self.reads = self.writes = 0
        self.after_write: Callable[[], object] | None = None

    async def read(self, operation: Callable[[Connection], T]) -> T:
        self.reads += 1
        await asyncio.sleep(0)
        if self.away:
            raise unavailable()
        return self.run(operation)

    async def write(
        self, operation: Callable[[Connection], T], undo: Callable[[Connection], object] | None = None
    ) -> T:
        self.writes += 1
        await asyncio.sleep(0)
        if self.away:
            raise unavailable()
        same = pickle.loads(pickle.dumps(operation))
        if self.twice:
            self.run(operation)
        result: T = self.run(same)
        if self.after_write is not None:
            then, self.after_write = self.after_write, None
            then()
        if self.unheard:
            self.unheard -= 1
            if undo is not None:
                self.run(pickle.loads(pickle.dumps(undo)))
            raise unavailable()
        return result

    def run(self, operation: Callable[[Connection], T]) -> T:
        with self.engine.begin() as connection:
            return operation(connection)

    def grant(self, name: str = "tickets", owner: str = LISA) -> Grant | None:
        return self.run(partial(find, name=name, owner=owner))

    def row(self, name: str = "tickets", owner: str = LISA) -> Grant:
        found = self.grant(name, owner)
        assert found is not None
        return found


@dataclass
class Hand:
    """Clocks that stand still, but for sleeps, which take no time of ours."""

    at: float = 1000.0
    slept: list[float] = field(default_factory=list)

    @property
    def clocks(self) -> Clocks:
        return Clocks(lambda: self.at, lambda: NOW + self.at, self.sleep, lambda low, high: (low + high) / 2)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += seconds
        await asyncio.sleep(0)


class Issuer:
    """A provider that takes each refresh token once. `asked` and `claims` are the refresh tokens and the claims of its
    requests, `says` has what the next ones get in place of tokens, and `gate` holds them."""

    name = "tickets"
    scopes: tuple[str, ...] = ("read", "write")

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.claims: list[str] = []
        self.revoked: list[str] = []
        self.says: deque[Exception | Issued | Callable[[], object]] = deque()
        self.gate = asyncio.Event()
        self.gate.set()
        self.arrived = asyncio.Event()
        self.number = 1
        self.seconds: float | None = 3600.0
        self.contexts: list[int] = []

    @property
    def tokens(self) -> GrantTokens:
        return GrantTokens(f"access-{self.number}", f"refresh-{self.number}")

    def issued(self, **more: Any) -> Issued:
        return Issued(self.tokens, self.seconds, **more)

    async def refresh(self, tokens: GrantTokens, scopes: tuple[str, ...], tenant: str, claims: str = "") -> Issued:
        self.asked.append(tokens.refresh_token)
        self.claims.append(claims)
        self.arrived.set()
        await self.gate.wait()
        said = self.says.popleft() if self.says else None
        if isinstance(said, Exception):
            raise said
        if isinstance(said, Issued):
            return said
        if said is not None:
            said()
        if tokens.refresh_token != f"refresh-{self.number}":
            raise ended()
        self.number += 1
        return self.issued()

    async def revoke(self, tokens: GrantTokens) -> str:
        self.revoked.append(tokens.refresh_token)
        return ""

    async def authorization_url(self, redirect_uri: str, state: str, browser_secret: str, claims: str = "") -> str:
        raise NotImplementedError

    async def check_issuer(self, iss: str | None) -> None:
        raise NotImplementedError

    async def redeem(self, code: str, redirect_uri: str, state: str, browser_secret: str) -> Issued:
        raise NotImplementedError


def ended(reason: str = "ended") -> RefusedByProvider:
    return RefusedByProvider("has ended", "Its owner connects it again", "invalid_grant", reason)


def unwell(retry_after: float | None = None) -> RefusedByProvider:
    return RefusedByProvider("cannot be renewed now", "Try later", "", "provider-unavailable", retry_after=retry_after)


@dataclass
class Keys:
    """Versions of a key, of which the last is the newest."""

    versions: dict[str, bytes] = field(default_factory=lambda: {"v1": b"1" * 32})
    away: bool = False

    async def newest(self) -> tuple[str, bytes]:
        self._reach()
        return list(self.versions.items())[-1]

    async def of(self, version: str) -> bytes:
        self._reach()
        if version not in self.versions:
            raise CannotOpen("its key is not in the vault any more")
        return self.versions[version]

    def _reach(self) -> None:
        if self.away:
            raise ConnectionFault("POSTERN_GRANTS_KEY_NAME", "cannot be read", "Try again later")


class World:
    """A database, a provider and clocks, and any number of server processes in this one."""

    def __init__(self, url: str) -> None:
        self.database = Database(url)
        self.hand = Hand()
        self.issuer = Issuer()
        self.keys = Keys()
        self.places: Places | None = None
        self.ended: dict[str, float] = {}  # since when the access of an owner has ended
        self.grants = self.process("node-1")

    def process(self, node: str, *, machine: str = "", process: str = "", register: bool = True) -> ServerGrants:
        if register:
            row = ServerProcess(node, machine or this_machine(), process or this_process(), NOW)
            self.database.run(partial(beat, node=row))
        database, seal = self.database, Seal(self.keys, self.places)
        return ServerGrants(
            database.read,
            database.write,
            seal,
            self.provider,
            node,
            lambda: ["tickets"],
            self.hand.clocks,
            lambda owner, since: since < self.ended.get(owner, 0.0),
        )

    def provider(self, name: str) -> Provider:
        return self.issuer

    async def connected(self, name: str = "tickets", owner: str = LISA, **more: Any) -> Grant:
        """A grant as a consent gives it."""
        issued = self.issuer.issued(**more)
        assert await self.grants.store(name, owner, issued, LISA, self.issuer.scopes, f"consent-{self.hand.at}")
        return self.database.row(name, owner)

    def hold(self, attempt: str = "theirs", node: str = "node-2") -> None:
        """Another server process takes the grant."""
        row = self.database.row()
        taking = partial(table.take, name="tickets", owner=LISA, generation=row.generation, before=row.attempt)
        assert self.database.run(partial(taking, attempt=attempt, holder=node))

    def sealed(self, tokens: GrantTokens | None = None) -> tuple[str, str]:
        """Tokens of lisa's grant as another server process seals them."""
        return seal(self.keys.versions["v1"], "tickets", LISA, tokens or self.issuer.tokens), "v1"

    def expire(self, left: float = 30.0) -> None:
        """Go to the moment at which the token lives so much longer."""
        ends = self.database.row().access_expires_at
        assert ends is not None
        self.hand.at = ends - NOW - left
