"""Entra's part: discovery, signing keys, and tokens by client credentials (secret, certificate or federated token), by
authorization codes, by refresh tokens and on behalf of a caller. Its pages are in `sign_in_pages.py`.

Reference: learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow and reference-error-codes.
"""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from postern.local_tenant.accounts import check_application, check_endpoint, issuer_of_metadata
from postern.local_tenant.assertions import Assertions
from postern.local_tenant.claims_request import requested
from postern.local_tenant.code_flow import GUID, CodeFlow
from postern.local_tenant.directory import Application
from postern.local_tenant.errors import EntraError, error_document
from postern.local_tenant.on_behalf_of import GRANT_TYPE, OnBehalfOf
from postern.local_tenant.resources import issued_for, knows
from postern.local_tenant.scopes import check_resource
from postern.local_tenant.tenant import LocalTenant
from postern.local_tenant.tokens import LIFETIME
from postern.local_tenant.vault import judge

_FORM = "application/x-www-form-urlencoded"
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_MAX_FORM = 64 * 1024
_DEFAULT = "/.default"
_GRANTS = ("client_credentials", "authorization_code", "refresh_token", GRANT_TYPE)
_OF_PUBLIC_CLIENTS = ("authorization_code", "refresh_token")
_NO_STORE = {"Cache-Control": "no-store, no-cache", "Pragma": "no-cache"}


@dataclass(frozen=True, slots=True)
class Entra:
    """Entra's endpoints for one tenant."""

    tenant: LocalTenant
    clock: Callable[[], float]

    def routes(self) -> list[Route]:
        """Routes under the tenant's id, as in Entra."""
        return [
            Route("/{tenant}/v2.0/.well-known/openid-configuration", self.discovery, methods=["GET"]),
            Route("/{tenant}/discovery/v2.0/keys", self.keys, methods=["GET"]),
            Route("/{tenant}/oauth2/v2.0/token", self.token, methods=["POST"]),
        ]

    async def discovery(self, request: Request) -> JSONResponse:
        """The tenant's metadata (OpenID Connect Discovery, section 4)."""
        return self._answer(request, lambda: self._metadata(_at(request)))

    async def keys(self, request: Request) -> JSONResponse:
        """The tenant's signing keys."""
        return self._answer(request, self.tenant.jwks)

    async def token(self, request: Request) -> JSONResponse:
        """Tokens for an application that authenticates (RFC 6749, sections 4.1.3, 4.4 and 6)."""
        body = await _body(request)
        return self._answer(request, lambda: self._issue(request, body))

    def _answer(self, request: Request, answer: Callable[[], dict[str, Any]]) -> JSONResponse:
        try:
            check_endpoint(request.path_params["tenant"])
            return JSONResponse(answer(), headers=_NO_STORE)
        except EntraError as error:
            return self._error(error)

    def _error(self, error: EntraError) -> JSONResponse:
        document = error_document(error, self.clock(), self.tenant.authority)
        return JSONResponse(document, error.status, headers=_NO_STORE)

    def _metadata(self, named: str) -> dict[str, Any]:
        at = f"{self.tenant.authority}/{named}"
        pages = f"{self.tenant.sign_in_url}/{named}"
        return {
            "issuer": issuer_of_metadata(self.tenant.authority, named),
            "jwks_uri": f"{at}/discovery/v2.0/keys",
            "token_endpoint": f"{at}/oauth2/v2.0/token",
            "authorization_endpoint": f"{pages}/oauth2/v2.0/authorize",
            "end_session_endpoint": f"{pages}/oauth2/v2.0/logout",
            "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt", "client_secret_basic"],
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "scopes_supported": ["openid", "profile", "email", "offline_access"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
        }

    def _issue(self, request: Request, body: bytes | None) -> dict[str, Any]:
        form = _form(request.headers.get("content-type", ""), body)
        grant = _wanted(form, "grant_type")
        if grant not in _GRANTS:
            raise EntraError(400, "unsupported_grant_type", 70003, f"This tenant supports {', '.join(_GRANTS)} only.")
        if grant != "client_credentials" and "origin" in request.headers:
            raise EntraError(400, "invalid_request", 9002326, "A request with an Origin may carry no secret.")
        application = self._authenticated(form, request.headers.getlist("authorization"))
        at = _at(request)
        check_application(application, at)
        if grant == "authorization_code":
            return CodeFlow(self.tenant, self.clock(), at).redeem(application, form)
        if grant == "refresh_token":
            return CodeFlow(self.tenant, self.clock(), at).refresh(application, form)
        if at != self.tenant.tenant_id:
            raise EntraError(400, "invalid_request", 90002, "This grant is supported in the own tenant only.")
        if grant == GRANT_TYPE:
            return OnBehalfOf(self.tenant, self.clock()).exchange(application, form)
        return self._issue_to(application, form)

    def _issue_to(self, application: Application, form: Mapping[str, str]) -> dict[str, Any]:
        """A token for the application itself."""
        resource = audience_of(_wanted(form, "scope"))
        check_resource(form.get("resource"), resource)
        if not knows(self.tenant, resource):
            raise EntraError(400, "invalid_resource", 500011, "This tenant has no resource of that name.")
        audience, version = issued_for(self.tenant, resource)
        claims = self.tenant.claims(application.name, audience=audience, version=version, now=self.clock())
        claims |= requested(form.get("claims")).claims(())  # an application meets no authentication context
        seconds = LIFETIME - 1
        return {
            "token_type": "Bearer",
            "expires_in": seconds,
            "ext_expires_in": seconds,
            "access_token": self.tenant.mint(claims),
        }

    def _authenticated(self, form: Mapping[str, str], authorization: list[str]) -> Application:
        client_id, secret = _client(form, authorization)
        application = self.tenant.directory.application(client_id)
        if application is None:
            raise EntraError(400, "unauthorized_client", 700016, "This tenant has no application with that client id.")
        if application.public and form.get("grant_type") in _OF_PUBLIC_CLIENTS:
            if secret or form.get("client_assertion"):
                raise EntraError(401, "invalid_client", 700025, "The client is public: it may not authenticate.")
        elif not secret and form.get("client_assertion"):
            if form.get("client_assertion_type") != _ASSERTION_TYPE:
                raise EntraError(400, "invalid_request", 900144, "The body has no known 'client_assertion_type'.")
            Assertions(self.tenant, self.clock()).check(application, form["client_assertion"])
        else:
            self._check_secret(application, secret)
        return application

    def _check_secret(self, application: Application, secret: str) -> None:
        if not secret:
            raise EntraError(
                401, "invalid_client", 7000218, "The request has neither client_secret nor client_assertion."
            )
        verdict = judge(self.tenant.vault.versions(application.client_secret_name), secret, self.clock())
        if verdict == "expired":
            raise EntraError(401, "invalid_client", 7000222, "The client secret has expired.")
        if verdict == "wrong":
            raise EntraError(401, "invalid_client", 7000215, "The client secret is not one of this application's.")


