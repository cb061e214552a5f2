"""The providers and audiences that entries of `postern.toml` may use by name, as data.

Entra is not a provider here: its address comes from POSTERN_AUTHORITY, or from POSTERN_CLOUD by `clouds.AUTHORITIES`.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

ENTRA = "entra"

ClientAuthentication = Literal["header", "body", "private_key_jwt"]
Grant = Literal["client_credentials", "jwt_bearer"]


class Provider(NamedTuple):
    """How one provider issues tokens to applications. `token_url` is None if each customer has its own; `example` is
    such an address. `elsewhere` has hosts that look right but issue no tokens to applications. `instead` says what to
    write if the provider issues no tokens to applications at all."""

    token_url: str | None
    client_authentication: ClientAuthentication
    grant: Grant = "client_credentials"
    example: str = ""
    elsewhere: tuple[str, ...] = ()
    instead: str = ""


PROVIDERS: Mapping[str, Provider] = {
    # GitHub, "Authorizing OAuth apps": client id and secret in the body, JSON only if Accept requests it, errors with
    # status 200. For an application without a user GitHub issues tokens only by its own protocol ("Generating an
    # installation access token for a GitHub App").
    "github": Provider(
        "https://github.com/login/oauth/access_token",
        "body",
        instead='Write type = "api_key", header = "Authorization" and a secret of "Bearer " and a fine-grained token: '
        "GitHub's token endpoint does not support applications without a user",
    ),
    # Google, "Using OAuth 2.0 for Server to Server Applications": a service account signs an assertion (RFC 7523,
    # section 2.1). Its e-mail is the client id.
    "google": Provider("https://oauth2.googleapis.com/token", "private_key_jwt", "jwt_bearer"),
    # Salesforce, "OAuth 2.0 Client Credentials Flow for Server-to-Server Integration": only at the customer's domain.
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
"""From Microsoft, "Add OAuth authentication for HTTP request triggers". They are compared exactly, with the slash."""

POWER_AUTOMATE_OF_CLOUD: Mapping[str, str] = {
    "public": "power-automate-public",
    "usgov": "power-automate-gcc-high",
    "china": "power-automate-china",
}
"""The meaning of `power-automate` by POSTERN_CLOUD. GCC (in public) and DoD (in usgov) must be named explicitly."""


def audience_in(cloud: str, audience: str) -> str:
    """The audience of a preset in this cloud. Any other audience is returned unchanged."""
    name = POWER_AUTOMATE_OF_CLOUD[cloud] if audience == POWER_AUTOMATE else audience
    return POWER_AUTOMATE_AUDIENCES.get(name, audience)


def power_automate_audience(text: str) -> str | None:
    """Power Automate's audience that equals the text, ignoring slashes at the end and case; None if there is none."""
    meant = text.rstrip("/").lower() + "/"
    return meant if meant in POWER_AUTOMATE_AUDIENCES.values() else None
