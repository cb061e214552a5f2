"""Sends a person's browser to a provider and exchanges the code that it comes back with (RFC 6749, section 4.1, with
PKCE), for signing in and for consent.

Nothing secret is kept for an authorization request: the browser keeps one random secret, and the request's PKCE
verifier and nonce are HMACs of it over the `state`. Who has the database, or the URL of a request, has neither.
Authlib's pure functions make the URL and the form. It is imported by the first request, because most servers need it
for nothing else.
"""

import asyncio
import base64
import hmac
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any
from urllib.parse import quote_plus

from postern.browser_secrets import is_secret
from postern.connections.auth.entra_errors import TokenDetails
from postern.connections.auth.entra_token_request import deadline
from postern.connections.auth.federated import federated_assertion
from postern.connections.auth.sign_in_context import SignInContext
from postern.connections.auth.token_request import FORM, TokenRequest
from postern.connections.auth.token_response import LATER, Answer, TokenFault, members, read_token
from postern.connections.unreached import remedy
from postern.http_client import URL, AsyncClient, HTTPError, InvalidURL

SECONDS = 15.0
"""How long the exchange of a code may take: a person waits for it."""
MAX_ANSWER_BYTES = 131_072

_AADSTS = re.compile(r"AADSTS([0-9]{3,9})", re.ASCII)
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_NOTHING: Mapping[str, str] = MappingProxyType({})
_TEXT = re.compile(r"[\x21-\x7e]+")
_FIXES: Mapping[str, str] = {
    "invalid_grant": "Start again: the code was used before, has expired, or is another request's",
    "invalid_client": "Correct the client id or its secret, or the federated credential of the app registration",
    "unauthorized_client": "Compare the client id with the app registration",
}


@dataclass(frozen=True, slots=True)
class ClientProof:
    """How the application authenticates at the token endpoint: by its secret, or by an assertion (a token of its
    federated identity). `in_header`: the secret is sent by Basic, not in the body."""

    client_id: str
    secret: str = field(default="", repr=False)
    assertion: str = field(default="", repr=False)
    in_header: bool = False

    def __post_init__(self) -> None:
        if bool(self.secret) == bool(self.assertion):
            raise ValueError("an application authenticates by a secret or by an assertion, and not by both")


@dataclass(frozen=True, slots=True)
class Exchanged:
    """What a code was exchanged for; "" for what the provider did not send. `seconds` from now the access token is
    valid. `scope` is what was granted, if it differs from what was requested."""

    access_token: str = field(repr=False)
    seconds: float
    id_token: str = field(default="", repr=False)
    refresh_token: str = field(default="", repr=False)
    scope: str = ""


class ExchangeFault(Exception):
    """There are no tokens. `wrong` is a predicate of the provider and `fix` a sentence without its full stop. `code` is
    the `error` of OAuth 2.0, by which a program may act. `aadsts` are Entra's numbers, for showing only."""

    def __init__(self, wrong: str, fix: str, code: str = "", aadsts: tuple[int, ...] = ()) -> None:
        super().__init__(wrong)
        self.wrong = wrong
        self.fix = fix
        self.code = code
        self.aadsts = aadsts


def verifier_of(browser_secret: str, state: str) -> str:
    """The PKCE verifier of a request: 43 characters (RFC 7636, section 4.1)."""
    return _derived(browser_secret, "verifier", state)


def nonce_of(browser_secret: str, state: str) -> str:
    """The nonce of a request, which the ID token repeats."""
    return _derived(browser_secret, "nonce", state)


def authorization_url(
    endpoint: str,
    client_id: str,
    redirect_uri: str,
    scopes: Iterable[str],
    state: str,
    browser_secret: str,
    more: Mapping[str, str] = _NOTHING,
) -> str:
    """The URL to send the browser to. `more` are parameters of the provider, and cannot replace ours. Raises
    ValueError if `state` or secret are not those of `browser_secrets`."""
    from authlib.oauth2.rfc6749.parameters import prepare_grant_uri  # type: ignore[import-untyped]
    from authlib.oauth2.rfc7636 import create_s256_code_challenge  # type: ignore[import-untyped]

    scope = " ".join(scopes)
    ours = {
        "response_mode": "query",  # the cookie is Lax: browsers do not send it with a form of another site
        "code_challenge": create_s256_code_challenge(verifier_of(browser_secret, state)),
        "code_challenge_method": "S256",
    }
    if "openid" in scope.split():
        ours["nonce"] = nonce_of(browser_secret, state)
    reserved = {
        *ours,
        "nonce",
        "client_id",
        "redirect_uri",
        "response_type",
        "scope",
        "state",
        "request",
        "request_uri",
    }
    further = {name: value for name, value in more.items() if name not in reserved}
    return str(prepare_grant_uri(endpoint, client_id, "code", redirect_uri, scope, state, **ours, **further))


