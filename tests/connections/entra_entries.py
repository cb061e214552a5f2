"""Entries of type `entra` and what they are used with, for tests."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.connections.entra import EntraSignIn
from app.connections.faults import ConnectionFault
from app.connections.secrets import Secret
from app.connections.stages import Stage
from app.local_tenant import LocalTenant

ENTRY = "connections.books"


@dataclass(frozen=True)
class Reference:
    key_vault: str


@dataclass(frozen=True)
class Entry:
    tenant_id: str | None = None
    client_id: str | None = None
    client_secret: Reference | None = None
    certificate: Reference | None = None
    managed_identity: bool = False
    federated: bool = False
    audience: str = ""
    scopes: tuple[str, ...] = ()


@dataclass
class Remembering:
    """The vault's secrets, remembered for ever unless they are read again."""

    tenant: LocalTenant
    reads: list[str] = field(default_factory=list)
    remembered: dict[str, Secret] = field(default_factory=dict)

    async def read(self, name: str) -> Secret:
        if name not in self.remembered:
            self.remembered[name] = self._read(name)
        return self.remembered[name]

    async def read_again(self, name: str, refused: str) -> Secret:
        if self.remembered[name].value == refused:
            self.remembered[name] = self._read(name)
        return self.remembered[name]

    def _read(self, name: str) -> Secret:
        self.reads.append(name)
        versions = self.tenant.vault.versions(name)
        if not versions:
            raise ConnectionFault(f"the secret {name}", "is not in the vault", "Store it")
        newest = versions[-1]
        return Secret(name, newest.value, newest.expires, newest.content_type)


@dataclass(frozen=True)
class Around:
    secrets: Remembering
    authority: str
    tenant_id: str | None
    ca_bundle: Path | None
    azure_credential: str | None = None


def by_secret(tenant: LocalTenant, application: str = "backup-job", **changed: Any) -> Entry:
    own = tenant.applications[application]
    values = {"client_id": own.client_id, "client_secret": Reference(own.client_secret_name)}
    return Entry(**{**values, "audience": tenant.audience, **changed})


def by_certificate(tenant: LocalTenant, **changed: Any) -> Entry:
    own = tenant.applications["invoice-export"]
    values = {"client_id": own.client_id, "certificate": Reference(own.certificate_name)}
    return Entry(**{**values, "audience": tenant.audience, **changed})


def around(tenant: LocalTenant, **changed: Any) -> Around:
    values = {
        "secrets": Remembering(tenant),
        "authority": tenant.authority,
        "tenant_id": tenant.tenant_id,
        "ca_bundle": tenant.ca_bundle,
    }
    return Around(**{**values, **changed})


def sign_in(tenant: LocalTenant, entry: Entry, **changed: Any) -> EntraSignIn:
    return EntraSignIn(ENTRY, entry, around(tenant, **changed))


async def fault_of(tenant: LocalTenant, entry: Entry, **changed: Any) -> ConnectionFault:
    """The fault that signing in ends with; it hangs on no error of Azure's."""
    try:
        await sign_in(tenant, entry, **changed).credential()
    except ConnectionFault as fault:
        assert fault.__context__ is fault.__cause__ is None
        return fault
    raise AssertionError("it signed in")


async def stages(signing: EntraSignIn) -> list[Stage]:
    return [stage async for stage in signing.try_out()]
