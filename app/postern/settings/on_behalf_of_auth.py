"""The `auth` table of `postern.toml` for a token of the run's caller: the on-behalf-of flow of Entra."""

from typing import Annotated, Literal

from pydantic import BeforeValidator

from postern.settings.auth_fields import SecretReference, switch
from postern.settings.types import Entry, Guid, Texts


class OnBehalfOfAuth(Entry):
    """A token for the caller of the run, which the caller's own access token is exchanged for (Microsoft, "OAuth 2.0
    On-Behalf-Of flow"). `client_id` is the application that the caller's token is for. Exactly one of `client_secret`,
    `certificate` and `federated` is set."""

    type: Literal["entra"] = "entra"
    on_behalf_of: Annotated[bool, BeforeValidator(switch)]
    tenant_id: Guid | None = None
    client_id: Guid | None = None
    client_secret: SecretReference | None = None
    certificate: SecretReference | None = None
    certificate_chain: Annotated[bool, BeforeValidator(switch)] = False
    federated: Annotated[bool, BeforeValidator(switch)] = False
    scopes: Texts = ()
