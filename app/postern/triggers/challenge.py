"""The 401 that a rejected caller gets, with a Bearer challenge (RFC 6750, section 3). Pure.

If the token was signed for one of our tenants, the 401 says which check failed. All other callers get the same fixed
message. A client that handles claims challenges gets one, if another sign-in of the same caller could pass.
"""

import re
from base64 import b64encode

from postern.access import Refused
from postern.clouds import AUTHORITIES
from postern.errors import Problem, problem

NOT_QUOTABLE = re.compile(r"[^\x20-\x21\x23-\x5b\x5d-\x7e]")
"""Characters that RFC 6750, section 3, does not allow in `error_description`."""

SIGNED_URL = (
    "Signed-URL",
    ("This trigger is called by a signed URL, and this URL is not accepted. Ask who gave it to you for another."),
)
SIGNED_URL_CHECKS = frozenset(
    {
        "link-missing",
        "link-and-token",
        "link-form",
        "link-signature",
        "link-unknown",
        "link-revoked",
        "link-expired",
        "link-method",
    }
)
"""The checks of a request with a signed URL (`security.signed_urls.check`)."""

UNSIGNED = {
    "sender-signature": ("Signature", "The request needs the signature of its sender."),
    **dict.fromkeys(SIGNED_URL_CHECKS, SIGNED_URL),
}
"""The scheme of the challenge, and what the caller is told, if another check than one of a token failed, which no token
helps."""

ERRORS = {
    "credentials": "",
    "network": "",
    "origin": "",
    "authorization-header": "invalid_request",
    "scope": "insufficient_scope",
}
"""The RFC 6750 error of each failed check that is not `invalid_token`; none when no credentials were looked at."""


def unauthenticated(refused: Refused, authority: str = AUTHORITIES["public"]) -> Problem:
    """The 401 for a rejected request. `authority` is the address of Entra."""
    failed = refused.failed
    if failed.name in UNSIGNED:
        scheme, detail = UNSIGNED[failed.name]
        return problem("unauthenticated", detail=detail, reason=failed.name, headers={"WWW-Authenticate": scheme})
    advice = failed.advice if refused.proved else ""
    challenge = claims_challenge(refused.claims, authority) if refused.claims else _challenge(refused, advice)
    later = {"Retry-After": str(refused.retry_after)} if refused.retry_after else {}
    headers = {"WWW-Authenticate": challenge} | later
    return problem("unauthenticated", detail=advice, reason=failed.name, headers=headers)


def claims_challenge(claims: str, authority: str) -> str:
    """The value of `WWW-Authenticate` for a client that handles claims challenges (Microsoft, "Claims challenges,
    claims requests and client capabilities"). The realm is empty because the address is that of any tenant."""
    encoded = b64encode(claims.encode()).decode()
    authorize = f"{authority}/common/oauth2/authorize"
    return f'Bearer realm="", authorization_uri="{authorize}", error="insufficient_claims", claims="{encoded}"'


def _challenge(refused: Refused, advice: str) -> str:
    error = ERRORS.get(refused.failed.name, "invalid_token")
    parameters = [f'error="{error}"'] if error else []
    if advice:
        parameters.append(f'error_description="{NOT_QUOTABLE.sub("", advice)}"')
    if refused.proved and error == "insufficient_scope":
        parameters.append(f'scope="{NOT_QUOTABLE.sub("", " ".join(sorted(refused.failed.expected)))}"')
    return f"Bearer {', '.join(parameters)}".rstrip()
