"""One refresh of one grant: it is taken, exchanged at the provider and written, before anybody uses the new tokens.

Whatever happens to the callers, the journal and the vault meanwhile, what the provider issued is written: it is the
only copy.
"""

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception
from tenacity.wait import wait_random_exponential

from postern.authoring.retry_policy import Retry
from postern.connections.faults import ConnectionFault
from postern.connections.grants import attempts
from postern.connections.grants.attempts import Write
from postern.connections.grants.awake import awake_timeout
from postern.connections.grants.clocks import Clocks
from postern.connections.grants.moves import expires_at
from postern.connections.grants.provider import Provider, RefusedByProvider
from postern.connections.grants.reasons import REASONS, UNAVAILABLE
from postern.connections.grants.rows import Opened, is_unavailable
from postern.connections.grants.seal import Seal, Sealer
from postern.connections.grants.token_answers import INTERACTION_REQUIRED, INVALID_GRANT
from postern.connections.grants.tokens import Issued
from postern.errors import Problem
from postern.histogram import SECONDS, Histogram
from postern.ids import new_id
from postern.journal import grants
from postern.journal.grants import Grant, Renewed, entry_of
from postern.journal.server_processes import Transaction

EXCHANGE_SECONDS = 30.0
"""How long one exchange may take, its retries included."""
RETRY = Retry(count=3, interval=0.5, minimum=0.1, maximum=30.0)
"""Retries within one exchange, if no token is left to serve."""
REST = Retry(count=90, interval=1.0, minimum=0.5, maximum=60.0)
"""The time until the next exchange after one that failed for a moment: each time twice as long."""
LONGEST_REST = 3600.0
"""Seconds of a provider's Retry-After that are obeyed."""

AT_ITS_END = frozenset({INVALID_GRANT, INTERACTION_REQUIRED})
"""Codes by which a grant ends: `token_answers` has made those of each provider into these."""

T = TypeVar("T")

log = structlog.get_logger("postern.connections")


@dataclass(slots=True)
class Rest:
    """No exchange until then, of our monotonic clock, after so many failures in a row. `unanswered` says that the
    provider may have used the refresh token up, and that its response was lost."""

    until: float
    fault: ConnectionFault
    failures: int = 1
    unanswered: bool = False


@dataclass(slots=True)
class RefreshCounts:
    """Refreshes by outcome, and how long exchanges took."""

    outcomes: "Counter[str]" = field(default_factory=Counter)
    seconds: Histogram = field(default_factory=lambda: Histogram(SECONDS))


