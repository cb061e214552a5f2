"""The signing keys that a tenant publishes now. Concurrent requests share one fetch; the set is replaced as a whole.

Source: Microsoft, "Signing key rollover": refresh regularly, and rarely on an unknown `kid`. Keep the last known good
set through an outage, for a limited time.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextvars import Context

import structlog

from postern.errors import Problem, problem
from postern.identity.issuers import Tenant
from postern.identity.key_set import SigningKey, parse_keys

__all__ = ["SigningKey", "SigningKeys", "parse_keys"]

RETRY_AFTER = 5
_LONGEST_BACKOFF = 30.0
_log = structlog.get_logger("postern.identity")


class SigningKeys:
    """An asynchronous cache of one tenant's keys. `fetch` returns its JWK Set as bytes. If it raises, the last good set
    stays.

    In seconds: `max_age` is between background fetches, `cooldown` between fetches that an unknown `kid` causes, and
    `stale` is how long the last good set outlives an outage. It belongs to one event loop.
    """

    def __init__(
        self,
        tenant: Tenant,
        fetch: Callable[[], Awaitable[bytes]],
        *,
        max_age: float = 3600,
        cooldown: float = 30,
        stale: float = 86400,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.tenant = tenant
        self.last_error = ""
        self._fetch = fetch
        self._max_age = max_age
        self._cooldown = cooldown
        self._stale = stale
        self._clock = clock
        self._sleep = sleep
        self._keys: dict[str, SigningKey] = {}
        self._good_until = float("-inf")
        self._fetched_at: float | None = None
        self._fetched_for_kid_at = float("-inf")
        self._failures = 0
        self._retry_at = float("-inf")
        self._flight: asyncio.Task[None] | None = None

    @property
    def usable(self) -> bool:
        """Whether there is a set that is not too old."""
        return self._clock() < self._good_until

    @property
    def age(self) -> float | None:
        """Seconds since the last good set was requested; None before there is one."""
        return None if self._fetched_at is None else self._clock() - self._fetched_at

    def get(self, kid: str) -> SigningKey | None:
        """The key published under this name, from memory; None if there is none or the set is too old."""
        return self._keys.get(kid) if self._clock() < self._good_until else None

    async def find(self, kid: str) -> SigningKey | None:
        """The key published under this name, fetched if necessary; None if the tenant publishes none.

        An unknown `kid` waits for a fetch in flight, or causes one unless the last one it caused was too recent.
        Raises Problem `identity-unavailable` if there is no usable set, because no token can be checked then.
        """
        key = self.get(kid)
        if key is None and not self.usable:
            await self._recover()
            return self.get(kid)
        while key is None:
            joined = self._in_flight()
            if not joined and not self._may_fetch():
                break
            await self.refresh()
            key = self.get(kid)
            if not joined:
                break  # else once more: the fetch that was joined may have begun before the key was published
        return key

    async def refresh(self) -> None:
        """Fetch the set, or wait for the fetch in flight. A failure is logged and remembered, not raised.

        The fetch is a separate task in a separate context. Cancelling one waiting request therefore does not cancel it
        for the others, and its log lines name no request.
        """
        if self._flight is None or self._flight.done():
            self._flight = asyncio.get_running_loop().create_task(self._fetch_once(), context=Context())
        await asyncio.shield(self._flight)

    async def run(self) -> None:
        """Keep the set fresh until cancelled: fetch at once, then every `max_age`, sooner after a failure."""
        while True:
            await self.refresh()
            await self._sleep(self._backoff() if self._failures else self._max_age)

    async def _recover(self) -> None:
        """Get a first set, or replace one that is too old. After a failure all requests are rejected at once until the
        back-off has passed."""
        if not self._in_flight() and self._clock() < self._retry_at:
            raise self._unavailable()
        await self.refresh()
        if not self.usable:
            raise self._unavailable()

    async def _fetch_once(self) -> None:
        began = self._clock()
        try:
            # A large set takes longer than requests may wait for the event loop.
            fetched = await asyncio.to_thread(parse_keys, await self._fetch(), self.tenant)
        except Exception as error:  # any failure of the network or of the document leaves the last good set
            self._failures += 1
            self._retry_at = self._clock() + self._backoff()
            self.last_error = _reason(error)
            _log.warning(
                "signing-keys-fetch-failed",
                tenant=self.tenant.tenant_id,
                reason=self.last_error,
                age=self.age,
                failures=self._failures,
            )
            return
        # The same key keeps its object, so that tokens remembered with it stay remembered.
        kept = self._keys
        self._keys = {kid: kept[kid] if kept.get(kid) == key else key for kid, key in fetched.items()}
        self._fetched_at, self._good_until = began, began + self._stale
        self._failures, self._retry_at, self.last_error = 0, float("-inf"), ""
        if self._keys.keys() != kept.keys():
            _log.info("signing-keys-changed", tenant=self.tenant.tenant_id, before=len(kept), now=len(self._keys))

    def _in_flight(self) -> bool:
        return self._flight is not None and not self._flight.done()

    def _may_fetch(self) -> bool:
        """Whether an unknown `kid` may cause a fetch now; if so, the cool-down begins."""
        now = self._clock()
        if now - self._fetched_for_kid_at < self._cooldown:
            return False
        self._fetched_for_kid_at = now
        return True

    def _backoff(self) -> float:
        return min(_LONGEST_BACKOFF, 2.0 ** min(self._failures - 1, 5))

    def _unavailable(self) -> Problem:
        reason = self.last_error or "no usable signing keys"
        return problem("identity-unavailable", reason=reason, headers={"Retry-After": str(RETRY_AFTER)})


def _reason(error: Exception) -> str:
    return ascii(f"{type(error).__name__}: {error}")[1:-1][:500]