def _at(request: Request) -> str:
    """The tenant in the address of a request. Raises EntraError for an unknown one."""
    return check_endpoint(request.path_params["tenant"])


def audience_of(scope: str) -> str:
    """The audience of a client-credentials scope: the text before `/.default`. With a double slash the audience ends
    with a slash."""
    if not scope.endswith(_DEFAULT):
        raise EntraError(400, "invalid_scope", 1002012, "With client credentials the scope has to end with /.default.")
    audience = scope.removesuffix(_DEFAULT)
    if not GUID.fullmatch(audience) and not _is_uri(audience):
        raise EntraError(400, "invalid_scope", 70011, "The scope names no resource, or more than one.")
    return audience


def _is_uri(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return bool(parts.scheme and parts.netloc) and text.isprintable() and " " not in text


async def _body(request: Request) -> bytes | None:
    """The body; None if it is larger than any form of this protocol."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_FORM:
            return None
    return body


def _form(content_type: str, body: bytes | None) -> dict[str, str]:
    if body is None or content_type.partition(";")[0].strip().lower() != _FORM:
        raise EntraError(400, "invalid_request", 90014, f"The body has to be a form ({_FORM}).")
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict")
    except ValueError:
        pairs = []
    form = dict(pairs)
    if len(form) != len(pairs):
        raise EntraError(400, "invalid_request", 90023, "A parameter is in the body more than once.")
    return form


def _wanted(form: Mapping[str, str], name: str) -> str:
    if not form.get(name):
        raise EntraError(400, "invalid_request", 900144, f"The body has no parameter '{name}'.")
    return form[name]


def _client(form: Mapping[str, str], authorization: list[str]) -> tuple[str, str]:
    """Client id and secret, from the body or from Basic (RFC 6749, section 2.3.1). Both together are an error, and so
    is a secret together with an assertion."""
    if form.get("client_assertion") and (authorization or form.get("client_secret")):
        raise EntraError(400, "invalid_request", 90023, "The client authenticates in more than one way.")
    if not authorization:
        return _wanted(form, "client_id"), form.get("client_secret", "")
    scheme, _, encoded = authorization[0].partition(" ")
    if len(authorization) > 1 or scheme.lower() != "basic" or "client_secret" in form:
        raise EntraError(400, "invalid_request", 90023, "The client authenticates in more than one way, or in none.")
    try:
        name, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except ValueError:
        raise EntraError(400, "invalid_request", 90023, "The Basic credentials cannot be read.") from None
    return unquote_plus(name), unquote_plus(secret)
