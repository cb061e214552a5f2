"""Checks of the Key Vault: each secret that is named, and the keys for grants and the audit log. Values are read, and
never shown."""

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from postern.access import Signed
from postern.catalog import Snapshot
from postern.cli.diagnosis.finding import Finding, failed, ok, warning
from postern.connections.faults import ConnectionFault
from postern.connections.grants.entries import granted_entries
from postern.connections.vault.expiry import days_left, read_state, threshold
from postern.connections.vault.secret import SecretState
from postern.settings import Settings
from postern.settings.references import secret_references

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from postern.connections.vault.secret import VersionedSecrets

AT_ONCE = 4
AUDIT_KEY = "POSTERN_AUDIT_KEY_NAME"
MAKE_AUDIT_KEY = (
    "Make an Ed25519 key (openssl genpkey -algorithm ed25519), put it into the Key Vault as PEM, and name it in "
    + AUDIT_KEY
)


def named_secrets(settings: Settings, snapshot: Snapshot | None, *, local: bool = False) -> dict[str, tuple[str, ...]]:
    """All secrets that the settings and the workflows' access modes name, with their users. A local tenant makes the
    keys of signed URLs when they are needed. Pure."""
    found: dict[str, list[str]] = {name: list(users) for name, users in secret_references(settings).items()}
    for name, trigger in (snapshot.triggers if snapshot is not None else {}).items():
        if not isinstance(trigger.policy, Signed):
            continue
        if trigger.policy.url and not local:
            for key in ("primary", "secondary"):
                found.setdefault(f"postern-url-{name}-{key}", []).append(f"signed URLs of {name}")
        for secret in trigger.policy.by.secrets if trigger.policy.by is not None else ():
            found.setdefault(secret, []).append(f"signed_by= of {name}")
    return {name: tuple(users) for name, users in sorted(found.items())}


async def check_secrets(
    settings: Settings, authority: str, snapshot: Snapshot | None, *, local: bool = False
) -> list[Finding]:
    """Whether each named secret can be read, and when it expires."""
    names = named_secrets(settings, snapshot, local=local)
    if not names:
        return ok("no secret is named")
    places = asyncio.Semaphore(AT_ONCE)
    async with _vault(settings, authority) as vault:

        async def one(name: str, users: tuple[str, ...]) -> SecretState:
            async with places:
                return await read_state(vault, name, users)

        states = await asyncio.gather(*(one(name, users) for name, users in names.items()))
    return secret_findings(states, time.time())


def secret_findings(states: list[SecretState], now: float) -> list[Finding]:
    """What the states mean: one finding for all that are right, and one for each other. Pure."""
    found: list[Finding] = []
    for each in states:
        users = ", ".join(each.used_by)
        if each.fault is not None:
            found += failed(f"{each.name} ({users}): {each.fault.entry} {each.fault.wrong}", each.fault.fix)
        elif each.ends is not None and each.ends <= now:
            found += failed(f"{each.name} ({users}) has expired", "Put a new version into the Key Vault")
        elif each.ends is not None and threshold(each.ends, now) is not None:
            days = days_left(each.ends, now)
            found += warning(f"{each.name} ({users}) expires in {days} days", "Put a new version into the Key Vault")
    right = len(states) - len(found)
    return [*(ok(f"{right} of {len(states)} secrets can be read, and do not expire soon") if right else []), *found]


async def check_grants_key(settings: Settings, authority: str) -> list[Finding]:
    """Whether the key that seals granted tokens is one."""
    from postern.connections.sealing.vault_keys import GRANTS_KEY, VaultKeys

    if not granted_entries(settings):
        return ok("not needed: no entry of postern.toml is connected by people")
    async with _vault(settings, authority) as vault:
        try:
            await VaultKeys(vault, settings.grants_key_name or "", GRANTS_KEY).newest()
        except ConnectionFault as fault:
            return failed(f"{fault.entry} {fault.wrong}", fault.fix)
    return ok("it seals granted tokens")


async def check_durable_key(settings: Settings, authority: str) -> list[Finding]:
    """Whether durable runs are sealed, with a key that is one."""
    from postern.connections.sealing.vault_keys import DURABLE_KEY, VaultKeys

    if settings.durable_key_name is None:
        return ok("not set: bodies of durable runs are in the database, unsealed, until their runs end")
    async with _vault(settings, authority) as vault:
        try:
            await VaultKeys(vault, settings.durable_key_name, DURABLE_KEY).newest()
        except ConnectionFault as fault:
            return failed(f"{fault.entry} {fault.wrong}", fault.fix)
    return ok(f"the secret {settings.durable_key_name} seals durable runs")


async def check_audit_key(settings: Settings, authority: str) -> list[Finding]:
    """Whether the audit log is signed, with a key that is one."""
    name = settings.audit_key_name
    if name is None:
        detail = (
            f"{AUDIT_KEY} is not set: checkpoints are unsigned, so anyone who can write the database can write the log"
        )
        return warning(detail, MAKE_AUDIT_KEY)
    async with _vault(settings, authority) as vault:
        try:
            secret = await vault.read(name)
        except ConnectionFault as fault:
            return failed(f"{fault.entry} {fault.wrong}", fault.fix)
    if not is_ed25519(secret.value):
        return failed(f"the secret {name} is not an Ed25519 private key in PEM", MAKE_AUDIT_KEY)
    return ok(f"the secret {name} signs the checkpoints")


def is_ed25519(pem: str) -> bool:
    """Whether this text is an Ed25519 private key in PEM."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        return isinstance(load_pem_private_key(pem.encode(), None), Ed25519PrivateKey)
    except Exception:  # the library raises many types
        return False


@asynccontextmanager
async def _vault(settings: Settings, authority: str) -> "AsyncIterator[VersionedSecrets]":
    from postern.connections.vault.vault import vault_of

    vault = vault_of(settings, authority)
    try:
        yield vault
    finally:
        await vault.aclose()
