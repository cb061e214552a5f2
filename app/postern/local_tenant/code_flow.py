"""The authorization code flow at the token endpoint: codes and refresh tokens are exchanged for tokens.

Reference: learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow. Like Entra's, ID tokens from here have
neither `c_hash` nor `at_hash`. Unlike Entra, PKCE is required.
"""

import base64
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from postern.local_tenant.accounts import Account, account
from postern.local_tenant.claims_request import check_met, condition_claims, requested
from postern.local_tenant.directory import Application
from postern.local_tenant.errors import EntraError
from postern.local_tenant.grants import Grant, opened, sealed
from postern.local_tenant.resources import issued_for, knows
from postern.local_tenant.scopes import Scopes, check_resource, read_scopes
from postern.local_tenant.tenant import LocalTenant
from postern.local_tenant.tokens import LIFETIME, claims_of, id_claims_of, issuer

GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class CodeFlow:
    """The exchange at one moment, in seconds since 1970. `at` is the tenant in the address of the endpoint."""

    tenant: LocalTenant
    now: float
    at: str

    def redeem(self, application: Application, form: Mapping[str, str]) -> dict[str, Any]:
        """The tokens for an authorization code (RFC 6749, section 4.1.3; RFC 7636, section 4.6)."""
        code = opened(form.get("code", ""), "code", self.tenant.folder)
        if code is None:
            raise EntraError(400, "invalid_request", 9002313, "The request is malformed: the code is none of ours.")
        if code.client_id != application.client_id:
            raise _refused(70000, "The code was issued to another application.")
        if code.tenant != self.at:
            raise _refused(700005, "The code is redeemed at another tenant's endpoint than it was issued for.")
        if code.has_expired(self.now):
            raise _refused(70008, "The authorization code has expired.")
        if code.redirect_uri != form.get("redirect_uri"):
            raise _refused(500112, "The redirect_uri is not that of the authorization request.")
        if not hmac.compare_digest(challenge_of(form.get("code_verifier", "")).encode(), code.challenge.encode()):
            raise _refused(501481, "The code_verifier does not match the code_challenge of the authorization request.")
        if not self.tenant.sign_ins.use(code, self.now):
            raise _refused(54005, "The authorization code was already redeemed.")
        scopes = read_scopes(code.scope)
        check_resource(form.get("resource"), scopes.audience)
        return (
            self._tokens(code, scopes, form.get("claims"))
            | self._id_token(code, scopes)
            | self._refresh_token(code, scopes)
        )

    def refresh(self, application: Application, form: Mapping[str, str]) -> dict[str, Any]:
        """The tokens for a refresh token. It gets a successor and stays valid, and is bound to the application and the
        person but not to a resource, so that `scope` may name another one."""
        token = opened(form.get("refresh_token", ""), "refresh", self.tenant.folder)
        if token is None:
            raise EntraError(400, "invalid_request", 9002313, "The request is malformed: the token is none of ours.")
        if token.client_id != application.client_id:
            raise _refused(70000, "The refresh token was issued to another application.")
        if token.has_expired(self.now):
            raise _refused(700082, "The refresh token has expired due to inactivity.")
        if self.tenant.sign_ins.is_revoked(token):
            raise _refused(50173, "The grant was revoked: sign in again.")
        self.tenant.refusals.check(self._account(token).person.name, token.at)
        grant = replace(token, scope=form.get("scope") or token.scope)
        scopes = read_scopes(grant.scope)
        check_resource(form.get("resource"), scopes.audience)
        return (
            self._tokens(grant, scopes, form.get("claims"))
            | self._id_token(grant, scopes)
            | self._refresh_token(token, None)
        )

    def _tokens(self, grant: Grant, scopes: Scopes, wanted: str | None) -> dict[str, Any]:
        """The access token of a grant. A context that its sign-in did not meet needs another sign-in."""
        conditions = requested(wanted)
        check_met(conditions, grant.contexts.split(), wanted)
        if not knows(self.tenant, scopes.audience):
            raise EntraError(400, "invalid_resource", 500011, "This tenant has no resource of that name.")
        mine = self._account(grant)
        person = mine.person
        audience, version = issued_for(self.tenant, scopes.audience)
        claims = claims_of(
            person,
            audience=audience,
            issued_by=issuer(version, self.tenant.authority, mine.tenant_id),
            tenant_id=mine.tenant_id,
            version=version,
            scopes=scopes.names,
            roles=person.roles if audience in self.tenant.audiences else (),
            now=int(self.now),
            through=self.tenant.directory.application(grant.client_id),
        )
        claims["auth_time"] = grant.at
        claims |= condition_claims(grant.contexts.split(), (*grant.capabilities.split(), *conditions.capabilities))
        seconds = LIFETIME - 1
        return {
            "token_type": "Bearer",
            "scope": " ".join(scope for scope in grant.scope.split() if scope != "offline_access"),  # as at Entra
            "expires_in": seconds,
            "ext_expires_in": seconds,
            "access_token": self.tenant.mint(claims),
        }

    def _id_token(self, grant: Grant, scopes: Scopes) -> dict[str, Any]:
        if "openid" not in scopes.of_openid:
            return {}
        mine = self._account(grant)
        claims = id_claims_of(
            mine.person,
            client_id=grant.client_id,
            issued_by=issuer(2, self.tenant.authority, mine.tenant_id),
            tenant_id=mine.tenant_id,
            nonce=grant.nonce,
            scopes=scopes.of_openid,
            now=int(self.now),
        )
        return {"id_token": self.tenant.mint(claims)}

    def _refresh_token(self, grant: Grant, scopes: Scopes | None) -> dict[str, Any]:
        """A refresh token, if the scopes of the code have `offline_access`; the successor of one (None) always."""
        if scopes is not None and "offline_access" not in scopes.of_openid:
            return {}
        of_sign_in = Grant("refresh", grant.person, grant.client_id, grant.scope, self.now)
        token = replace(of_sign_in, contexts=grant.contexts, capabilities=grant.capabilities)
        return {"refresh_token": sealed(token, self.tenant.folder)}

    def _account(self, grant: Grant) -> Account:
        """The person's account at this endpoint. Refresh tokens are bound to no tenant."""
        people = self.tenant.directory.people.values()
        found = next((person for person in people if person.object_id == grant.person), None)
        if found is None:
            raise _refused(50034, "There is no such person in this tenant any more.")
        there = account(found, self.at)
        if there is None:
            raise _refused(50020, "The person has no account in this tenant.")
        return there


def challenge_of(verifier: str) -> str:
    """The PKCE challenge of a verifier (RFC 7636, section 4.2: S256)."""
    return base64.urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def _refused(code: int, description: str) -> EntraError:
    return EntraError(400, "invalid_grant", code, description)
