"""Entries of type `entra` and what they are used with, for tests."""

from dataclasses import dataclass, field
from typing import Any

from postern.connections.auth.entra import EntraSignIn
from postern.connections.auth.sign_in_context import SignInContext
from postern.connections.faults import ConnectionFault
from postern.connections.stage import Stage
from postern.connections.vault.secret import Secret
from postern.http_client import http_client
from postern.local_tenant import LocalTenant
from postern.settings import EntraAuth, SecretReference

ENTRY = "connections.books"


def entry(**values: Any) -> EntraAuth:
    """An entry, also one that the settings would refuse before it is used."""
    return EntraAuth.model_construct(**values)


def reference(name: str) -> SecretReference:
    return SecretReference(key_vault=name)


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


def by_secret(tenant: LocalTenant, application: str = "backup-job", **changed: Any) -> EntraAuth:
    own = tenant.applications[application]
    values = {"client_id": own.client_id, "client_secret": reference(own.client_secret_name)}
    return entry(**{**values, "audience": tenant.audience, **changed})


def by_certificate(tenant: LocalTenant, **changed: Any) -> EntraAuth:
    own = tenant.applications["invoice-export"]
    values = {"client_id": own.client_id, "certificate": reference(own.certificate_name)}
    return entry(**{**values, "audience": tenant.audience, **changed})


def around(tenant: LocalTenant, **changed: Any) -> SignInContext:
    values: dict[str, Any] = {
        "secrets": Remembering(tenant),
        "http": http_client(),
        "authority": tenant.authority,
        "tenant_id": tenant.tenant_id,
        "client_id": None,
        "ca_bundle": tenant.ca_bundle,
        "azure_credential": None,
    }
    return SignInContext(**{**values, **changed})


def sign_in(tenant: LocalTenant, auth: EntraAuth, **changed: Any) -> EntraSignIn:
    return EntraSignIn(ENTRY, auth, around(tenant, **changed))


async def fault_of(tenant: LocalTenant, auth: EntraAuth, **changed: Any) -> ConnectionFault:
    """The fault that signing in ends with; it hangs on no error of Azure's."""
    try:
        await sign_in(tenant, auth, **changed).credential()
    except ConnectionFault as fault:
        assert fault.__context__ is fault.__cause__ is None
        return fault
    raise AssertionError("it signed in")


async def stages(signing: EntraSignIn) -> list[Stage]:
    return [stage async for stage in signing.try_out()]
