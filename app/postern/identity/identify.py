"""Identifies the caller of a request from its headers."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple

from postern.access import REVOKED, Caller, Check, NoRevocations, Refused, Revocations
from postern.errors import Problem
from postern.identity.bearer import b64token, credentials, digest_of, digest_of_field
from postern.identity.claims import caller_of
from postern.identity.id_token import Person, Wanted, verify_id_token
from postern.identity.issuers import NO_TENANT, Tenant
from postern.identity.keys import SigningKey, SigningKeys
from postern.identity.token import Parsed, checks, claimed_tenant, parse, read, verify

MAX_LEEWAY = 300
MAX_REMEMBERED = 10_000


class _Remembered(NamedTuple):
    """A token that was verified. It is valid until it expires, and while its key is still published."""

    caller: Caller
    until: float
    keys: SigningKeys
    key: SigningKey


class Identity:
    """Verifies access tokens of the tenants that it serves. `fetch_for` returns the function that fetches a tenant's
    JWK Set.

    `leeway` is for differing clocks, in seconds, at most MAX_LEEWAY (Microsoft's own is 300). `now` is the time of
    day, `clock` the monotonic one. For `max_age`, `cooldown` and `stale` see SigningKeys. At most `remember` verified
    tokens are remembered, by digest; rejected ones are not. `revocations` says whose access an operator has ended; what
    is remembered of those has to be forgotten when that changes. It belongs to one event loop.
    """

    def __init__(
        self,
        fetch_for: Callable[[Tenant], Callable[[], Awaitable[bytes]]],
        *,
        leeway: float = 60,
        max_age: float = 3600,
        cooldown: float = 30,
        stale: float = 86400,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        remember: int = MAX_REMEMBERED,
        revocations: Revocations | None = None,
    ) -> None:
        if not 0 <= leeway <= MAX_LEEWAY:
            raise ValueError(f"the leeway for clocks is from 0 to {MAX_LEEWAY} seconds")

        def signing_keys(tenant: Tenant) -> SigningKeys:
            return SigningKeys(
                tenant, fetch_for(tenant), max_age=max_age, cooldown=cooldown, stale=stale, clock=clock, sleep=sleep
            )

        self._signing_keys = signing_keys
        self._leeway = leeway
        self._now = now
        self._remember = remember
        self._revocations: Revocations = revocations or NoRevocations()
        self._knows_revocations = revocations is not None
        self._tenants: dict[str, Tenant] = {}
        self._keys: dict[str, SigningKeys] = {}
        self._remembered: dict[bytes, _Remembered] = {}
        self._changed = asyncio.Event()

    def serve(self, tenants: Iterable[Tenant]) -> None:
        """Serve exactly these tenants from now on. Tenants that were served before keep their keys."""
        served = {tenant.tenant_id: tenant for tenant in tenants}
        if served == self._tenants:
            return
        self._keys = {
            tenant_id: self._keys[tenant_id] if self._tenants.get(tenant_id) == tenant else self._signing_keys(tenant)
            for tenant_id, tenant in served.items()
        }
        self._tenants = served
        self._remembered.clear()
        self._changed.set()

    async def run(self) -> None:
        """Keep the keys of every tenant fresh until cancelled, including tenants that are served later."""
        loops: dict[SigningKeys, asyncio.Task[None]] = {}
        try:
            while True:
                self._changed.clear()
                served = set(self._keys.values())
                for keys in loops.keys() - served:
                    loops.pop(keys).cancel()
                for keys in served - loops.keys():
                    loops[keys] = asyncio.create_task(keys.run())
                await self._changed.wait()
        finally:
            for loop in loops.values():
                loop.cancel()
            await asyncio.gather(*loops.values(), return_exceptions=True)

    def recall(self, authorization: bytes, digest: Callable[[bytes], bytes] = digest_of_field) -> Caller | None:
        """The Caller of a request's only Authorization header, if its token was verified before; None if `identify`
        has to check it. It is called at nearly every request, so it does as little as possible: `digest` is
        `digest_of_field`, or a memory of what that returned."""
        return self._known(digest(authorization))

    async def identify(self, headers: Iterable[tuple[bytes, bytes]]) -> Caller:
        """The verified Caller. Raises Refused, or Problem: `identity-unavailable` without signing keys, and
        `revocations-unavailable` while it is not known whose access has ended."""
        token = credentials(headers)
        digest = digest_of(token)
        return self._known(digest) or await self._verify(b64token(token), digest)

    def forget(self, which: Callable[[Caller], bool]) -> None:
        """Forget the tokens of these callers, because their access has ended."""
        self._remembered = {digest: known for digest, known in self._remembered.items() if not which(known.caller)}

    async def examine(self, token: str) -> tuple[list[Check], Caller | None]:
        """Every check of a token, including those after the first failure, and its Caller if all passed."""
        try:
            parsed = read(token)
        except Refused as refused:
            return list(refused.checks), None
        try:
            key, unavailable = await self._key_of(parsed), ""
        except Problem as problem:
            key, unavailable = None, f"the signing keys are unavailable: {problem.reason}"
        now = self._now()
        found = list(checks(parsed, self._tenants, key, now, self._leeway))
        if unavailable:
            found = [check._replace(found=unavailable) if check.name == "key-published" else check for check in found]
        if not all(check.passed for check in found):
            return found, None
        caller = caller_of(parsed.claims, claimed_tenant(parsed, self._tenants))
        if self._knows_revocations:
            revoked = self._revocations.refusing(caller)
            none = Check(REVOKED, True, "no revocation", "none")
            found.append(none if revoked is None else revoked.check(caller, now))
        return found, caller

    async def sign_in(self, id_token: str, wanted: Wanted) -> Person:
        """The person whose ID token came from the token endpoint. It is never remembered. Raises Refused, or Problem
        as `identify` does."""
        parsed = parse(id_token)
        await self._revocations.wait()
        key = await self._key_of(parsed)
        tenant = self._tenants.get(wanted.tenant_id, NO_TENANT)
        person = verify_id_token(parsed, tenant, key, wanted, self._now(), self._leeway)
        self._revocations.check(person.as_caller(wanted.client_id))
        return person

    @property
    def ready(self) -> bool:
        """Whether tokens of every tenant can be checked."""
        return all(keys.usable for keys in self._keys.values())

    @property
    def ages(self) -> dict[str, float | None]:
        """Seconds since the keys of each tenant were fetched; None if never."""
        return {tenant_id: keys.age for tenant_id, keys in self._keys.items()}

    @property
    def errors(self) -> dict[str, str]:
        """Why the last fetch of each tenant's keys failed, if it did. For operators, not for callers."""
        return {tenant_id: keys.last_error for tenant_id, keys in self._keys.items() if keys.last_error}

    def _known(self, digest: bytes) -> Caller | None:
        known = self._remembered.get(digest)
        if known is None or known.keys.get(known.key.kid) is not known.key:
            return None
        return known.caller if self._revocations.fresh_until > self._now() < known.until else None

    async def _verify(self, token: str, digest: bytes) -> Caller:
        parsed = parse(token)
        await self._revocations.wait()
        key = await self._key_of(parsed)
        caller = verify(parsed, self._tenants, key, self._now(), self._leeway)
        self._revocations.check(caller)  # nothing is awaited from here to remembering the token
        if key is not None:
            self._remembered.pop(digest, None)
            while len(self._remembered) >= self._remember:
                del self._remembered[next(iter(self._remembered))]
            until = parsed.claims["exp"] + self._leeway
            self._remembered[digest] = _Remembered(caller, until, self._keys[caller.tenant_id], key)
        return caller

    async def _key_of(self, parsed: Parsed) -> SigningKey | None:
        """The key that the token names, among those of the tenant that it names."""
        tenant_id = claimed_tenant(parsed, self._tenants).tenant_id
        keys, kid = self._keys.get(tenant_id), parsed.header.get("kid")
        if keys is None or not isinstance(kid, str):
            return None
        key = await keys.find(kid)
        return key if self._keys.get(tenant_id) is keys else None  # the tenant may have been removed meanwhile