class Renewing:
    """Refreshes grants for the server process `node`."""

    def __init__(
        self,
        read: Transaction,
        write: Write,
        seal: Seal,
        provider: Callable[[str], Provider],
        node: str,
        clocks: Clocks,
        seconds: float = EXCHANGE_SECONDS,
    ) -> None:
        self._read = read
        self._write = write
        self._seal = seal
        self._provider = provider
        self._node = node
        self._clocks = clocks
        self._seconds = seconds
        self.counts = RefreshCounts()
        self.rests: dict[tuple[str, str], Rest] = {}

    async def renew(self, opened: Opened, claims: str = "") -> Opened | None:
        """The next generation, requested with these claims; None if the row has to be looked at again. Raises
        ConnectionFault, and Problem `journal-unavailable`."""
        grant = opened.grant
        sealer = await self._seal.prepare()  # nothing is requested that cannot be sealed
        attempt = new_id()
        row = (grant.connection, grant.owner, grant.generation)
        taking = partial(attempts.take, name=row[0], owner=row[1], generation=row[2], before=grant.attempt)
        release = partial(grants.release, name=row[0], owner=row[1], generation=row[2], attempt=attempt)
        if not await self._write(partial(taking, attempt=attempt, node=self._node), release):
            return None
        try:
            found = await self._read(partial(grants.find, name=row[0], owner=row[1]))
            if found is None or (found.generation, found.attempt) != (grant.generation, attempt):
                return None
            if found.sealed != grant.sealed:  # disconnected and connected again, or sealed anew: these are other tokens
                await self._insist(partial(self._write, release))
                return None
            began = self._clocks.monotonic()
            try:
                issued = await self._exchange(opened, claims)
            finally:
                self.counts.seconds.observe(self._clocks.monotonic() - began)
        except RefusedByProvider as refused:
            if refused.code in AT_ITS_END:
                await self._break(opened, attempt, refused, claims)
                return None
            await self._insist(partial(self._write, release))
            raise self._rested(opened, refused) from None
        except (Problem, ConnectionFault):
            await self._insist(partial(self._write, release))
            raise
        return await self._keep(opened, attempt, issued, sealer, claims)

    async def give_up(self, grant: Grant, reason: str) -> None:
        """Mark a grant as broken that no exchange can help."""
        if await self._write(partial(grants.break_seen, seen=grant, reason=reason, now=self._clocks.now())):
            log.warning("grant-broken", entry=entry_of(grant.connection), owner=grant.owner, reason=reason)

    # The exchange

    async def _exchange(self, opened: Opened, claims: str) -> Issued:
        """Ask the provider, again if it fails for a moment and there is no token to serve meanwhile."""
        grant = opened.grant
        provider = self._provider(grant.connection)
        deadline = self._clocks.monotonic() + self._seconds
        lives = expires_at(grant) > self._clocks.now()
        retrying = AsyncRetrying(
            retry=retry_if_exception(_is_passing),
            wait=self._wait,
            stop=lambda state: (
                lives
                or state.attempt_number > RETRY.count
                or self._clocks.monotonic() + state.upcoming_sleep >= deadline
            ),
            sleep=self._clocks.sleep,
            reraise=True,
        )
        try:
            async with awake_timeout(self._seconds):
                return await retrying(provider.refresh, opened.tokens, grant.scopes, grant.tenant, claims)
        except TimeoutError:
            why = REASONS[UNAVAILABLE]
            raise RefusedByProvider(why.text, why.fix, "", UNAVAILABLE) from None

    def _wait(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome is not None else None
        wait = self._clocks.uniform(*RETRY.window(state.attempt_number))
        return max(wait, getattr(error, "retry_after", None) or 0.0)

    # What follows

    async def _keep(self, opened: Opened, attempt: str, issued: Issued, sealer: Sealer, claims: str) -> Opened | None:
        """Write what the provider issued, as soon as the journal lets it."""
        grant, now = opened.grant, self._clocks.now()
        name, owner = grant.connection, grant.owner
        renewed = Renewed(
            *sealer.seal(name, owner, issued.tokens),
            access_expires_at=None if issued.seconds is None else now + issued.seconds,
            refresh_expires_at=grant.refresh_expires_at
            if issued.refresh_seconds is None
            else now + issued.refresh_seconds,
            scopes=grant.scopes if issued.scopes is None else issued.scopes,
            instance_url=issued.instance_url or grant.instance_url,
            claims=claims,
        )
        writing = partial(grants.renew, name=name, owner=owner, generation=grant.generation, attempt=attempt)
        written = await self._insist(partial(self._write, partial(writing, renewed=renewed, now=now)))
        found = await self._insist(partial(self._read, partial(grants.find, name=name, owner=owner)))
        if not written:
            self.counts.outcomes["superseded"] += 1
            log.warning("grant-superseded", entry=entry_of(name), owner=owner)
            if found is None:  # disconnected meanwhile
                await self._provider(name).revoke(issued.tokens)
            return None
        self.rests.pop((name, owner), None)
        self.counts.outcomes["renewed"] += 1
        log.info("grant-renewed", entry=entry_of(name), owner=owner, generation=grant.generation + 1)
        return Opened(found, issued.tokens) if found and found.sealed == renewed.sealed else None

    async def _break(self, opened: Opened, attempt: str, refused: RefusedByProvider, claims: str) -> None:
        """Mark the grant as broken, unless it has moved on meanwhile. The next sign-in is with the claims of the
        provider, else with those of the request."""
        grant = opened.grant
        rest = self.rests.get((grant.connection, grant.owner))
        unanswered = rest is not None and rest.unanswered
        lost = "server-stopped" if self._was_left(grant) else "no-answer" if unanswered else ""
        reason = (lost if refused.code == INVALID_GRANT else "") or refused.reason or "ended"
        broken = partial(grants.break_, name=grant.connection, owner=grant.owner, generation=grant.generation)
        needed = refused.claims or claims
        writing = partial(broken, attempt=attempt, reason=reason, claims=needed, now=self._clocks.now())
        if await self._insist(partial(self._write, writing)):
            self.counts.outcomes["broken"] += 1
            log.warning("grant-broken", entry=entry_of(grant.connection), owner=grant.owner, reason=reason)

    def _rested(self, opened: Opened, refused: RefusedByProvider) -> ConnectionFault:
        """The fault of an exchange that failed for now. The next one has to wait."""
        grant = opened.grant
        key, entry = (grant.connection, grant.owner), entry_of(grant.connection)
        fault = ConnectionFault(entry, refused.wrong, refused.fix)
        before = self.rests.get(key)
        failures = min(before.failures + 1 if before else 1, REST.count)
        wait = self._clocks.uniform(*REST.window(failures))
        wait = max(wait, min(refused.retry_after or 0.0, LONGEST_REST))
        lost = not refused.code and refused.reason == UNAVAILABLE and refused.retry_after is None
        unanswered = lost or self._was_left(grant) or (before is not None and before.unanswered)
        self.rests[key] = Rest(self._clocks.monotonic() + wait, fault, failures, unanswered)
        self.counts.outcomes["failed"] += 1
        log.warning("grant-not-renewed", entry=entry, owner=grant.owner, wrong=refused.wrong, wait=round(wait, 3))
        return fault

    def _was_left(self, grant: Grant) -> bool:
        """Whether another server process has left an attempt in the row, and may have sent the refresh token."""
        return bool(grant.attempt) and grant.holder != self._node

    async def _insist(self, action: Callable[[], Awaitable[T]]) -> T:
        """Do it, again and again while the journal or the vault is unavailable."""
        retrying = AsyncRetrying(
            retry=retry_if_exception(is_unavailable),
            wait=wait_random_exponential(multiplier=0.2, max=5.0),
            sleep=self._clocks.sleep,
            reraise=True,
        )

        async def act() -> T:
            return await action()

        return await retrying(act)


def _is_passing(error: BaseException) -> bool:
    """Whether the same request may succeed a little later: the provider has rejected nothing."""
    return isinstance(error, RefusedByProvider) and not error.code
