"""The providers at which people can connect something by name, as data.

Entra has no addresses here: they come from POSTERN_AUTHORITY, or from POSTERN_CLOUD by `clouds.AUTHORITIES`, and the
tenant of the entry.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

from postern.settings.presets import ENTRA
from postern.settings.types import Table

Account = Literal["", "id_token", "github", "salesforce", "facebook"]
Revocation = Literal["", "rfc7009", "github", "facebook"]

OWN_PARAMETERS = frozenset(
    {
        "client_id",
        "client_secret",
        "client_assertion",
        "client_assertion_type",
        "code_challenge",
        "code_challenge_method",
        "code_verifier",
        "claims",
        "nonce",
        "redirect_uri",
        "request",
        "request_uri",
        "response_mode",
        "response_type",
        "scope",
        "state",
    }
)
"""The parameters of an authorization request that Postern sets, or that would replace them."""


class GrantPreset(NamedTuple):
    """How people connect something at one provider. `account` says where the provider tells whose account it is, and
    `account_url` is the address for that. `revocation` is how a grant is ended at `revocation_url`. `issuer` is that of
    its ID tokens. `identity_scopes` are requested in any case, because they tell whose account it is. With `scoped` it
    takes no request without scopes. `own_urls`: customers have addresses of their own, which the entry may name.
    `domains`: the response names the base URL of the API, which must be below one of these (`instance_url`)."""

    authorization_url: str = ""
    token_url: str = ""
    authentication: Literal["header", "body"] = "header"
    parameters: Mapping[str, str] = Table()
    account: Account = ""
    account_url: str = ""
    revocation: Revocation = ""
    revocation_url: str = ""
    issuer: str = ""
    identity_scopes: tuple[str, ...] = ()
    scoped: bool = False
    own_urls: bool = False
    domains: tuple[str, ...] = ()


GRANT_PRESETS: Mapping[str, GrantPreset] = {
    # Microsoft, "Microsoft identity platform and OAuth 2.0 authorization code flow": `scope` is required. `oid` and
    # `tid` of the ID token are the account, for which `profile` is needed ("ID token claims reference"). There is no
    # endpoint that ends the tokens of one application.
    ENTRA: GrantPreset(authentication="body", account="id_token", identity_scopes=("openid", "profile"), scoped=True),
    # GitHub, "Generating a user access token for a GitHub App" and "Authorizing OAuth apps": client id and secret are
    # in the body. "REST API endpoints for users": `GET /user`. "REST API endpoints for OAuth authorizations": `DELETE
    # /applications/{client_id}/grant` with Basic. A GitHub App ignores scopes: its permissions are in its registration.
    "github": GrantPreset(
        "https://github.com/login/oauth/authorize",
        "https://github.com/login/oauth/access_token",
        "body",
        account="github",
        account_url="https://api.github.com/user",
        revocation="github",
        revocation_url="https://api.github.com/applications/{client_id}/grant",
    ),
    # Google, "Using OAuth 2.0 for Web Server Applications": a refresh token is issued with `access_type=offline` only,
    # and again only with `prompt=consent`. The addresses and the issuer are those of
    # https://accounts.google.com/.well-known/openid-configuration.
    "google": GrantPreset(
        "https://accounts.google.com/o/oauth2/v2/auth",
        "https://oauth2.googleapis.com/token",
        "body",
        parameters=Table({"access_type": "offline", "prompt": "consent"}),
        account="id_token",
        revocation="rfc7009",
        revocation_url="https://oauth2.googleapis.com/revoke",
        issuer="https://accounts.google.com",
        identity_scopes=("openid", "email"),
        scoped=True,
    ),
    # Salesforce, "OAuth 2.0 Web Server Flow for Web App Integration": `instance_url` of the response is the base URL of
    # the API, and `id` an address that ends with the ids of organization and user. "Revoke OAuth Tokens". "My Domain
    # URL Formats" has the domains.
    "salesforce": GrantPreset(
        "https://login.salesforce.com/services/oauth2/authorize",
        "https://login.salesforce.com/services/oauth2/token",
        "body",
        account="salesforce",
        revocation="rfc7009",
        revocation_url="https://login.salesforce.com/services/oauth2/revoke",
        own_urls=True,
        domains=("salesforce.com", "force.com", "salesforce.mil"),
    ),
    # Meta, "Manually Build a Login Flow" and "Access Tokens": there are no refresh tokens. `DELETE /me/permissions`
    # ends the grant ("Permissions", Graph API).
    "facebook": GrantPreset(
        "https://www.facebook.com/dialog/oauth",
        "https://graph.facebook.com/oauth/access_token",
        "body",
        account="facebook",
        account_url="https://graph.facebook.com/me?fields=id,name",
        revocation="facebook",
        revocation_url="https://graph.facebook.com/me/permissions",
    ),
}

PLAIN = GrantPreset()
"""A provider by its addresses or its issuer. RFC 6749, section 2.3.1: each supports Basic."""
