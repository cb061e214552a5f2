"""The `auth` table of `postern.toml` for a token that a person grants: the authorization code flow (RFC 6749, section
4.1, with PKCE)."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StrictStr, model_validator

from postern.clouds import CONSUMERS, SHARED_TENANTS
from postern.redaction import is_secret_name
from postern.settings import types
from postern.settings.auth_fields import REFERENCE, SecretReference, client_id, switch
from postern.settings.auths import one_of
from postern.settings.grant_presets import GRANT_PRESETS, OWN_PARAMETERS, PLAIN, GrantPreset
from postern.settings.presets import ENTRA, ClientAuthentication
from postern.settings.types import GUID, Entry, Guids, Table, Texts, fault

FLOW = "authorization_code"

GRANTED_ONLY = ("per_user", "authorization_url", "refresh_url", "revocation_url", "issuer", "tenant", "tenants")
"""The keys that no other `auth` has: who writes one means this one."""

_URLS = ("authorization_url", "token_url", "refresh_url", "revocation_url")
_WHERE = (
    f'Write identity_provider = {" or ".join(GRANT_PRESETS)}, or issuer = "https://…", or authorization_url and '
    "token_url"
)
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")


def _flow(value: Any) -> Any:
    if value != FLOW:
        raise fault(
            "is not a flow of this server",
            f'Write flow = "{FLOW}" for connections that people connect, or leave it out for client credentials',
        )
    return value


def _provider(name: str) -> str:
    if name not in GRANT_PRESETS:
        raise fault("is not a known provider", one_of(GRANT_PRESETS, name))
    return name


def _issuer(text: str) -> str:
    """An issuer has no query (RFC 8414, section 2). It is not changed, because it is compared exactly."""
    return types.base_url(text)


def _tenant(text: str) -> str:
    """A tenant as Entra's addresses name it."""
    lowered = text.lower()
    if lowered == "consumers":
        return CONSUMERS
    if lowered not in ("", *SHARED_TENANTS) and not GUID.fullmatch(lowered):
        raise fault(
            "is not a tenant", f"Write the id of a tenant, {' or '.join(SHARED_TENANTS)}, or leave it out for your own"
        )
    return lowered


def _scopes(items: tuple[str, ...]) -> tuple[str, ...]:
    for item in items:
        if not _SCOPE.fullmatch(item):
            raise fault("has characters that no scope has (RFC 6749, section 3.3)", "Write it as the provider does")
    return items


def _parameters(given: Mapping[str, str]) -> Mapping[str, str]:
    """Further parameters of the authorization request. They are in an address that the browser keeps, so none of them
    is a secret."""
    for name, value in given.items():
        if not re.fullmatch(r"[A-Za-z0-9._\-]+", name) or not value.isprintable():
            raise fault("has a name or a value with unusual characters", "Write both as the provider's page does")
        if name in OWN_PARAMETERS:
            fix = "Write it as scopes of the auth" if name == "scope" else "Leave it out"
            raise fault(f"has {name}, which Postern sets itself", fix)
        if is_secret_name(name):
            raise fault(
                f"has {name}, and the address of an authorization request can be read by everybody on the way",
                f"Leave it out. {REFERENCE}",
            )
    return Table(given)


