"""What a token endpoint answered: a token, or why there is none. Pure; nothing of what the other side wrote is passed
on but error codes that are known."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from postern.connections.auth.token_cache import Token

DEFAULT_SECONDS = 300.0
"""The life of a token whose answer does not tell it."""
LONGEST_SECONDS = 86_400.0
"""A token is fetched anew after a day, whatever its answer tells: a revoked one would stay in use."""

CLIENT_REFUSED = "invalid_client"
OTHER = "other"
LATER = "Try again later; what the endpoint wrote may stand in the provider's own log"

_ACCESS_TOKEN = re.compile(r"[\x21-\x7e]+")
_SCOPES = "Mend scopes or audience, or have them granted to the client at the provider"
_GRANT = "Allow client credentials for this client at the provider, where it has them for applications"
_ERRORS: Mapping[str, str] = {
    "invalid_request": "Compare the entry with the provider's documentation: client_authentication, scopes, audience",
    "invalid_client": "Mend client_id or the secret in Key Vault, or write another client_authentication",
    "invalid_grant": "Mend client_id or the secret in Key Vault, and see that the clock of this machine is right",
    "unauthorized_client": _GRANT,
    "unsupported_grant_type": _GRANT,
    "invalid_scope": _SCOPES,
    "invalid_target": _SCOPES,
    "access_denied": _SCOPES,
    "server_error": LATER,
    "temporarily_unavailable": LATER,
    "slow_down": LATER,
}
"""RFC 6749, section 5.2, with the codes of its section 4.1.2.1 and of RFC 8707 and RFC 8628 that providers send too."""
_MEANS_CLIENT_REFUSED = {"invalid_client", "incorrect_client_credentials", "invalid_client_id"}
"""GitHub and Salesforce have names of their own for it."""


class TokenFault(Exception):
    """An answer without a usable token: `wrong` is a predicate of the token endpoint. `code` is its error code, OTHER
    for one that is not known, "" where it did not refuse."""

    def __init__(self, wrong: str, fix: str, code: str = "") -> None:
        super().__init__(wrong)
        self.wrong = wrong
        self.fix = fix
        self.code = code


@dataclass(frozen=True, slots=True)
class Answer:
    """The status and the body of an answer."""

    status: int
    body: bytes


def read_token(answer: Answer) -> Token:
    """The token of an answer (RFC 6749, section 5.1). Raises TokenFault."""
    if 300 <= answer.status <= 399:
        raise TokenFault(
            f"redirects (status {answer.status}), and no secret is sent elsewhere",
            "Write the address that gives the token itself as token_url",
        )
    document = _json(answer.body)
    if "error" in document or answer.status == 401:
        raise _refused(answer.status, document.get("error"))
    if not 200 <= answer.status <= 299:
        fix = LATER if answer.status >= 500 or answer.status == 429 else "Mend token_url, if it is not the right one"
        raise TokenFault(f"answers with status {answer.status}", fix)
    return _token(document)


def _token(document: Mapping[str, Any]) -> Token:
    """RFC 6750, section 2.1: a token is visible ASCII, so that it can be put into a header."""
    check = "See that token_url is the address of a token endpoint"
    if not document:
        raise TokenFault("answers with something other than a JSON object", check)
    token, kind = document.get("access_token"), document.get("token_type")
    if not isinstance(token, str) or not token:
        raise TokenFault("answers without an access_token", check)
    if not _ACCESS_TOKEN.fullmatch(token):
        raise TokenFault("answers with an access_token that no header can carry", check)
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise TokenFault("answers with a token that is not of type Bearer", "Have the provider give bearer tokens")
    return Token(token, _seconds(document.get("expires_in")))


def _refused(status: int, error: object) -> TokenFault:
    code = error if isinstance(error, str) else ""
    if code in _MEANS_CLIENT_REFUSED or (status == 401 and code not in _ERRORS):
        code = CLIENT_REFUSED
    if code in _ERRORS:
        return TokenFault(f"refuses with {code}", _ERRORS[code], code)
    return TokenFault(
        f"refuses with status {status} and an error code that is not of RFC 6749",
        "Ask the provider's own log for the reason, and compare the entry with its documentation",
        OTHER,
    )


def _json(body: bytes) -> Mapping[str, Any]:
    """The members of a JSON object; none where it is something else."""
    try:
        document = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _seconds(written: object) -> float:
    """Seconds of life. Some providers write the number as a text."""
    try:
        seconds = (
            float(written) if isinstance(written, str | int | float) and not isinstance(written, bool) else math.nan
        )
    except (ValueError, OverflowError):
        seconds = math.nan
    return min(max(seconds, 0.0), LONGEST_SECONDS) if not math.isnan(seconds) else DEFAULT_SECONDS
