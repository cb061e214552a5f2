"""The grants of one server process: tokens in memory for a moment, and one refresh of each grant at a time."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from functools import partial

import structlog

from postern.connections.faults import ConnectionFault
from postern.connections.grants.attempts import Write
from postern.connections.grants.background import Background
from postern.connections.grants.clocks import Clocks
from postern.connections.grants.moves import (
    MOST_ANSWERS,
    Move,
    expires_at,
    good_until,
    is_just_issued,
    may_answer,
    next_move,
)
from postern.connections.grants.no_grant import NoGrant
from postern.connections.grants.provider import Provider
from postern.connections.grants.reasons import EXPIRED, NOT_CONNECTED
from postern.connections.grants.renewing import EXCHANGE_SECONDS, Renewing
from postern.connections.grants.rows import (
    MOST_REMEMBERED,
    REMEMBERED,
    Key,
    Opened,
    Refused,
    Rows,
    is_unavailable,
    journal_unavailable,
    no_grant,
)
from postern.connections.grants.seal import Moved, Seal
from postern.connections.grants.sharing import OncePerKey, StillAtWork
from postern.connections.grants.states import remark
from postern.connections.grants.tokens import Access, GrantTokens, Issued
from postern.connections.grants.uses import Uses
from postern.connections.sealing.sealed_text import CannotOpen
from postern.errors import Problem
from postern.journal import grants
from postern.journal.grants import Event, Grant, State, entry_of
from postern.journal.server_processes import Transaction

WAIT_SECONDS = 30.0
"""How long a call waits for a refresh. The refresh goes on."""
POLL = (0.05, 0.25)
"""Seconds between two looks at a grant that another server process renews."""
_LATER = "Try again later"
_UNOPENED = (
    "It is deleted here. It could not be ended at the provider, because its tokens cannot be opened: end it in the "
    "settings of your account there."
)
_MOVED = (
    "It is deleted here. It was connected before the entry in postern.toml was changed to another provider, client or "
    "API, which do not get its tokens: end it in the settings of your account at the former provider."
)

log = structlog.get_logger("postern.connections")


class ServerGrants:
    """Implements `store.Grants`. `read` and `write` are the journal's, `provider` gives that of a grant's name and
    raises ConnectionFault, `node` is this server process, which has its row in the table `nodes`, `names` are the
    grants to renew in the background, and `refused` says whose access an operator has ended. An object belongs to one
    event loop."""

    def __init__(
        self,
        read: Transaction,
        write: Write,
        seal: Seal,
        provider: Callable[[str], Provider],
        node: str,
        names: Callable[[], Iterable[str]] = tuple,
        clocks: Clocks | None = None,
        refused: Refused = lambda *_: False,
    ) -> None:
        self._read = read
        self._write = write
        self._seal = seal
        self._provider = provider
        self._node = node
        self._clocks = clocks or Clocks()
        self._rows = Rows(read, seal, self._clocks, refused)
        self._renewing = Renewing(read, write, seal, provider, node, self._clocks)
        self._loads: OncePerKey[Key, Opened] = OncePerKey(WAIT_SECONDS, self._clocks.monotonic)
        self._refreshes: OncePerKey[Key, Opened] = OncePerKey(WAIT_SECONDS, self._clocks.monotonic)
        self._closing = False
        self._unopened: dict[Key, str] = {}
        self._uses = Uses(write, self._clocks.now)
        self._background = Background(read, names, self.refresh, self._clocks)
        self.counts = self._renewing.counts

    async def access(self, name: str, owner: str) -> Access:
        """A token that is good for a minute, or the best there is. Raises NoGrant, and ConnectionFault."""
        key = (name, owner)
        access = self._rows.at_hand(key)
        if access is None:
            opened = await self._load(key)
            good = self._clocks.now() < good_until(opened.grant)
            access = opened.access if good else await self._another(key, opened)
        self._uses.note(key)
        return access

    async def renewed(self, name: str, owner: str, refused: Access, claims: str = "") -> Access | None:
        """Another token, after an API rejected this one with 401, that was requested with the `claims` of its challenge
        (JSON); None if there is none. If a person has to meet them, the grant is broken. Raises what `access` does."""
        key = (name, owner)
        opened = await self._load(key)
        if claims:
            return await self._answer(key, opened, refused, claims)
        if opened.tokens.access_token != refused.token:  # generations begin anew if it was connected again
            return opened.access
        if not opened.tokens.refresh_token or is_just_issued(opened.grant, self._clocks.now()):
            return None
        newer = await self._refresh(key, stale=opened.grant.generation)
        return newer.access if newer.tokens.access_token != refused.token else None

    async def run(self) -> None:
        """Renew in the background, and note uses, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._background.run())
            tasks.create_task(self._uses.run(self._clocks.sleep))

    async def refresh(self, name: str, owner: str, generation: int) -> None:
        """Renew the tokens, though they are good, if they are of this generation. Raises what `access` does."""
        key = (name, owner)
        opened = await self._load(key)
        if opened.grant.generation == generation and opened.tokens.refresh_token:
            await self._refresh(key, stale=generation)

    async def store(self, name: str, owner: str, issued: Issued, by: str, asked: tuple[str, ...], consent: str) -> bool:
        """Store what a consent gave. `by` is the person ("tenant/object"), `asked` the scopes of the request, and
        `consent` its id. False if the owner's grant is of another account or tenant; nothing is stored then. Raises
        ConnectionFault, and Problem `journal-unavailable`."""
        now = self._clocks.now()
        sealed, key_version = await self._seal.seal(name, owner, issued.tokens)
        grant = Grant(
            connection=name,
            owner=owner,
            account=issued.account,
            account_name=issued.account_name,
            tenant=issued.tenant,
            scopes=asked if issued.scopes is None else issued.scopes,
            instance_url=issued.instance_url,
            sealed=sealed,
            key_version=key_version,
            generation=1,
            created_by=by,
            connected_at=now,
            reason=remark(issued, asked),
            wrote=consent,
            access_expires_at=None if issued.seconds is None else now + issued.seconds,
            refresh_expires_at=None if issued.refresh_seconds is None else now + issued.refresh_seconds,
            history=(Event(now, "connected", by),),
        )
        stored = await self._write(partial(grants.connect, grant=grant))
        self._forget((name, owner))
        if stored:
            log.info("grant-connected", entry=entry_of(name), owner=owner, by=by)
        return stored

    async def disconnect(self, name: str, owner: str) -> str:
        """End a grant: here, then at the provider if it can be. Returns what the person has to know, "" if it is ended
        everywhere. Raises NoGrant, and ConnectionFault or Problem if it cannot be ended here."""
        grant = await self._read(partial(grants.find, name=name, owner=owner))
        if grant is None:
            raise no_grant(name, NOT_CONNECTED)
        # What is ended at the provider are the tokens that the row had last: another process may have renewed them.
        # The row is gone already if the deletion ran again after a lost acknowledgement.
        grant = await self._write(partial(grants.disconnect, name=name, owner=owner)) or grant
        self._forget((name, owner))
        log.info("grant-disconnected", entry=entry_of(name), owner=owner)
        tokens: GrantTokens | None = None
        unopened = _UNOPENED
        try:
            tokens = await self._seal.open(name, owner, grant.sealed, grant.key_version)
        except (CannotOpen, ConnectionFault) as error:
            unopened = _MOVED if isinstance(error, Moved) else _UNOPENED
            log.warning("grant-not-opened", entry=entry_of(name), owner=owner)
        if tokens is None:
            return unopened
        try:
            return await self._provider(name).revoke(tokens)
        except ConnectionFault as fault:
            return f"It is deleted here, and could not be ended at the provider, because {fault.entry} {fault.wrong}."

    def revoked(self) -> None:
        """Look again whose grants are used, because someone's access has ended."""
        self._rows.forget_all()

    async def aclose(self, seconds: float = EXCHANGE_SECONDS) -> None:
        """Wait for the refreshes in progress: what the provider has issued is written. Then note the last uses."""
        self._closing = True
        await self._refreshes.aclose(seconds)
        await self._loads.aclose(0.0)
        await self._uses.flush()

    # Rows

    async def _load(self, key: Key) -> Opened:
        """The grant's row and its tokens, read now. Raises NoGrant and ConnectionFault."""
        try:
            return await self._loads.join(key, partial(self._loaded, key))
        except StillAtWork:
            raise ConnectionFault(entry_of(key[0]), "cannot be read in time", _LATER) from None

    async def _loaded(self, key: Key) -> Opened:
        began = self._clocks.monotonic()
        grant = self._usable(key, (await self._rows.look(key)).grant)
        return self._rows.remember(await self._open(grant), began)

    def _usable(self, key: Key, grant: Grant | None) -> Grant:
        """The grant, if it is there and not broken, or broken because it did not open, which may be over. Raises
        NoGrant."""
        if grant is not None and (grant.state is not State.BROKEN or grant.reason == CannotOpen.reason):
            self._rows.check(grant)
            return grant
        self._forget(key)
        raise no_grant(key[0], grant.reason if grant else NOT_CONNECTED)

    async def _open(self, grant: Grant) -> Opened:
        """The row with its tokens. A row that does not open is broken, alone, until its key is back in the vault. One
        whose entry was changed is left as it is: other server processes may still have the entry as it was. Raises
        NoGrant and ConnectionFault."""
        try:
            opened = await self._rows.open(grant)
        except CannotOpen as closed:
            reason = closed.reason
        else:
            self._unopened.pop((grant.connection, grant.owner), None)
            return opened if grant.state is not State.BROKEN else await self._repaired(opened)
        self._note_unopened((grant.connection, grant.owner), reason)
        if grant.state is not State.BROKEN and reason == CannotOpen.reason:
            with suppress(Problem):  # a database that takes no writes changes nothing about it
                await self._renewing.give_up(grant, reason)
        raise no_grant(grant.connection, reason)

    async def _repaired(self, opened: Opened) -> Opened:
        """A grant that was broken and opens again."""
        grant = opened.grant
        if not await self._write(partial(grants.repair, seen=grant)):
            raise no_grant(grant.connection, grant.reason)
        log.info("grant-opened-again", entry=entry_of(grant.connection), owner=grant.owner)
        return replace(opened, grant=(await self._rows.look((grant.connection, grant.owner))).grant or grant)

    def _note_unopened(self, key: Key, reason: str) -> None:
        """Log it once: the background looks at such a row again and again."""
        if self._unopened.get(key) == reason:
            return
        if len(self._unopened) >= MOST_REMEMBERED:
            self._unopened.clear()
        self._unopened[key] = reason
        log.warning("grant-not-opened", entry=entry_of(key[0]), owner=key[1], reason=reason)

    def _forget(self, key: Key) -> None:
        self._rows.forget(key)
        self._renewing.rests.pop(key, None)

    # Refreshes

    async def _answer(self, key: Key, opened: Opened, refused: Access, claims: str) -> Access | None:
        """A token that was requested with these claims, here or by another server process. A refresh in progress may be
        without them: then the next one has them."""
        for _ in range(MOST_ANSWERS + 1):
            rejected = opened.tokens.access_token == refused.token
            if opened.grant.claims == claims and not rejected:
                return opened.access
            now = self._clocks.now()
            if not opened.tokens.refresh_token or not may_answer(opened.grant, claims, now, rejected=rejected):
                return None
            opened = await self._refresh(key, opened.grant.generation, claims)
        return None

    async def _another(self, key: Key, opened: Opened) -> Access:
        """A new token. If there is none for now, the old one serves while it lives: as its row is, if it took long."""
        began = self._clocks.monotonic()
        try:
            return (await self._refresh(key)).access
        except NoGrant:
            raise
        except ConnectionFault:
            if self._clocks.monotonic() - began >= REMEMBERED:
                opened = await self._load(key)
            if self._clocks.now() >= expires_at(opened.grant):
                raise
            return self._rows.keep_using(opened)

    async def _refresh(self, key: Key, stale: int = 0, claims: str = "") -> Opened:
        """The next tokens; those of the generation `stale` do not count. They are requested with these claims, unless
        another refresh is in progress. Raises NoGrant and ConnectionFault."""
        rest = self._renewing.rests.get(key)
        if rest is not None and key not in self._refreshes and self._clocks.monotonic() < rest.until:
            raise rest.fault.own()
        try:
            return await self._refreshes.join(key, partial(self._refreshed, key, stale, claims))
        except StillAtWork:
            wrong = "is being renewed, and the provider or the database takes long"
            raise ConnectionFault(entry_of(key[0]), wrong, _LATER) from None

    async def _refreshed(self, key: Key, stale: int, claims: str) -> Opened:
        """Renew the grant, or wait for the server process that does."""
        until = self._clocks.monotonic() + WAIT_SECONDS
        while (began := self._clocks.monotonic()) < until and not self._closing:
            found = await self._rows.look(key)
            grant = self._usable(key, found.grant)
            if grant.state is State.BROKEN:
                await self._open(grant)
                continue
            move = next_move(
                grant,
                self._clocks.now(),
                node=self._node,
                holder_gone=found.holder_gone,
                unchanged=self._rows.unchanged(key),
                stale=stale,
            )
            if move is not Move.WAIT:
                opened = await self._open(grant)
                if move is Move.USE:
                    return self._rows.remember(opened, began)
                newer = await self._take(opened, claims)
                if newer is not None:
                    return self._rows.remember(newer, self._clocks.monotonic())
            await self._clocks.sleep(self._clocks.uniform(*POLL))
        raise ConnectionFault(entry_of(key[0]), "is being renewed by another server process, which takes long", _LATER)

    async def _take(self, opened: Opened, claims: str) -> Opened | None:
        grant = opened.grant
        if not opened.tokens.refresh_token:
            if self._clocks.now() >= expires_at(grant):
                await self._renewing.give_up(grant, EXPIRED)
                raise no_grant(grant.connection, EXPIRED)
            raise ConnectionFault(entry_of(grant.connection), "has no refresh token", "Connect it again before it ends")
        try:
            return await self._renewing.renew(opened, claims)
        except Problem as problem:
            if not is_unavailable(problem):
                raise
            raise journal_unavailable(grant.connection) from None
