"""Providers and audiences that entries of `postern.toml` may name instead of writing them out, as data.

Entra is no provider here: its address follows from POSTERN_AUTHORITY, or from POSTERN_CLOUD by `clouds.AUTHORITIES`.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

ENTRA = "entra"

ClientAuthentication = Literal["header", "body", "private_key_jwt"]
Grant = Literal["client_credentials", "jwt_bearer"]


class Provider(NamedTuple):
    """How one provider gives tokens to applications. `token_url` is None where each customer has one of its own;
    `example` is such an address. `elsewhere` has hosts that look right and answer no application. `instead` says what
    to write where the provider refuses applications altogether."""

    token_url: str | None
    client_authentication: ClientAuthentication
    grant: Grant = "client_credentials"
    example: str = ""
    elsewhere: tuple[str, ...] = ()
    instead: str = ""


PROVIDERS: Mapping[str, Provider] = {
    # GitHub, "Authorizing OAuth apps": client id and secret in the body, JSON only where Accept asks for it, errors
    # with status 200. To an application without a user GitHub gives tokens by a protocol of its own only ("Generating
    # an installation access token for a GitHub App").
    "github": Provider(
        "https://github.com/login/oauth/access_token",
        "body",
        instead='Write type = "api_key", header = "Authorization" and a secret of "Bearer " and a fine-grained token: '
        "GitHub's token endpoint knows no applications without a user",
    ),
    # Google, "Using OAuth 2.0 for Server to Server Applications": a service account signs an assertion (RFC 7523,
    # section 2.1). Its e-mail is the client id.
    "google": Provider("https://oauth2.googleapis.com/token", "private_key_jwt", "jwt_bearer"),
    # Salesforce, "OAuth 2.0 Client Credentials Flow for Server-to-Server Integration": at the customer's domain only.
    "salesforce": Provider(
        None,
        "body",
        example="https://DOMAIN.my.salesforce.com/services/oauth2/token",
        elsewhere=("login.salesforce.com", "test.salesforce.com"),
    ),
}

POWER_AUTOMATE = "power-automate"
"""The audience of Power Automate in the cloud of the installation (POSTERN_CLOUD)."""

POWER_AUTOMATE_AUDIENCES: Mapping[str, str] = {
    "power-automate-public": "https://service.flow.microsoft.com/",
    "power-automate-gcc": "https://gov.service.flow.microsoft.us/",
    "power-automate-gcc-high": "https://high.service.flow.microsoft.us/",
    "power-automate-dod": "https://service.flow.appsplatform.us/",
    "power-automate-china": "https://service.powerautomate.cn/",
}
"""Microsoft, "Add OAuth authentication for HTTP request triggers". Compared exactly, the slash at the end included."""

POWER_AUTOMATE_OF_CLOUD: Mapping[str, str] = {
    "public": "power-automate-public",
    "usgov": "power-automate-gcc-high",
    "china": "power-automate-china",
}
"""What `power-automate` means by POSTERN_CLOUD. GCC is a part of the public cloud, DoD one of usgov: name them."""


def audience_in(cloud: str, audience: str) -> str:
    """The audience that is meant: what a preset stands for in this cloud, and anything else as it is."""
    name = POWER_AUTOMATE_OF_CLOUD[cloud] if audience == POWER_AUTOMATE else audience
    return POWER_AUTOMATE_AUDIENCES.get(name, audience)


def power_automate_audience(text: str) -> str | None:
    """The audience of Power Automate that this is, but for slashes at its end and upper case; None where it is none."""
    meant = text.rstrip("/").lower() + "/"
    return meant if meant in POWER_AUTOMATE_AUDIENCES.values() else None
