"""The vault: secrets by name, cached for a short time, in memory only.

Concurrent callers share one request for a secret. A rejected value is read again at once. While the vault is
unavailable it gets few requests, and the last value that was read is used for a limited time. Names ignore case, as in
Key Vault.
"""

import asyncio
import re
import time
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from postern.connections.faults import ConnectionFault
from postern.connections.vault.key_vault import KeyVault
from postern.connections.vault.secret import NoSuchVersion, Secret
from postern.connections.vault.vault_errors import Failure, SecretRequest, entry_of, failure_of
from postern.proxy import Proxy
from postern.telemetry.spans import span

if TYPE_CHECKING:
    from postern.settings import Settings

STALE = 6 * 3600.0
"""Seconds after its last read for which a value may be used while the vault is unavailable."""
PATIENCE = 15.0
"""The time limit of reading a secret in seconds, sign-in and retries included."""
PATIENCE_WITH_VALUE = 5.0
"""The same if the last value can be used; then there are no retries."""
RETRIES = 2
BACK_OFF = 10.0
LONGEST_BACK_OFF = 60.0
"""Seconds without a request to the vault after a failure, if a last value can be used: the shortest time, and the
longest if the vault sends a Retry-After."""
AGAIN = 5.0
"""Seconds between two reads of a secret whose unchanged value is rejected repeatedly. Otherwise an API that always
rejects it would cause a vault request at each call."""

_NAME = re.compile(r"[0-9A-Za-z-]{1,127}")
_VERSION = re.compile(r"[0-9A-Za-z]{1,64}")
_log = structlog.get_logger("postern.vault")


@dataclass(slots=True)
class _Known:
    """A cached secret. `refused_at` is when it was last read because this value was rejected."""

    secret: Secret
    read_at: float
    until: float
    refused_at: float = float("-inf")
    away_since: float | None = None


class Vault:
    """Reads secrets of one Key Vault. Values are cached for `max_age` seconds. An object belongs to one event loop.
    `noted` is called with the name and the version of a secret that was not known before."""

    def __init__(
        self,
        url: str | None,
        credential: str | None,
        *,
        authority: str | None = None,
        ca_bundle: Path | None = None,
        max_age: float = 300.0,
        proxy: Proxy | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._vault = KeyVault(url, credential, authority, ca_bundle, proxy)
        self._max_age = max_age
        self._clock = clock
        self.noted: Callable[[str, str], object] = lambda _name, _version: None
        self._known: dict[str, _Known] = {}
        self._requests: dict[str, asyncio.Task[Secret | Failure]] = {}
        self._back_at = float("-inf")
        self._reason = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the cached secrets."""
        return tuple(known.secret.name for known in self._known.values())

    async def secret(self, name: str) -> str:
        """The value of the secret. Raises ConnectionFault."""
        return (await self.read(name)).value

    async def read(self, name: str) -> Secret:
        """The secret, cached for a short time. Raises ConnectionFault."""
        known = self._known.get(_key(name))
        now = self._clock()
        if known is not None:
            if now < known.until:
                return known.secret
            if now < self._back_at and self._may_serve(known):
                return self._served(known)
        return await self._requested(name)

    async def read_again(self, name: str, refused: str) -> Secret:
        """The current secret, after the value `refused` was rejected. It is unchanged if no newer value can be read, or
        if it was read again a moment ago. Raises ConnectionFault."""
        key = _key(name)
        if key in self._requests:
            await self._requested(name)  # it may have started before the secret was changed, so its result is not final
        known = self._known.get(key)
        if known is None or known.secret.value != refused:
            return await self.read(name)
        now = self._clock()
        if now < known.refused_at + AGAIN or (now < self._back_at and self._may_serve(known)):
            return known.secret
        known.refused_at = now
        return await self._requested(name)

    async def read_now(self, name: str) -> Secret:
        """The secret as the vault has it now, or the last value of it during an outage. Raises ConnectionFault,
        NoSuchSecret among them."""
        if _key(name) in self._requests:
            await self._requested(name)  # it may have started before the secret was changed
        return await self._requested(name)

    async def read_version(self, name: str, version: str) -> Secret:
        """A version of the secret, from the vault. Raises ConnectionFault."""
        _key(name)
        if not _VERSION.fullmatch(version):
            raise NoSuchVersion(entry_of(name), "has no version of this name", "Versions are named by the vault")
        return await self._requested(name, version)

    async def aclose(self) -> None:
        """Stop reading, and close the connections to Azure."""
        requests = list(self._requests.values())
        for task in requests:
            task.cancel()
        await asyncio.gather(*requests, return_exceptions=True)
        await self._vault.aclose()

    async def _requested(self, name: str, version: str = "") -> Secret:
        key = f"{_key(name)}/{version}" if version else _key(name)
        task = self._requests.get(key)
        if task is None:
            # In its own task: the first caller may be cancelled while others wait for the same secret. In its own
            # context: its log lines belong to no single request.
            task = asyncio.get_running_loop().create_task(self._request(key, name, version), context=Context())
            self._requests[key] = task
            task.add_done_callback(lambda _: self._requests.pop(key, None))
        with span("vault", "client") as going:
            going.set("postern.secret.name", name)
            outcome = await asyncio.shield(task)
            going.error = "ConnectionFault" if isinstance(outcome, Failure) else ""
        if isinstance(outcome, Failure):
            raise outcome.fault()
        return outcome

    async def _request(self, key: str, name: str, version: str) -> Secret | Failure:
        began = self._clock()
        known = self._known.get(key)
        can_serve = known is not None and self._may_serve(known)
        try:
            async with asyncio.timeout(PATIENCE_WITH_VALUE if can_serve else PATIENCE):
                secret = await self._vault.get(name, version, retries=0 if can_serve else RETRIES)
        except Exception as error:
            request = SecretRequest(name, self._vault.url, self._vault.kind, version)
            return self._failed(key, failure_of(self._vault.blamed(error), request))
        self._back_at = float("-inf")
        if version:
            self.noted(name, version)
            return secret
        if known is None or known.secret.version != secret.version:
            self.noted(secret.name, secret.version)
        if known is not None and known.away_since is not None:
            _log.info("key-vault-back", name=name, seconds=round(self._clock() - known.away_since))
        same = known is not None and known.secret.value == secret.value
        refused_at = known.refused_at if known and same else float("-inf")
        self._known[key] = _Known(secret, began, began + self._max_age, refused_at)
        return secret

    def _failed(self, key: str, failure: Failure) -> Secret | Failure:
        """The last value if it may still be used. Otherwise the failure, and the secret is dropped from the cache."""
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
        """The last value during an outage, which is logged once."""
        if known.away_since is None:
            known.away_since = now = self._clock()
            age, left = round(now - known.read_at), round(known.read_at + STALE - now)
            _log.warning("key-vault-away", name=known.secret.name, reason=self._reason, age=age, serves_for=left)
        return known.secret


def vault_of(settings: "Settings", authority: str) -> Vault:
    """The Key Vault of the settings. Postern signs in for it at Entra's `authority`."""
    return Vault(
        settings.key_vault_url,
        settings.azure_credential,
        authority=authority,
        ca_bundle=settings.ca_bundle,
        max_age=settings.secret_max_age,
        proxy=settings.way_out,
    )


def _key(name: str) -> str:
    """The cache key of a secret. A text that is not a valid name is not repeated: it may be the secret itself."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConnectionFault(
            "ctx.secret", "needs the name of a secret in Key Vault", "Names consist of letters, digits and hyphens"
        )
    return name.lower()
