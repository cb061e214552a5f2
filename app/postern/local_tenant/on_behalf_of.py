"""The on-behalf-of flow at the token endpoint: an application exchanges the token that a person called it with for one
of another API.

Reference: learn.microsoft.com/entra/identity-platform/v2-oauth2-on-behalf-of-flow.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from postern.local_tenant.claims_request import check_met, requested
from postern.local_tenant.directory import Application, Person
from postern.local_tenant.errors import EntraError, error_of
from postern.local_tenant.faults import Part
from postern.local_tenant.resources import knows
from postern.local_tenant.scopes import read_scopes
from postern.local_tenant.tenant import LocalTenant
from postern.local_tenant.tokens import BACKDATED, LIFETIME, claims_of, verify_for_any, version_for

GRANT_TYPE = "urn:ietf:params:oauth:grant-type:jwt-bearer"
STEP_UP = frozenset({50076, 50079})
CLAIMS = '{"access_token":{"capolids":{"essential":true,"values":["7f1c6a3e-0d5b-4b8e-9d3a-5f2a7c1e8b40"]}}}'
"""The claims challenge of a step-up: the conditional access policies that a new token has to satisfy."""


@dataclass(frozen=True, slots=True)
class OnBehalfOf:
    """The exchange at one moment, in seconds since 1970."""

    tenant: LocalTenant
    now: float

    def exchange(self, application: Application, form: Mapping[str, str]) -> dict[str, Any]:
        """A token of the person whose token the assertion is. Raises EntraError."""
        if form.get("requested_token_use") != "on_behalf_of":
            raise EntraError(400, "invalid_request", 900144, "The body has no 'requested_token_use' of on_behalf_of.")
        person, met = self._person(application, form.get("assertion", ""))
        refuse_if_switched_on(self.tenant.faults.on_behalf_of)
        conditions = requested(form.get("claims"))
        check_met(conditions, met, form.get("claims"))
        scopes = read_scopes(form.get("scope", ""))
        if not knows(self.tenant, scopes.audience):
            raise EntraError(400, "invalid_resource", 500011, "This tenant has no resource of that name.")
        version = version_for(scopes.audience)
        claims = claims_of(
            person,
            audience=scopes.audience,
            issued_by=self.tenant.issuers[version - 1],
            tenant_id=self.tenant.tenant_id,
            version=version,
            scopes=scopes.names,
            roles=person.roles if scopes.audience in self.tenant.audiences else (),
            now=int(self.now),
            through=application,
        )
        claims |= conditions.claims(met)
        seconds = LIFETIME - 1
        return {
            "token_type": "Bearer",
            "scope": form.get("scope", ""),
            "expires_in": seconds,
            "ext_expires_in": seconds,
            "access_token": self.tenant.mint(claims),
        }

    def _person(self, application: Application, assertion: str) -> tuple[Person, list[str]]:
        """The person whom the assertion names, if it is a token for this application, and the authentication contexts
        that their sign-in met."""
        claims = verify_for_any(assertion, self.tenant.signing_keys, now=None)
        if claims is None or claims["iss"] not in self.tenant.issuers:
            raise _refused(50013, "The assertion is invalid: it is no token of this tenant.")
        if not claims["nbf"] <= self.now < claims["exp"]:
            raise _refused(500133, "The assertion is not within its valid time range.")
        if claims.get("idtyp") == "app":
            raise _refused(7000114, "The application is not allowed to make application on-behalf-of calls.")
        own = (application.client_id, application.identifier_uri, f"api://{application.client_id}")
        if claims["aud"] not in own:
            raise _refused(500131, "The audience of the assertion is not the application that presents it.")
        people = self.tenant.directory.people.values()
        person = next((person for person in people if person.object_id == claims.get("oid")), None)
        if person is None:
            raise _refused(50034, "There is no such person in this tenant any more.")
        if claims["nbf"] + BACKDATED <= self.tenant.sign_ins.revoked.get(person.object_id, float("-inf")):
            raise _refused(50173, "The grant was revoked: sign in again.")
        return person, claims.get("acrs", [])


def refuse_if_switched_on(part: Part) -> None:
    """Raise the EntraError of a simulated fault, if there is one."""
    if part.counted():
        claims = CLAIMS if part.code in STEP_UP else ""
        text = "This fault was switched on."
        raise EntraError(part.status, error_of(part.code), part.code or 90033, text, claims=claims)


def _refused(code: int, description: str) -> EntraError:
    return EntraError(400, "invalid_grant", code, description)
