"""The `auth` tables of `postern.toml`, except Entra's.

Secrets are references to Key Vault. An error names the key and says what to write instead.
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, StrictStr, model_validator

from postern.settings import types
from postern.settings.auth_fields import (
    REFERENCE,
    Resources,
    SecretReference,
    TextOrReference,
    client_id,
    header_name,
    printable,
    query_name,
    switch,
    token_parameters,
    username,
)
from postern.settings.presets import ENTRA, PROVIDERS, ClientAuthentication, Grant
from postern.settings.types import Entry, Table, Texts, fault

VISIBLE = re.compile(r"[\x21-\x7e]+")


def one_of(known: Iterable[str], written: str) -> str:
    """The fix for a word that is not one of `known`."""
    near = difflib.get_close_matches(written.lower(), known := list(known), n=1, cutoff=0.6)
    return f"Did you mean {near[0]}?" if near else f"Write one of {', '.join(known)}"


def _provider(name: str) -> str:
    if name not in PROVIDERS:
        raise fault("is not a known provider", one_of([*PROVIDERS, ENTRA], name))
    return name


class NoAuth(Entry):
    """No authentication."""

    type: Literal["none"] = "none"


class BasicAuth(Entry):
    """User name and password in each request (RFC 7617). Some systems take a key as the user name, without a password,
    and others a password without a user name. At least one of the two is a secret."""

    type: Literal["basic"] = "basic"
    username: Annotated[TextOrReference, AfterValidator(username)]
    password: SecretReference | None = None

    @model_validator(mode="after")
    def _has_a_secret(self) -> "BasicAuth":
        if self.password is None and not isinstance(self.username, SecretReference):
            raise fault("has no secret", f"Write a password, or the key as username. {REFERENCE}")
        return self


class ApiKeyAuth(Entry):
    """A key in each request, in the header or the query parameter of this name. Exactly one of them is set."""

    type: Literal["api_key"] = "api_key"
    header: Annotated[StrictStr, AfterValidator(header_name)] | None = None
    query: Annotated[StrictStr, AfterValidator(query_name)] | None = None
    key: SecretReference

    @model_validator(mode="after")
    def _one_place(self) -> "ApiKeyAuth":
        if (self.header is None) == (self.query is None):
            both = "has both header and query" if self.header else "has neither header nor query"
            raise fault(both, 'Write header = "X-Api-Key" or query = "name", as the other side expects')
        return self


class OAuth2Auth(Entry):
    """A token by client credentials (RFC 6749, section 4.4), from a token URL or a provider of `presets`.

    `token_url` overrides a provider's own token URL. `resource` is that of RFC 8707, and `parameters` are further ones
    of the token request, which may replace its `grant_type`. `key_id` (`kid`) and `assertion_audience` (`aud`) are for
    the assertion that a private key signs (RFC 7523), and `certificate_chain` sends the certificates along that are in
    the secret with the key (`x5c`). `gateway` is by whose agents the token URL is reached. Use the properties
    `address`, `grant` and `authentication`, which include the provider's values.
    """

    type: Literal["oauth2"] = "oauth2"
    token_url: Annotated[StrictStr, AfterValidator(types.trigger_url)] | None = Field(None, repr=False)
    identity_provider: Annotated[StrictStr, AfterValidator(_provider)] | None = None
    client_id: Annotated[StrictStr, AfterValidator(client_id)]
    client_secret: SecretReference | None = None
    private_key: SecretReference | None = None
    scopes: Texts = ()
    audience: StrictStr = ""
    resource: Resources = ()
    parameters: Annotated[Mapping[str, TextOrReference], AfterValidator(token_parameters)] = Table()
    client_authentication: ClientAuthentication | None = None
    key_id: Annotated[StrictStr, AfterValidator(printable)] | None = None
    assertion_audience: Annotated[StrictStr, AfterValidator(printable)] | None = None
    certificate_chain: Annotated[bool, BeforeValidator(switch)] = False
    gateway: types.EntryName | None = None

    @property
    def address(self) -> str:
        """The token endpoint."""
        return self.token_url or (PROVIDERS[self.identity_provider].token_url if self.identity_provider else "") or ""

    @property
    def grant(self) -> Grant:
        """The grant of the token request. For `jwt_bearer` the private key signs it."""
        return PROVIDERS[self.identity_provider].grant if self.identity_provider else "client_credentials"

    @property
    def authentication(self) -> ClientAuthentication:
        """How the client authenticates at the token endpoint."""
        preset = PROVIDERS[self.identity_provider].client_authentication if self.identity_provider else "header"
        return self.client_authentication or preset

    @property
    def instead(self) -> str:
        """What to write if the provider issues no tokens to applications; "" if it does."""
        return PROVIDERS[self.identity_provider].instead if self.identity_provider else ""

    @property
    def secret(self) -> tuple[str, SecretReference]:
        """The key of the secret, and its reference."""
        if self.private_key is not None:
            return "private_key", self.private_key
        if self.client_secret is not None:
            return "client_secret", self.client_secret
        raise ValueError("an entry without a secret is not valid")

    @model_validator(mode="after")
    def _makes_sense(self) -> "OAuth2Auth":
        _has_address(self)
        if self.gateway is not None and self.address.lower().startswith("http:"):
            raise fault("has a gateway beside a token_url that is plain http", "Write https://, or leave gateway out")
        if (self.client_secret is None) == (self.private_key is None):
            both = "has both client_secret and private_key" if self.private_key else "needs a client_secret"
            raise fault(both, f"Write client_secret, or private_key for private_key_jwt. {REFERENCE}")
        for key in ("key_id", "assertion_audience", "certificate_chain"):
            if getattr(self, key) not in (None, False) and self.private_key is None:
                raise fault(f"has a {key}, which is for a private_key only", "Leave it out, or write private_key")
        if self.grant == "jwt_bearer":
            _signs_itself(self)
        elif self.private_key is not None and self.authentication != "private_key_jwt":
            raise fault(
                "has a private_key, which is used by private_key_jwt only",
                'Write client_authentication = "private_key_jwt", or client_secret in place of private_key',
            )
        elif self.private_key is None and self.authentication == "private_key_jwt":
            raise fault(
                "has client_authentication = private_key_jwt but no private_key",
                'Write private_key = { key_vault = "name" } in place of client_secret',
            )
        return self


def _has_address(auth: OAuth2Auth) -> None:
    """Check that there is a token endpoint (RFC 6749, section 3.2). A provider may have one for each customer."""
    if auth.identity_provider is None:
        if auth.token_url is None:
            known = " or ".join(PROVIDERS)
            raise fault(
                "has neither token_url nor identity_provider",
                f'Write token_url = "https://…", or identity_provider = {known} or {ENTRA}',
            )
        return
    preset = PROVIDERS[auth.identity_provider]
    if not auth.address:
        raise fault(
            f"needs a token_url: each customer of {auth.identity_provider} has one",
            f'Write token_url = "{preset.example}" with your own domain',
        )
    if (urlsplit(auth.address).hostname or "") in preset.elsewhere:
        raise fault(
            "has a token_url that issues no tokens to applications",
            f'Write token_url = "{preset.example}" with your own domain',
        )


def _signs_itself(auth: OAuth2Auth) -> None:
    """Check that only the assertion authenticates the client: it is the grant itself (RFC 7523, section 2.1)."""
    if auth.private_key is None or auth.client_authentication in ("header", "body"):
        raise fault(
            f"is for {auth.identity_provider}, where a service account signs with its private key",
            'Write private_key = { key_vault = "name" }, the e-mail of the service account as client_id, '
            "and neither client_secret nor client_authentication",
        )
    if replaced := {"grant_type", "assertion"}.intersection(auth.parameters):
        raise fault(
            f"has {replaced.pop()} among its parameters, which {auth.identity_provider} decides", "Leave it out"
        )
    if auth.audience or not auth.scopes:
        raise fault(
            f"is for {auth.identity_provider}, where tokens are for scopes", 'Write scopes = ["…"], and no audience'
        )
