"""The vault: secrets by name, remembered for a short time in memory and nowhere else.

A secret is asked for once however many want it, again at once where its value was refused, and seldom while the vault
is away: then the last good value serves for a bounded time. Names ignore case, as in Key Vault.
"""

import asyncio
import re
import time
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass
from pathlib import Path

import structlog

from postern.connections.faults import ConnectionFault
from postern.connections.vault.key_vault import KeyVault
from postern.connections.vault.secret import Secret
from postern.connections.vault.vault_errors import Asked, Failure, failure_of

STALE = 6 * 3600.0
"""Seconds after its last reading for which a value may serve while the vault is away."""
PATIENCE = 15.0
"""Seconds that a secret may take to be read, sign-in and retries included."""
PATIENCE_WITH_VALUE = 5.0
"""The same where its last good value can serve, and nothing is tried twice."""
RETRIES = 2
BACK_OFF = 10.0
LONGEST_BACK_OFF = 60.0
"""Seconds for which the vault is not asked after a failure by who has a value that can serve: the least, and the most
where the vault itself says how long."""
AGAIN = 5.0
"""Seconds between two readings of a secret whose value is refused again and again and stays the same. Who always
refuses would otherwise have the vault asked at each call."""

_NAME = re.compile(r"[0-9A-Za-z-]{1,127}")
_log = structlog.get_logger("postern.vault")


@dataclass(slots=True)
class _Known:
    """A secret at hand. `refused_at` is when it was last read because this value was refused."""

    secret: Secret
    read_at: float
    until: float
    refused_at: float = float("-inf")
    away_since: float | None = None


class Vault:
    """Reads secrets of one Key Vault. Values are remembered for `max_age` seconds. It belongs to one event loop."""

    def __init__(
        self,
        url: str | None,
        credential: str | None,
        *,
        authority: str | None = None,
        ca_bundle: Path | None = None,
        max_age: float = 300.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._vault = KeyVault(url, credential, authority, ca_bundle)
        self._max_age = max_age
        self._clock = clock
        self._known: dict[str, _Known] = {}
        self._asking: dict[str, asyncio.Task[Secret | Failure]] = {}
        self._back_at = float("-inf")
        self._reason = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The secrets at hand."""
        return tuple(known.secret.name for known in self._known.values())

    async def secret(self, name: str) -> str:
        """The value of the secret. Raises ConnectionFault."""
        return (await self.read(name)).value

    async def read(self, name: str) -> Secret:
        """The secret, remembered for a short time. Raises ConnectionFault."""
        known = self._known.get(_key(name))
        now = self._clock()
        if known is not None:
            if now < known.until:
                return known.secret
            if now < self._back_at and self._may_serve(known):
                return self._served(known)
        return await self._asked(name)

    async def read_again(self, name: str, refused: str) -> Secret:
        """The secret as it is now, because the value `refused` was turned away. It is the same one where nothing newer
        can be had, or it was read for this reason a moment ago. Raises ConnectionFault."""
        key = _key(name)
        if key in self._asking:
            await self._asked(name)  # it may have begun before the secret was changed, so its answer does not decide
        known = self._known.get(key)
        if known is None or known.secret.value != refused:
            return await self.read(name)
        now = self._clock()
        if now < known.refused_at + AGAIN or (now < self._back_at and self._may_serve(known)):
            return known.secret
        known.refused_at = now
        return await self._asked(name)

    async def aclose(self) -> None:
        """Stop reading, and close the connections to Azure."""
        asking = list(self._asking.values())
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        await self._vault.aclose()

    async def _asked(self, name: str) -> Secret:
        key = _key(name)
        task = self._asking.get(key)
        if task is None:
            # A task of its own, in a context of its own: who asked first may be cancelled while others wait for the
            # same answer, and its log lines are of no single request.
            task = asyncio.get_running_loop().create_task(self._ask(key, name), context=Context())
            self._asking[key] = task
            task.add_done_callback(lambda _: self._asking.pop(key, None))
        outcome = await asyncio.shield(task)
        if isinstance(outcome, Failure):
            raise outcome.fault()
        return outcome

    async def _ask(self, key: str, name: str) -> Secret | Failure:
        began = self._clock()
        known = self._known.get(key)
        can_serve = known is not None and self._may_serve(known)
        try:
            async with asyncio.timeout(PATIENCE_WITH_VALUE if can_serve else PATIENCE):
                secret = await self._vault.get(name, retries=0 if can_serve else RETRIES)
        except Exception as error:
            return self._failed(key, failure_of(error, Asked(name, self._vault.url, self._vault.kind)))
        self._back_at = float("-inf")
        if known is not None and known.away_since is not None:
            _log.info("key-vault-back", name=name, seconds=round(self._clock() - known.away_since))
        same = known is not None and known.secret.value == secret.value
        refused_at = known.refused_at if known and same else float("-inf")
        self._known[key] = _Known(secret, began, began + self._max_age, refused_at)
        return secret

    def _failed(self, key: str, failure: Failure) -> Secret | Failure:
        """The last good value where it may serve, else the failure, and nothing is remembered of the secret."""
        if failure.outage:
            self._back_at = self._clock() + min(max(BACK_OFF, failure.retry_after), LONGEST_BACK_OFF)
            self._reason = failure.wrong
            known = self._known.get(key)
            if known is not None and self._may_serve(known):
                return self._served(known)
        self._known.pop(key, None)
        return failure

    def _may_serve(self, known: _Known) -> bool:
        return self._clock() < known.read_at + STALE

    def _served(self, known: _Known) -> Secret:
        """The last good value in an outage, which is told once."""
        if known.away_since is None:
            known.away_since = now = self._clock()
            age, left = round(now - known.read_at), round(known.read_at + STALE - now)
            _log.warning("key-vault-away", name=known.secret.name, reason=self._reason, age=age, serves_for=left)
        return known.secret


def _key(name: str) -> str:
    """The name under which a secret is remembered. What is no name is not repeated: it may be the secret itself."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConnectionFault(
            "ctx.secret", "was given what is no name of a secret in Key Vault", "Names are letters, digits and hyphens"
        )
    return name.lower()
