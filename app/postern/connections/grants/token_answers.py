"""Reads a token endpoint's response to a code or a refresh token. Pure. Nothing of the other side's text is passed on
but tokens, scopes, ids, and error codes that are known.

Reference: RFC 6749, sections 5.1 and 5.2; GitHub, "Refreshing user access tokens" (errors with status 200).
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from postern.connections.auth.token_response import CLIENT_REFUSED, OTHER, Answer, TokenFault, members, read_token
from postern.connections.grants.provider import RefusedByProvider
from postern.connections.grants.reasons import OF_ERROR, REASONS, reason_of
from postern.journal.grants import LONGEST

LONGEST_SECONDS = 10 * 365 * 86_400.0
"""A longer lifetime is taken as this one."""
MOST_SCOPES = 500
"""Further scopes are left out: the tokens beside them are worth more, and a row has a limit (`journal.grants`)."""
MOST_CLAIMS_BYTES = 8_192
"""A challenge that is longer is left out: it would not fit into the URL of an authorization request."""

INVALID_GRANT = "invalid_grant"
INTERACTION_REQUIRED = "interaction_required"

_SAME_AS: Mapping[str, str] = {
    # GitHub, "Troubleshooting OAuth app access token request errors" and "Refreshing user access tokens"
    "bad_verification_code": INVALID_GRANT,
    "bad_refresh_token": INVALID_GRANT,
    "incorrect_client_credentials": CLIENT_REFUSED,
    "redirect_uri_mismatch": "invalid_request",
    # Salesforce, "OAuth 2.0 Authorization Errors"
    "invalid_client_id": CLIENT_REFUSED,
    "invalid_client_credentials": CLIENT_REFUSED,
    # OpenID Connect Core 1.0, section 3.1.2.6, and Entra: a person has to sign in
    "login_required": INTERACTION_REQUIRED,
    "consent_required": INTERACTION_REQUIRED,
    "account_selection_required": INTERACTION_REQUIRED,
}
_KNOWN = frozenset(
    {
        "access_denied",
        "invalid_request",
        INTERACTION_REQUIRED,
        "invalid_scope",
        "invalid_target",
        INVALID_GRANT,
        CLIENT_REFUSED,
        "unauthorized_client",
        "unsupported_grant_type",
    }
)
_PASSING = frozenset({"server_error", "temporarily_unavailable", "slow_down"})
_META_ENDED = 190
"""Meta, "Handling Errors" of the Graph API: the token has expired or was revoked. Its `error` is an object."""

_AADSTS = re.compile(r"AADSTS([0-9]{3,9})", re.ASCII)
_SCOPE = re.compile(r"[\x21\x23-\x2b\x2d-\x5b\x5d-\x7e]+")
"""RFC 6749, section 3.3, without the comma, which GitHub and Facebook write between scopes."""


@dataclass(frozen=True, slots=True)
class TokenAnswer:
    """The tokens of a response; "" and None for what it does not say. `instance_url` and `id` are Salesforce's, and not
    checked yet."""

    access_token: str = field(repr=False)
    refresh_token: str = field(default="", repr=False)
    id_token: str = field(default="", repr=False)
    seconds: float | None = None
    refresh_seconds: float | None = None
    scopes: tuple[str, ...] | None = None
    instance_url: str = ""
    id: str = ""


def read_answer(answer: Answer, retry_after: float | None = None) -> TokenAnswer:
    """The tokens of a response. Raises RefusedByProvider."""
    document = members(answer.body)
    if answer.status >= 500 or answer.status in (408, 429) or _text(document.get("error")) in _PASSING:
        reason = "too-many-requests" if answer.status == 429 else "provider-unavailable"
        raise refused("", reason, retry_after=retry_after)
    try:
        token = read_token(answer)
    except TokenFault as fault:
        rejected = _rejected(fault, document)
    else:
        return TokenAnswer(
            token.value,
            refresh_token=_token(document.get("refresh_token")),
            id_token=_text(document.get("id_token")),
            seconds=lifetime(document.get("expires_in")),
            refresh_seconds=lifetime(document.get("refresh_token_expires_in", document.get("refresh_expires_in"))),
            scopes=scopes_in(document.get("scope")),
            instance_url=_text(document.get("instance_url")),
            id=_text(document.get("id")),
        )
    raise rejected


def refused(
    code: str, reason: str, *, claims: str = "", retry_after: float | None = None, fix: str = ""
) -> RefusedByProvider:
    """The error for a reason of the table. `fix` replaces that of the table."""
    row = REASONS[reason]
    return RefusedByProvider(row.text, fix or row.fix, code, reason, claims, retry_after)


def numbers_in(document: Mapping[str, Any]) -> tuple[int, ...]:
    """Entra's error numbers: of `error_codes`, else those that the description names."""
    codes = document.get("error_codes")
    if isinstance(codes, list):
        found = tuple(code for code in codes[:10] if isinstance(code, int) and not isinstance(code, bool))
        if found:
            return found
    description = document.get("error_description")
    return tuple(map(int, _AADSTS.findall(description[:2000])[:3])) if isinstance(description, str) else ()


