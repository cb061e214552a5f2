"""The `auth` table of `postern.toml` for a token of the run's caller: the on-behalf-of flow of Entra."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, model_validator

from postern.settings.auth_fields import REFERENCE, SecretReference, switch
from postern.settings.auths import VISIBLE
from postern.settings.entra_auth import DEFAULT_SCOPE
from postern.settings.presets import power_automate_audience
from postern.settings.types import Entry, Guid, Texts, fault

_OF_OPENID = frozenset({"openid", "profile", "email", "offline_access"})
_NOT_HERE: Mapping[str, str] = {
    "audience": 'Write scopes = ["…/.default"] in its place',
    "managed_identity": "Write federated = true: a managed identity then authenticates the application",
}
_EXAMPLE = 'Write scopes = ["https://graph.microsoft.com/.default"], or the names of permissions of one API'


class OnBehalfOfAuth(Entry):
    """A token for the caller of the run, which the caller's own access token is exchanged for (Microsoft, "OAuth 2.0
    On-Behalf-Of flow"). `client_id` is the application that the caller's token is for; if it is None, it is
    POSTERN_CLIENT_ID. Exactly one of `client_secret`, `certificate` and `federated` is set. `tenant_id` can only be the
    tenant of the settings. `scopes` are of one API: all that the application was granted (`…/.default`), or some of its
    permissions by name."""

    type: Literal["entra"] = "entra"
    on_behalf_of: Annotated[bool, BeforeValidator(switch)]
    tenant_id: Guid | None = None
    client_id: Guid | None = None
    client_secret: SecretReference | None = None
    certificate: SecretReference | None = None
    certificate_chain: Annotated[bool, BeforeValidator(switch)] = False
    federated: Annotated[bool, BeforeValidator(switch)] = False
    scopes: Texts = ()

    @property
    def audience(self) -> str:
        """The API that the tokens are for."""
        return self.scopes[0].rpartition("/")[0]

    @model_validator(mode="before")
    @classmethod
    def _has_its_own_keys(cls, value: Any) -> Any:
        wrong = next((key for key in _NOT_HERE if isinstance(value, dict) and value.get(key)), None)
        if wrong:
            raise fault(f"has {wrong}, which is not for on_behalf_of", _NOT_HERE[wrong])
        return value

    @model_validator(mode="after")
    def _makes_sense(self) -> "OnBehalfOfAuth":
        ways = ("client_secret", "certificate", "federated")
        given = [way for way in ways if getattr(self, way)]
        if len(given) != 1:
            raise fault(
                f"has both {' and '.join(given[:2])}" if given else "does not say how the application authenticates",
                f"Write exactly one of client_secret, certificate and federated = true. {REFERENCE}",
            )
        if self.certificate_chain and self.certificate is None:
            raise fault("has certificate_chain without a certificate", "Write certificate, or leave out the chain")
        _are_of_one_api(self.scopes)
        return self


def _are_of_one_api(scopes: tuple[str, ...]) -> None:
    """Check the scopes (Microsoft, "Scopes and permissions in the Microsoft identity platform")."""
    if not scopes:
        raise fault("needs scopes", _EXAMPLE)
    if not all(VISIBLE.fullmatch(scope) for scope in scopes):
        raise fault("has a scope with characters other than visible ASCII", "Write it as the API's page shows it")
    if of_openid := _OF_OPENID.intersection(scopes):
        raise fault(f"has the scope {min(of_openid)}, which is no permission of an API", "Leave it out")
    parts = [scope.rpartition("/") for scope in scopes]
    if not all(api and name for api, _, name in parts):
        raise fault("has a scope that does not name its API", _EXAMPLE)
    if len({api for api, _, _ in parts}) > 1:
        raise fault(
            "has scopes of several APIs, but a token is for one",
            "Write the scopes of one API here, and a separate entry for each other API",
        )
    if len(scopes) > 1 and any(scope.endswith(DEFAULT_SCOPE) for scope in scopes):
        raise fault(
            f"has {DEFAULT_SCOPE} beside names of permissions",
            f"Write {DEFAULT_SCOPE} alone, which is all that was granted, or the names alone",
        )
    meant = power_automate_audience(parts[0][0])
    if meant and parts[0][0] != meant:
        raise fault(
            "has a scope with a missing or extra slash: Power Automate compares the audience exactly",
            f'Write scopes = ["{meant}{DEFAULT_SCOPE}"]',
        )
