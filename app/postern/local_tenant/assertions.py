"""Checks how an application authenticates without a secret: with an assertion signed by its certificate, or with a
token of a managed identity or a cluster (RFC 7523, section 2.2).

Reference: learn.microsoft.com/entra/identity-platform/certificate-credentials, and workload-identity-federation.
"""

import base64
import hmac
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from postern.local_tenant.client_certificates import certificate_in
from postern.local_tenant.directory import Application, Federated
from postern.local_tenant.errors import EntraError
from postern.local_tenant.tenant import EXCHANGE_AUDIENCE, LocalTenant

_ALGORITHMS = ["PS256", "RS256"]
_UNCHECKED: Any = dict.fromkeys(("verify_exp", "verify_nbf", "verify_iat", "verify_aud", "verify_iss"), False)


@dataclass(frozen=True, slots=True)
class Assertions:
    """The check of client assertions at one moment, in seconds since 1970."""

    tenant: LocalTenant
    now: float

    def check(self, application: Application, assertion: str) -> None:
        """Return if the application is authenticated, or raise EntraError."""
        claims = _unverified(assertion)
        if claims.get("iss") in (self.tenant.issuers[1], self.tenant.cluster_issuer):
            self._check_federated(application, assertion, claims)
        else:
            self._check_signed(application, assertion, claims)

    def _check_signed(self, application: Application, assertion: str, claims: dict[str, Any]) -> None:
        """Check the application's own assertion, signed by one of its certificates."""
        if not self._certificate_that_signed(application, assertion):
            raise _refused(700027, "The client assertion has no valid signature: the key was not found.")
        if not claims.get("iss") == claims.get("sub") == application.client_id:
            raise _refused(700021, "The client assertion is another application's.")
        if claims.get("aud") != f"{self.tenant.authority}/{self.tenant.tenant_id}/oauth2/v2.0/token":
            raise _refused(700023, "The client assertion is for another audience than this token endpoint.")
        self._check_times(claims)

    def _check_federated(self, application: Application, assertion: str, claims: dict[str, Any]) -> None:
        """Check another issuer's token."""
        if not any(_verifies(assertion, key.private.public_key(), ["RS256"]) for key in self.tenant.signing_keys):
            raise _refused(700027, "The client assertion has no valid signature: the key was not found.")
        of_tenant = claims["iss"] == self.tenant.issuers[1]
        shown = Federated("tenant" if of_tenant else "cluster", str(claims.get("sub")))
        issuers = {each.issuer for each in application.federated}
        if shown.issuer not in issuers:
            raise _refused(70021, "No federated identity credential of this application has the assertion's issuer.")
        if shown not in application.federated:
            raise _refused(700213, "No federated identity credential of this application has the assertion's subject.")
        if claims.get("aud") not in (EXCHANGE_AUDIENCE, [EXCHANGE_AUDIENCE]):
            raise _refused(700212, "No federated identity credential of this application has the assertion's audience.")
        self._check_times(claims)

    def _check_times(self, claims: dict[str, Any]) -> None:
        begin, end = claims.get("nbf"), claims.get("exp")
        if not isinstance(begin, int) or not isinstance(end, int) or not begin - 300 <= self.now < end:
            raise _refused(700024, "The client assertion is not within its valid time range.")

    def _certificate_that_signed(self, application: Application, assertion: str) -> bool:
        header = jwt.get_unverified_header(assertion)
        for certificate in self._registered(application):
            named = header.get("x5t#S256")
            thumbprint = base64.urlsafe_b64encode(certificate.fingerprint(hashes.SHA256())).decode().rstrip("=")
            if isinstance(named, str) and hmac.compare_digest(named.rstrip("=").encode(), thumbprint.encode()):
                return _verifies(assertion, certificate.public_key(), _ALGORITHMS)
        return False

    def _registered(self, application: Application) -> Iterator[x509.Certificate]:
        """The application's certificates that are valid now."""
        for version in self.tenant.vault.versions(application.certificate_name):
            certificate = certificate_in(version.value, version.content_type) if version.enabled else None
            if certificate is not None and certificate.not_valid_after_utc.timestamp() > self.now:
                yield certificate


def _verifies(assertion: str, key: Any, algorithms: list[str]) -> bool:
    try:
        jwt.decode(assertion, key, algorithms=algorithms, options=_UNCHECKED)
    except (jwt.PyJWTError, ValueError, TypeError):
        return False
    return True


def _unverified(assertion: str) -> dict[str, Any]:
    """The claims, of which the issuer says whose keys must verify the signature. Nothing is decided by them before."""
    try:
        claims: dict[str, Any] = jwt.decode(assertion, options=_UNCHECKED | {"verify_signature": False})
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        raise EntraError(400, "invalid_request", 50027, "The client assertion is not a JWT.") from None
    return claims


def _refused(code: int, description: str) -> EntraError:
    return EntraError(401, "invalid_client", code, description)
