"""Builds a token request from an entry and its secret with Authlib. It sends nothing.

Authlib is imported by the first request, because most servers have no entry that needs it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from time import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus

from postern.connections.auth.private_keys import KeyFault, private_key
from postern.settings import OAuth2Auth

if TYPE_CHECKING:
    from authlib.oauth2.auth import ClientAuth  # type: ignore[import-untyped]

ASSERTION_SECONDS = 300
"""How long an assertion is valid. It is used at once, but clocks may differ."""
FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """A POST to the token endpoint. Each part may hold a secret."""

    url: str = field(repr=False)
    headers: dict[str, str] = field(repr=False)
    body: str = field(repr=False)


def token_request(auth: OAuth2Auth, secret: str, more: Mapping[str, str] | None = None) -> TokenRequest:
    """The token request by client credentials (RFC 6749, section 4.4) or with an assertion as the grant (RFC 7523,
    section 2.1). `more` are the further parameters of the entry with their values. Raises KeyFault."""
    from authlib.common.urls import add_params_to_qs  # type: ignore[import-untyped]
    from authlib.oauth2.rfc6749.parameters import prepare_token_request  # type: ignore[import-untyped]

    headers = {"Accept": "application/json", "Accept-Encoding": "identity", "Content-Type": FORM}
    further = [("resource", each) for each in auth.resource]  # RFC 8707 allows several
    further += [(name, value) for name, value in (more or {}).items() if name != "grant_type"]
    if auth.grant == "jwt_bearer":
        return TokenRequest(auth.address, headers, add_params_to_qs(_asserted(auth, secret), further))
    grant = (more or {}).get("grant_type", "client_credentials")
    body = prepare_token_request(grant, scope=" ".join(auth.scopes), audience=auth.audience)
    body = add_params_to_qs(body, further)
    url, headers, body = _client_auth(auth, secret).prepare("POST", auth.address, headers, body)
    return TokenRequest(url, headers, body)


def _client_auth(auth: OAuth2Auth, secret: str) -> "ClientAuth":
    from authlib.oauth2.auth import ClientAuth
    from authlib.oauth2.rfc7523 import PrivateKeyJWT  # type: ignore[import-untyped]

    if auth.authentication == "private_key_jwt":
        key, algorithm = private_key(secret)
        # Authlib writes the assertion's id into these claims, so each request needs its own.
        assertion = PrivateKeyJWT(
            token_endpoint=auth.assertion_audience,
            claims={"exp": int(time()) + ASSERTION_SECONDS},
            headers=_names_of_key(auth, secret),
            alg=algorithm,
        )
        return ClientAuth(auth.client_id, key, assertion)
    if auth.authentication == "body":
        return ClientAuth(auth.client_id, secret, "client_secret_post")
    # Both are form-encoded before they are joined (RFC 6749, section 2.3.1). Authlib leaves that to its caller.
    return ClientAuth(quote_plus(auth.client_id), quote_plus(secret), "client_secret_basic")


def _asserted(auth: OAuth2Auth, secret: str) -> str:
    from authlib.oauth2.rfc6749.parameters import prepare_token_request
    from authlib.oauth2.rfc7523 import JWTBearerGrant

    key, algorithm = private_key(secret)
    assertion = JWTBearerGrant.sign(
        key,
        issuer=auth.client_id,
        audience=auth.assertion_audience or auth.address,
        claims={"scope": " ".join(auth.scopes)},
        header=_names_of_key(auth, secret),
        alg=algorithm,
        expires_in=ASSERTION_SECONDS,
    )
    return str(prepare_token_request(JWTBearerGrant.GRANT_TYPE, assertion=assertion))


def _names_of_key(auth: OAuth2Auth, secret: str) -> dict[str, Any]:
    """The header of an assertion: which of the client's keys signs it (RFC 7515, sections 4.1.4 and 4.1.6)."""
    names: dict[str, Any] = {"kid": auth.key_id} if auth.key_id is not None else {}
    if auth.certificate_chain:
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        from postern.connections.auth.certificate_chain import chain_headers, pem_chain, sha1_header

        chain = pem_chain(secret, load_pem_private_key(secret.encode(), None))
        if not chain:
            raise KeyFault("has no certificate of its private key, and certificate_chain sends it along")
        names |= chain_headers(chain) | sha1_header(chain)
    return names
