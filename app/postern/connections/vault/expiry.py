"""Warns in the log about secrets and certificates that expire soon, and provides their dates for the metrics."""

import base64
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from math import floor
from random import uniform
from typing import TYPE_CHECKING, Any

import anyio
import structlog

from postern.connections.faults import ConnectionFault
from postern.connections.vault.secret import Secret, Secrets, SecretState

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

THRESHOLDS = (30, 14, 7, 1)
"""Days before the expiry at which a warning is logged."""
EXPIRED = 0
"""The last threshold: the expiry itself."""
DAY = 86400.0
FIRST = 2.0
"""Seconds until the first check, so that it does not slow down the start."""
EVERY = 12 * 3600.0
SOON = 900.0
"""Seconds between two checks, plus or minus a tenth. SOON applies after a check that could not read every secret."""

_PFX = "application/x-pkcs12"
_PEM = "-----BEGIN CERTIFICATE-----"
_log = structlog.get_logger("postern.expiry")


def days_left(end: float, now: float) -> int:
    """Whole days from now until the expiry, negative once it has passed. Both are Unix seconds."""
    return floor((end - now) / DAY)


def threshold(end: float, now: float) -> int | None:
    """The nearest threshold that has been crossed; None if there is none yet."""
    if now >= end:
        return EXPIRED
    return min((days for days in THRESHOLDS if end - now <= days * DAY), default=None)


def newly_crossed(end: float, now: float, warned: int | None) -> int | None:
    """The threshold to warn about now, if `warned` is the last one warned about; None if there is nothing new."""
    crossed = threshold(end, now)
    return crossed if crossed is not None and (warned is None or crossed < warned) else None


def end_of(secret: Secret) -> float | None:
    """When the secret expires, in Unix seconds: the earlier of the vault's date and the certificate's own; None if
    neither is known."""
    ends = [end for end in (secret.expires_on, certificate_end(secret)) if end is not None]
    return min(ends, default=None)


async def read_state(secrets: Secrets, name: str, used_by: tuple[str, ...], at: float = 0.0) -> SecretState:
    """Read a secret, and keep only its expiry, or why it cannot be read."""
    try:
        return SecretState(name, used_by, end_of(await secrets.read(name)), at=at)
    except ConnectionFault as fault:
        return SecretState(name, used_by, fault=fault.own(), at=at)


def certificate_end(secret: Secret) -> float | None:
    """When the certificate in a secret expires; None if there is none, or if it cannot be read. Its user reports that
    error."""
    try:
        if secret.content_type == _PFX:
            found = _of_pfx(base64.b64decode(secret.value))
        elif _PEM in secret.value:
            found = _of_pem(secret.value.encode())
        else:
            return None
    except Exception:  # the library that reads it raises many types
        return None
    return found.not_valid_after_utc.timestamp() if found is not None else None


def _of_pfx(content: bytes) -> "Certificate | None":
    from cryptography.hazmat.primitives.serialization.pkcs12 import load_pkcs12

    certificate = load_pkcs12(content, None).cert  # Key Vault exports them without a password
    return certificate.certificate if certificate is not None else None


def _of_pem(content: bytes) -> "Certificate":
    """The certificate that belongs to the private key in the same file; without a key, the first certificate."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from cryptography.x509 import load_pem_x509_certificates

    certificates = load_pem_x509_certificates(content)
    try:
        key = load_pem_private_key(content, None).public_key()
    except (ValueError, TypeError):
        return certificates[0]
    return next((each for each in certificates if each.public_key() == key), certificates[0])


class Expiry:
    """Checks every secret that the settings name (`users` maps it to the entries that use it), and those that workflows
    have `requested` since. It warns once at each threshold, and again after the expiry date has changed."""

    def __init__(
        self,
        secrets: Secrets,
        users: Mapping[str, Iterable[str]],
        requested: Callable[[], Iterable[str]] = tuple,
        *,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[Any]] = anyio.sleep,
        jitter: Callable[[float, float], float] = uniform,
    ) -> None:
        self._secrets = secrets
        self._users = {name: list(users_of) for name, users_of in users.items()}
        self._requested = requested
        self._now = now
        self._sleep = sleep
        self._jitter = jitter
        self._warned: dict[str, tuple[float, int]] = {}
        self._faults: dict[str, str] = {}
        self._ends: Mapping[str, float] = {}
        self._states: Mapping[str, SecretState] = {}

    @property
    def states(self) -> Mapping[str, SecretState]:
        """What the last look found, by the names of the secrets. It is empty before the first one."""
        return self._states

    @property
    def ends(self) -> Mapping[str, float]:
        """When the secrets of the settings expire, in Unix seconds, if known."""
        return self._ends

    async def run(self) -> None:
        """Check at intervals, until cancelled."""
        await self._sleep(FIRST)
        while True:
            read_all = False
            try:
                read_all = await self.look()
            except Exception as error:
                _log.error("secrets-not-looked-at", cause=type(error).__name__)
            await self._sleep((EVERY if read_all else SOON) * self._jitter(0.9, 1.1))

    async def look(self) -> bool:
        """Read every secret, and warn about those that expire soon. Returns whether all could be read."""
        own = {name.lower() for name in self._users}
        others = sorted({name for name in self._requested() if name.lower() not in own})
        ends = dict(self._ends)
        states = {}
        for name in (*self._users, *others):
            state = await read_state(self._secrets, name, tuple(self._users.get(name, ())), self._now())
            states[name] = state
            if state.fault is not None:
                self._warn_fault(name, str(state.fault))
                continue
            self._faults.pop(name, None)
            ends.pop(name, None)
            if state.ends is not None:
                self._warn(name, state.ends)
                if name in self._users:
                    ends[name] = state.ends
            self._ends = dict(ends)  # another thread reads it
        self._states = states
        return all(state.fault is None for state in states.values())

    def _warn(self, name: str, end: float) -> None:
        now = self._now()
        former_end, warned = self._warned.get(name, (end, None))
        crossed = newly_crossed(end, now, warned if former_end == end else None)
        if crossed is not None:
            self._warned[name] = (end, crossed)
            _log.warning("secret-expires", name=name, days=days_left(end, now), used_by=self._used_by(name))

    def _warn_fault(self, name: str, fault: str) -> None:
        if self._faults.get(name) != fault:
            self._faults[name] = fault
            _log.warning("secret-not-read", name=name, fault=fault, used_by=self._used_by(name))

    def _used_by(self, name: str) -> list[str]:
        return self._users.get(name, ["ctx.secret"])