class GrantedAuth(Entry):
    """A person connects it once, and the server keeps and renews the tokens. A shared one is connected by an operator
    and used by all runs. With `per_user` each person has a grant of their own, which the runs of that person use.

    Where it signs in comes from a provider of `grant_presets`, from `issuer` (RFC 8414), or from `authorization_url`
    and `token_url`. `refresh_url` is `token_url` if it is not set. `tenant` and `tenants` are for Entra: where people
    sign in (an id, `organizations` or `common`; "" is the tenant of the settings), and which tenants may connect.
    `parameters` are further ones of the authorization request. For Entra a `certificate`, or the `federated` identity
    may be in place of `client_secret`. `gateway` is by whose agents this server reaches the provider."""

    type: Literal["oauth2"] = "oauth2"
    flow: Annotated[Literal["authorization_code"], BeforeValidator(_flow)]
    identity_provider: Annotated[StrictStr, AfterValidator(_provider)] | None = None
    issuer: Annotated[StrictStr, AfterValidator(_issuer)] | None = None
    authorization_url: Annotated[StrictStr, AfterValidator(types.trigger_url)] | None = Field(None, repr=False)
    token_url: Annotated[StrictStr, AfterValidator(types.trigger_url)] | None = Field(None, repr=False)
    refresh_url: Annotated[StrictStr, AfterValidator(types.trigger_url)] | None = Field(None, repr=False)
    revocation_url: Annotated[StrictStr, AfterValidator(types.trigger_url)] | None = Field(None, repr=False)
    tenant: Annotated[StrictStr, AfterValidator(_tenant)] = ""
    tenants: Guids = ()
    client_id: Annotated[StrictStr, AfterValidator(client_id)]
    client_secret: SecretReference | None = None
    certificate: SecretReference | None = None
    federated: Annotated[bool, BeforeValidator(switch)] = False
    scopes: Annotated[Texts, AfterValidator(_scopes)] = ()
    client_authentication: ClientAuthentication | None = None
    parameters: Annotated[Mapping[str, StrictStr], AfterValidator(_parameters)] = Field(default_factory=Table)
    per_user: Annotated[bool, BeforeValidator(switch)] = False
    gateway: types.EntryName | None = None

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

    @model_validator(mode="after")
    def _makes_sense(self) -> "GrantedAuth":
        _is_somewhere(self)
        addresses = [str(getattr(self, name)) for name in (*_URLS[1:], "issuer")]
        if self.gateway is not None and any(address.lower().startswith("http:") for address in addresses):
            raise fault("has a gateway beside an address that is plain http", "Write https://, or leave gateway out")
        _proves_itself(self)
        _is_of_entra(self)
        if not self.scopes and self.preset.scoped:
            example = '"offline_access", "User.Read"' if self.is_entra else '"…"'
            raise fault("has no scopes, and the provider needs them", f"Write scopes = [{example}]")
        return self


def _is_somewhere(auth: GrantedAuth) -> None:
    """Check that it is clear where people sign in, and said once."""
    written = [name for name in _URLS if getattr(auth, name) is not None]
    preset = auth.identity_provider
    if preset is not None and auth.issuer is not None:
        raise fault("has both identity_provider and issuer", "Leave one of them out")
    if auth.issuer is not None and written:
        raise fault(f"has {written[0]} beside issuer, whose metadata has the addresses", f"Leave {written[0]} out")
    if preset is not None and written and not auth.preset.own_urls:
        where = "POSTERN_CLOUD or POSTERN_AUTHORITY" if auth.is_entra else preset
        raise fault(f"has {written[0]} beside identity_provider, and the address comes from {where}", "Leave it out")
    if (auth.authorization_url is None) != (auth.token_url is None):
        missing = "authorization_url" if auth.authorization_url is None else "token_url"
        raise fault(f"has no {missing}", f"Write {missing} too: both are addresses of one provider")
    if preset is None and auth.issuer is None and auth.authorization_url is None:
        raise fault("does not say where people sign in", _WHERE)


def _proves_itself(auth: GrantedAuth) -> None:
    """Check how the client authenticates."""
    ways = [name for name in ("client_secret", "certificate", "federated") if getattr(auth, name)]
    if not auth.is_entra and (other := next((name for name in ways if name != "client_secret"), None)):
        raise fault(f"has {other}, which is for {ENTRA} only", 'Write client_secret = { key_vault = "name" }')
    if len(ways) != 1:
        choice = "exactly one of client_secret, certificate and federated = true" if auth.is_entra else "client_secret"
        raise fault(
            f"has both {' and '.join(ways[:2])}" if ways else "does not say how the client authenticates",
            f"Write {choice}: a client without a secret (a public one) is not supported. {REFERENCE}",
        )
    if auth.client_authentication == "private_key_jwt":
        raise fault("has client_authentication = private_key_jwt", "Write header or body, or leave it out")
    if auth.client_authentication is not None and ways != ["client_secret"]:
        raise fault(f"has client_authentication beside {ways[0]}, which decides it", "Leave client_authentication out")


def _is_of_entra(auth: GrantedAuth) -> None:
    """Check the tenants, and the client id of Entra."""
    if not auth.is_entra:
        if named := next((name for name in ("tenant", "tenants") if getattr(auth, name)), None):
            raise fault(f"has {named}, which is for {ENTRA} only", "Leave it out")
        return
    if not GUID.fullmatch(auth.client_id.lower()):
        raise fault("has a client_id that is not an id", "Write the application (client) id of the registration")
    if auth.tenants and auth.tenant not in SHARED_TENANTS:
        raise fault(
            "has tenants, but people sign in at one tenant only",
            f"Leave tenants out, or write tenant = {' or '.join(SHARED_TENANTS)}",
        )
    if CONSUMERS in auth.tenants and auth.tenant != "common":
        raise fault("has personal accounts among its tenants", 'Write tenant = "common", or leave that id out')
