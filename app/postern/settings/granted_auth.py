"""The `auth` table of `postern.toml` for a token that a person grants: the authorization code flow (RFC 6749, section
4.1, with PKCE)."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StrictStr

from postern.settings import types
from postern.settings.auth_fields import SecretReference, client_id, switch
from postern.settings.grant_presets import GRANT_PRESETS, PLAIN, GrantPreset
from postern.settings.presets import ENTRA, ClientAuthentication
from postern.settings.types import Entry, Table, Texts


class GrantedAuth(Entry):
    """A person connects it once, and the server keeps and renews the tokens. A shared one is connected by an operator
    and used by all runs. With `per_user` each person has a grant of their own, which the runs of that person use.

    Where it signs in comes from a provider of `presets`, from `issuer` (RFC 8414), or from `authorization_url` and
    `token_url`. `refresh_url` is `token_url` if it is not set. `tenant` and `tenants` are for Entra: where people sign
    in (an id, `organizations` or `common`; "" is the tenant of the settings), and which tenants may connect.
    `parameters` are further ones of the authorization request. For Entra a `certificate`, or the `federated` identity
    may be in place of `client_secret`."""

    type: Literal["oauth2"] = "oauth2"
    flow: Literal["authorization_code"]
    identity_provider: StrictStr | None = None
    issuer: StrictStr | None = None
    authorization_url: StrictStr | None = None
    token_url: StrictStr | None = None
    refresh_url: StrictStr | None = None
    revocation_url: StrictStr | None = None
    tenant: StrictStr = ""
    tenants: types.Guids = ()
    client_id: Annotated[StrictStr, AfterValidator(client_id)]
    client_secret: SecretReference | None = None
    certificate: SecretReference | None = None
    federated: Annotated[bool, BeforeValidator(switch)] = False
    scopes: Texts = ()
    client_authentication: ClientAuthentication | None = None
    parameters: Mapping[str, StrictStr] = Field(default_factory=Table)
    per_user: Annotated[bool, BeforeValidator(switch)] = False

    @property
    def preset(self) -> GrantPreset:
        """The values of the provider."""
        return GRANT_PRESETS[self.identity_provider] if self.identity_provider else PLAIN

    @property
    def is_entra(self) -> bool:
        """Whether people sign in at Microsoft Entra."""
        return self.identity_provider == ENTRA

    @property
    def authentication(self) -> ClientAuthentication:
        """How the client authenticates at the token endpoint."""
        return self.client_authentication or self.preset.authentication

    @property
    def requested(self) -> tuple[str, ...]:
        """The scopes of an authorization request: those of the entry, and those that tell whose account it is."""
        return tuple(dict.fromkeys((*self.preset.identity_scopes, *self.scopes)))
