"""One installation, as the run API and the OpenAPI documents see it."""

from dataclasses import dataclass

OWN_ADDRESS = "http://own-address.invalid"
"""The placeholder in cached documents for the address of the request."""


@dataclass(frozen=True, slots=True)
class Installation:
    """The address, the tenant and the operators of this Postern.

    `server_url` may be "/": the server that a document comes from. `tenant_id` is None if the settings name no tenant.
    `audiences` are in the order of the settings. `client_id` is Postern's own, "" if the settings name none.
    `operators` are object ids. `seals_runs` says whether bodies of durable runs are sealed.
    """

    server_url: str = "/"
    authority: str = ""
    tenant_id: str | None = None
    audiences: tuple[str, ...] = ()
    operators: frozenset[str] = frozenset()
    client_id: str = ""
    title: str = "Postern workflows"
    seals_runs: bool = False

    @property
    def tenants(self) -> frozenset[str]:
        """The tenant of the settings, if there is one."""
        return frozenset((self.tenant_id,)) if self.tenant_id else frozenset()
