"""Reads a token endpoint's response: a token, or why there is none. All functions are pure. Of the other side's text,
only known error codes are passed on."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from postern.connections.auth.token_cache import Token
from postern.http_client import USER_AGENT

DEFAULT_SECONDS = 300.0
"""The lifetime of a token whose response does not give one."""
LONGEST_SECONDS = 86_400.0
"""A token is renewed after a day even if its response gives a longer lifetime, because it may have been revoked."""

CLIENT_REFUSED = "invalid_client"
OTHER = "other"
LATER = "Try again later; the provider's own log may have the reason"

_ACCESS_TOKEN = re.compile(r"[\x21-\x7e]+")
_NO_ERROR = (None, "", False)
_NO_TYPE = (None, "")
"""Some providers send these members always, without a value."""
_BEARER = ("bearer", "bearertoken")
"""RFC 6750, and what Apigee calls it. RFC 6749, section 7.1: case does not matter."""
_FIREWALL = (
    f"Check token_url, and that no firewall or gateway in front of it rejects requests of this machine or of the "
    f"User-Agent {USER_AGENT}"
)
_SCOPES = "Correct scopes or audience, or have them granted to the client at the provider"
_GRANT = "Allow client credentials for this client at the provider, if the provider supports them"
_ERRORS: Mapping[str, str] = {
    "invalid_request": "Compare the entry with the provider's documentation: client_authentication, scopes, audience",
    "invalid_client": "Correct client_id or the secret in Key Vault, or write another client_authentication",
    "invalid_grant": "Correct client_id or the secret in Key Vault, and check the clock of this machine",
    "unauthorized_client": _GRANT,
    "unsupported_grant_type": _GRANT,
    "invalid_scope": _SCOPES,
    "invalid_target": _SCOPES,
    "access_denied": _SCOPES,
    "server_error": LATER,
    "temporarily_unavailable": LATER,
    "slow_down": LATER,
}
"""The codes of RFC 6749, section 5.2, and those of its section 4.1.2.1, RFC 8707 and RFC 8628 that providers send."""
_MEANS_CLIENT_REFUSED = {"invalid_client", "incorrect_client_credentials", "invalid_client_id"}
"""GitHub and Salesforce use their own codes for invalid_client."""


class TokenFault(Exception):
    """A response without a usable token. `wrong` is a predicate of the token endpoint. `code` is its error code, OTHER
    if it is not known, "" if there is none."""

    def __init__(self, wrong: str, fix: str, code: str = "") -> None:
        super().__init__(wrong)
        self.wrong = wrong
        self.fix = fix
        self.code = code


@dataclass(frozen=True, slots=True)
class Answer:
    """The status and the body of a response, which may have a token."""

    status: int
    body: bytes = field(repr=False)


def read_token(answer: Answer) -> Token:
    """The token in a response (RFC 6749, section 5.1). Raises TokenFault."""
    if 300 <= answer.status <= 399:
        raise TokenFault(
            f"redirects (status {answer.status}), and secrets are not sent to other addresses",
            "Set token_url to the address that issues the token itself",
        )
    document = members(answer.body)
    error = document.get("error")
    if error not in _NO_ERROR or answer.status == 401:
        raise _refused(answer.status, error)
    if not 200 <= answer.status <= 299:
        passing = answer.status >= 500 or answer.status in (408, 429)
        fix = LATER if passing else _FIREWALL if answer.status == 403 else "Check token_url"
        raise TokenFault(f"responds with status {answer.status}", fix)
    return _token(document)


def _token(document: Mapping[str, Any]) -> Token:
    """The token of a document. A token is visible ASCII, so that a header can hold it (RFC 6750, section 2.1)."""
    check = "Check that token_url is the address of a token endpoint"
    if not document:
        raise TokenFault("responds with something other than a JSON object", check)
    token, kind = document.get("access_token"), document.get("token_type")
    if not isinstance(token, str) or not token:
        raise TokenFault("responds without an access_token", check)
    if not _ACCESS_TOKEN.fullmatch(token):
        raise TokenFault("responds with an access_token that no header can carry", check)
    if kind not in _NO_TYPE and not (isinstance(kind, str) and kind.strip().lower() in _BEARER):
        raise TokenFault(
            "responds with a token whose token_type is another than Bearer", "Have the provider issue bearer tokens"
        )
    return Token(token, _seconds(document.get("expires_in")))


def _refused(status: int, error: object) -> TokenFault:
    code = error if isinstance(error, str) else ""
    if code in _MEANS_CLIENT_REFUSED or (status == 401 and code not in _ERRORS):
        code = CLIENT_REFUSED
    if code in _ERRORS:
        return TokenFault(f"rejects the request with {code}", _ERRORS[code], code)
    return TokenFault(
        f"rejects the request with status {status} and an error code that RFC 6749 does not define",
        "Look for the reason in the provider's log, and compare the entry with the provider's documentation",
        OTHER,
    )


def members(body: bytes) -> Mapping[str, Any]:
    """The members of a JSON object; {} for anything else. Only its ASCII is used, so another encoding of the rest does
    no harm."""
    try:
        document = json.loads(body.decode("utf-8-sig", "replace"))
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _seconds(written: object) -> float:
    """The lifetime in seconds. Some providers write the number as a string."""
    try:
        seconds = (
            float(written) if isinstance(written, str | int | float) and not isinstance(written, bool) else math.nan
        )
    except (ValueError, OverflowError):
        seconds = math.nan
    return min(max(seconds, 0.0), LONGEST_SECONDS) if not math.isnan(seconds) else DEFAULT_SECONDS