def scopes_in(written: object) -> tuple[str, ...] | None:
    """The scopes, between which are spaces or commas; None if the response does not say. Those that a row has no room
    for are left out: the tokens beside them are worth more."""
    if isinstance(written, list):
        written = " ".join(each for each in written if isinstance(each, str))
    if not isinstance(written, str):
        return None
    parts = dict.fromkeys(part for part in re.split(r"[\s,]+", written) if _SCOPE.fullmatch(part))
    as_stored = accumulate(len(part) + len('"", ') for part in parts)
    return tuple(part for part, length in zip(parts, as_stored, strict=True) if length <= LONGEST["scopes"])[
        :MOST_SCOPES
    ]


def lifetime(written: object) -> float | None:
    """A lifetime in seconds, as a number or as text. None if the response does not say: 0 and less are taken as that,
    because no token is issued that has expired, and some providers write 0 for one that never does."""
    if isinstance(written, bool) or not isinstance(written, str | int | float):
        return None
    try:
        seconds = float(written)
    except (ValueError, OverflowError):
        return None
    return min(seconds, LONGEST_SECONDS) if seconds > 0 and not math.isnan(seconds) else None


def claims_in(document: Mapping[str, Any]) -> str:
    """The challenge for the next authorization request, which is a JSON object as text (Microsoft, "Claims challenges,
    claims requests, and client capabilities"); "" if there is none."""
    claims = document.get("claims")
    if not isinstance(claims, str) or not claims.isascii() or len(claims) > MOST_CLAIMS_BYTES:
        return ""
    try:
        found = json.loads(claims)
    except (ValueError, RecursionError):
        return ""
    return claims if isinstance(found, dict) else ""


def _rejected(fault: TokenFault, document: Mapping[str, Any]) -> RefusedByProvider:
    """The error of a response without tokens. Without an error code it is one of the provider, or of what is between,
    and then no grant ends by it."""
    error = document.get("error")
    written = _text(error)
    if isinstance(error, dict):
        code = INVALID_GRANT if error.get("code") == _META_ENDED else OTHER
    elif not written:
        code = fault.code  # of a 401
    else:
        code = _SAME_AS.get(written, written if written in _KNOWN else fault.code or OTHER)
    if not code:
        return RefusedByProvider(f"gets no tokens: the token endpoint {fault.wrong}", fault.fix, "", "provider-rejects")
    said = written if written in OF_ERROR else code
    claims = claims_in(document)
    ended = "interaction-required" if claims else "ended"  # a person can meet the claims
    reason = reason_of(said, numbers_in(document), ended if code == INVALID_GRANT else "provider-rejects")
    return refused(code, reason, claims=claims)


def _token(value: object) -> str:
    """A refresh token is visible ASCII and spaces (RFC 6749, appendix A.17)."""
    return value if isinstance(value, str) and value.isascii() and value.isprintable() else ""


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
