"""The rows of grants as this server process sees them: read from the journal, opened, and remembered for a moment."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from postern.connections.faults import ConnectionFault
from postern.connections.grants import attempts
from postern.connections.grants.clocks import Clocks
from postern.connections.grants.moves import expires_at, good_until
from postern.connections.grants.no_grant import NoGrant
from postern.connections.grants.reasons import ACCESS_ENDED, row_of
from postern.connections.grants.seal import Seal
from postern.connections.grants.tokens import Access, GrantTokens
from postern.errors import Problem
from postern.journal.grants import Grant, entry_of
from postern.journal.server_processes import Transaction

Key = tuple[str, str]
"""A grant's name and its owner."""

REMEMBERED = 5.0
"""Seconds after which a row is read again: another server process may have renewed or deleted it."""
OLD_REMEMBERED = 1.0
"""Seconds for which a token is used that could not be renewed, until the next look."""
MOST_REMEMBERED = 10_000
"""Grants whose tokens are in memory."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A row with its tokens."""

    grant: Grant
    tokens: GrantTokens

    @property
    def access(self) -> Access:
        """What a run uses of it."""
        return Access(self.tokens.access_token, self.grant.generation, self.grant.instance_url)


class Seen(NamedTuple):
    """An attempt, and since when it is known, of our monotonic clock."""

    attempt: str
    since: float


@dataclass(frozen=True, slots=True)
class Remembered:
    """A row, and until when it is used without another look: of our monotonic clock, and in Unix seconds."""

    opened: Opened
    access: Access
    until: float
    good_until: float


Refused = Callable[[str, float], bool]
"""Says whether an operator has ended the access of this owner to what the owner connected at that time."""


class Rows:
    """Reads and opens rows. Nothing of an owner whose access has ended is kept in memory: see `forget_all`."""

    def __init__(self, read: Transaction, seal: Seal, clocks: Clocks, refused: Refused = lambda *_: False) -> None:
        self._read = read
        self._seal = seal
        self._clocks = clocks
        self._refused = refused
        self._remembered: dict[Key, Remembered] = {}
        self._seen: dict[Key, Seen] = {}

    def at_hand(self, key: Key) -> Access | None:
        """The token that is in memory and good."""
        known = self._remembered.get(key)
        if known is None or self._clocks.monotonic() >= known.until or self._clocks.now() >= known.good_until:
            return None
        return known.access

    async def look(self, key: Key) -> attempts.Look:
        """Read the row. Raises ConnectionFault if the journal is unavailable."""
        try:
            found = await self._read(partial(attempts.look, name=key[0], owner=key[1]))
        except Problem as problem:
            if not is_unavailable(problem):
                raise
            raise journal_unavailable(key[0]) from None
        attempt = found.grant.attempt if found.grant else ""
        if not attempt:
            self._seen.pop(key, None)
        elif (seen := self._seen.get(key)) is None or seen.attempt != attempt:
            self._seen[key] = Seen(attempt, self._clocks.monotonic())
        return found

    def unchanged(self, key: Key) -> float:
        """For how many seconds the attempt of the row has been the same."""
        seen = self._seen.get(key)
        return self._clocks.monotonic() - seen.since if seen else 0.0

    async def open(self, grant: Grant) -> Opened:
        """The row with its tokens. Those in memory need no vault. Raises CannotOpen and ConnectionFault."""
        known = self._remembered.get((grant.connection, grant.owner))
        if known is not None and known.opened.grant.sealed == grant.sealed:
            return Opened(grant, known.opened.tokens)
        tokens = await self._seal.open(grant.connection, grant.owner, grant.sealed, grant.key_version)
        return Opened(grant, tokens)

    def check(self, grant: Grant) -> None:
        """Raise NoGrant if an operator has ended the access of its owner since it was connected."""
        if self._refused(grant.owner, grant.connected_at):
            raise no_grant(grant.connection, ACCESS_ENDED)

    def remember(self, opened: Opened, since: float) -> Opened:
        """Keep what was read at the moment `since`, of our monotonic clock. Raises NoGrant as `check` does."""
        self.check(opened.grant)
        key = (opened.grant.connection, opened.grant.owner)
        self._remembered.pop(key, None)
        if len(self._remembered) >= MOST_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        self._remembered[key] = Remembered(opened, opened.access, since + REMEMBERED, good_until(opened.grant))
        return opened

    def keep_using(self, opened: Opened) -> Access:
        """Use a token that is not good any more, because there is no other one: for a moment, and while it lives.
        Raises NoGrant as `check` does."""
        self.check(opened.grant)
        key = (opened.grant.connection, opened.grant.owner)
        until = self._clocks.monotonic() + OLD_REMEMBERED
        self._remembered[key] = Remembered(opened, opened.access, until, expires_at(opened.grant))
        return opened.access

    def forget(self, key: Key) -> None:
        """Read it anew the next time."""
        self._remembered.pop(key, None)
        self._seen.pop(key, None)

    def forget_all(self) -> None:
        """Read everything anew, because someone's access has ended."""
        self._remembered.clear()


def no_grant(name: str, reason: str) -> NoGrant:
    """The error of a grant that is missing or broken."""
    said = row_of(reason)
    return NoGrant(entry_of(name), reason, said.text, said.fix)


def journal_unavailable(name: str) -> ConnectionFault:
    """The error of a journal that is unavailable."""
    return ConnectionFault(entry_of(name), "cannot be used, because the database is unavailable", "Try again later")


def is_unavailable(error: BaseException) -> bool:
    """Whether the journal, or the vault, is unavailable for now."""
    if isinstance(error, Problem):
        return error.code == "journal-unavailable"
    return isinstance(error, ConnectionFault) and not isinstance(error, NoGrant)
