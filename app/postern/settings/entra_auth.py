"""The `auth` table of `postern.toml` for a token from Entra."""

import difflib
from typing import Annotated, Literal

from pydantic import BeforeValidator, StrictStr, model_validator

from postern.audiences import wrong_with
from postern.settings.auth_fields import REFERENCE, SecretReference, switch
from postern.settings.auths import VISIBLE, one_of
from postern.settings.presets import POWER_AUTOMATE, POWER_AUTOMATE_AUDIENCES, power_automate_audience
from postern.settings.types import Entry, Guid, Texts, fault

DEFAULT_SCOPE = "/.default"


class EntraAuth(Entry):
    """A token from Entra. If `tenant_id` is None, it is the tenant of the settings. Exactly one of `client_secret`,
    `certificate`, `managed_identity` and `federated` (a managed identity's token authenticates the application) is set,
    and one of `scopes` and `audience`. `client_id` is None for the system-assigned identity only. With
    `certificate_chain` the chain is sent along (`x5c`), for an application that trusts a subject name and issuer.

    `audience` may be a preset's name: `power-automate` (in the installation's cloud) or one of
    POWER_AUTOMATE_AUDIENCES. Loaded settings have the audience itself in its place.
    """

    type: Literal["entra"] = "entra"
    tenant_id: Guid | None = None
    client_id: Guid | None = None
    client_secret: SecretReference | None = None
    certificate: SecretReference | None = None
    certificate_chain: Annotated[bool, BeforeValidator(switch)] = False
    managed_identity: Annotated[bool, BeforeValidator(switch)] = False
    federated: Annotated[bool, BeforeValidator(switch)] = False
    scopes: Texts = ()
    audience: StrictStr = ""

    @model_validator(mode="after")
    def _makes_sense(self) -> "EntraAuth":
        ways = ("client_secret", "certificate", "managed_identity", "federated")
        given = [way for way in ways if getattr(self, way)]
        if len(given) != 1:
            raise fault(
                f"has both {' and '.join(given[:2])}" if given else "does not say how the application authenticates",
                f"Write exactly one of client_secret, certificate, managed_identity = true and federated = true. "
                f"{REFERENCE}",
            )
        if self.client_id is None and not self.managed_identity:
            raise fault(f"needs a client_id beside {given[0]}", "Write the client id of the app registration")
        if self.certificate_chain and self.certificate is None:
            raise fault("has certificate_chain without a certificate", "Write certificate, or leave out the chain")
        if bool(self.scopes) == bool(self.audience):
            raise fault("needs one of scopes and audience", 'Write scopes = ["…/.default"] or audience = "…"')
        if self.audience:
            _is_audience(self.audience)
        else:
            _is_scope(self.scopes)
        return self


def _is_audience(audience: str) -> None:
    if audience in POWER_AUTOMATE_AUDIENCES or audience == POWER_AUTOMATE:
        return
    if not VISIBLE.fullmatch(audience):
        raise fault("has an audience with characters other than visible ASCII", "Write it as the other side shows it")
    if audience.endswith(DEFAULT_SCOPE):
        meant = power_automate_audience(audience.removesuffix(DEFAULT_SCOPE))
        fix = f'Write audience = "{meant}"' if meant else f"Write it as scopes, or leave out {DEFAULT_SCOPE}"
        raise fault("has a scope as its audience", fix)
    wrong, what_to_do = wrong_with(audience)
    if wrong:
        raise fault(f"has an audience that {wrong}", what_to_do)
    meant = power_automate_audience(audience)
    if meant and audience != meant:
        raise fault(
            "has an audience that Power Automate does not accept: it compares exactly, with one slash at the end",
            f'Write audience = "{meant}"',
        )
    if ":" not in audience and difflib.get_close_matches(audience, [POWER_AUTOMATE, *POWER_AUTOMATE_AUDIENCES], n=1):
        raise fault(
            "has an audience that is close to a preset's name",
            one_of([POWER_AUTOMATE, *POWER_AUTOMATE_AUDIENCES], audience),
        )


def _is_scope(scopes: tuple[str, ...]) -> None:
    """The only scope is the resource's identifier and /.default (Microsoft, "OAuth 2.0 client credentials flow")."""
    if not all(scope.endswith(DEFAULT_SCOPE) for scope in scopes):
        raise fault(
            f"has scopes that do not end with {DEFAULT_SCOPE}",
            f'An application requests all that it was granted: write scopes = ["…{DEFAULT_SCOPE}"]',
        )
    if len(scopes) > 1:
        raise fault(
            "has scopes of several resources, but a token is for one",
            "Write one scope here, and a separate entry for each other resource",
        )
    resource = scopes[0].removesuffix(DEFAULT_SCOPE)
    meant = power_automate_audience(resource)
    if meant and resource != meant:
        raise fault(
            "has a scope with a missing or extra slash: Power Automate compares the audience exactly",
            f'Write audience = "{meant}" in place of scopes',
        )