def code_request(
    endpoint: str, redirect_uri: str, proof: ClientProof, code: str, state: str, browser_secret: str
) -> TokenRequest:
    """The request that exchanges a code (RFC 6749, section 4.1.3; RFC 7636, section 4.5). Raises ValueError as
    `authorization_url` does, and for a code that no provider sends."""
    from authlib.oauth2.rfc6749.parameters import prepare_token_request

    if not _TEXT.fullmatch(code):
        raise ValueError("not an authorization code")
    verifier = verifier_of(browser_secret, state)
    body = prepare_token_request("authorization_code", redirect_uri=redirect_uri, code=code, code_verifier=verifier)
    return authenticated(endpoint, body, proof)


def authenticated(endpoint: str, body: str, proof: ClientProof) -> TokenRequest:
    """A POST of this form, with the proof of the client (RFC 6749, section 2.3.1)."""
    from authlib.common.urls import add_params_to_qs  # type: ignore[import-untyped]
    from authlib.oauth2.auth import ClientAuth  # type: ignore[import-untyped]

    headers = {"Accept": "application/json", "Accept-Encoding": "identity", "Content-Type": FORM}
    if proof.assertion:
        asserted = [("client_assertion_type", _ASSERTION_TYPE), ("client_assertion", proof.assertion)]
        return TokenRequest(endpoint, headers, add_params_to_qs(body, [("client_id", proof.client_id), *asserted]))
    if proof.in_header:
        # Both are form-encoded before they are joined (RFC 6749, section 2.3.1). Authlib leaves that to its caller.
        client = ClientAuth(quote_plus(proof.client_id), quote_plus(proof.secret), "client_secret_basic")
    else:
        client = ClientAuth(proof.client_id, proof.secret, "client_secret_post")
    return TokenRequest(*client.prepare("POST", endpoint, headers, body))


async def federated_proof(entry: str, client_id: str, around: SignInContext) -> ClientProof:
    """The proof by the federated identity that `entra` entries use. `entry` names in a fault what needs it. Raises
    ConnectionFault."""
    details = TokenDetails(
        way="application",
        authority=around.authority,
        tenant_id=around.tenant_id or "",
        client_id=client_id,
        scope="openid",
        ca_bundle=str(around.ca_bundle or ""),
        endpoint=bool(os.environ.get("IDENTITY_ENDPOINT")),
    )
    return ClientProof(client_id, assertion=await federated_assertion(entry, around, details, deadline()))


async def exchange(http: AsyncClient, request: TokenRequest, seconds: float = SECONDS) -> Exchanged:
    """Send the request, once: a code may be used once only. No redirect is followed. Raises ExchangeFault."""
    try:
        async with asyncio.timeout(seconds):
            answer = await _send(http, request)
    except TimeoutError:
        raise ExchangeFault(f"did not respond within {seconds:g} s", LATER) from None
    except (HTTPError, InvalidURL, OSError, ValueError) as error:
        fault = ExchangeFault(f"cannot be reached ({type(error).__name__})", remedy(error) or LATER)
    else:
        return read_exchanged(answer)
    raise fault  # outside of the handler: the client's error has the request, and so the secret, in its context


def read_exchanged(answer: Answer) -> Exchanged:
    """The tokens in a response. Pure. Raises ExchangeFault."""
    document = members(answer.body)
    try:
        token = read_token(answer)
    except TokenFault as error:
        fix = _FIXES.get(error.code) or (error.fix if error.fix == LATER else "See the provider's log for the reason")
        fault = ExchangeFault(error.wrong, fix, error.code, _numbers(document))
    else:
        names = ("id_token", "refresh_token", "scope")
        id_token, refresh_token, scope = [_text(document.get(name)) for name in names]
        return Exchanged(token.value, token.seconds, id_token, refresh_token, scope)
    raise fault


async def _send(http: AsyncClient, sent: TokenRequest) -> Answer:
    request = http.build_request("POST", URL(sent.url), content=sent.body, headers=sent.headers)
    request.headers.pop("Cookie", None)
    response = await http.send(request, stream=True, auth=None, follow_redirects=False)
    try:
        body = bytearray()
        async for part in response.aiter_raw():
            body += part
            if len(body) > MAX_ANSWER_BYTES:
                raise ExchangeFault(f"sent more than {MAX_ANSWER_BYTES} bytes", "Check that it is a token endpoint")
    finally:
        await response.aclose()
    return Answer(response.status_code, bytes(body))


def _derived(browser_secret: str, purpose: str, state: str) -> str:
    """An HMAC-SHA256 of the state under the browser's secret, one for each purpose, in base64url."""
    if not is_secret(browser_secret) or not is_secret(state):
        raise ValueError("neither state nor secret of an authorization request")
    made = hmac.digest(browser_secret.encode(), f"{purpose} {state}".encode(), "sha256")
    return base64.urlsafe_b64encode(made).rstrip(b"=").decode()


def _numbers(document: Mapping[str, Any]) -> tuple[int, ...]:
    """Entra's error numbers, of all its text the only part that is passed on."""
    description = document.get("error_description")
    return tuple(map(int, _AADSTS.findall(description[:2000])[:3])) if isinstance(description, str) else ()


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
