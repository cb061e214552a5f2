"""The ID token of a provider other than Entra: whose account it is. Pure.

The signature is not checked: the token came from the token endpoint over TLS, which may take the place of that check
(OpenID Connect Core 1.0, section 3.1.3.7, point 6). Plain http is for endpoints on loopback only. All other rules of
that section are checked. The token admits nobody: it says only which account a grant is of.
"""

import hmac
from collections.abc import Mapping
from typing import Any, NamedTuple

import jwt

GOOGLE = "https://accounts.google.com"
LATEST = 2.0**53
"""In Unix seconds. All whole numbers up to it are floats too."""
_NAME_LENGTH = 200


class Account(NamedTuple):
    """Whose account it is: an id that never changes, and a name for showing. `tenant` is for Entra."""

    id: str
    name: str
    tenant: str = ""


def account_in(id_token: str, issuer: str, client_id: str, nonce: str, now: float, leeway: float) -> Account | None:
    """The account, None if the token breaks a rule. `now` is in Unix seconds."""
    try:
        claims = jwt.decode(id_token, options={"verify_signature": False})
        header = jwt.get_unverified_header(id_token)
    except Exception:  # odd claims raise anything
        return None
    subject = claims.get("sub")
    rules = (
        str(header.get("alg", "none")).lower() != "none",
        claims.get("iss") in issuers_of(issuer),
        claims.get("aud") in (client_id, [client_id]),
        claims.get("azp", client_id) == client_id,
        _is_time(claims.get("exp")) and now < claims["exp"] + leeway,
        _is_time(claims.get("iat")) and claims["iat"] <= now + leeway,
        _same(claims.get("nonce"), nonce),
        isinstance(subject, str) and 0 < len(subject) <= 255 and subject.isprintable(),
    )
    return Account(str(subject), _name_in(claims)) if all(rules) else None


def issuers_of(issuer: str) -> tuple[str, ...]:
    """The issuers that are the same. Google writes its own in two ways ("OpenID Connect", Validating an ID token)."""
    return (issuer, issuer.removeprefix("https://")) if issuer == GOOGLE else (issuer,)


def shown_name(value: object) -> str:
    """A name for showing, as one short line."""
    text = value if isinstance(value, str) else ""
    return "".join(each for each in text[:_NAME_LENGTH] if each.isprintable()).strip()


def _name_in(claims: Mapping[str, Any]) -> str:
    return next(filter(None, (shown_name(claims.get(name)) for name in ("email", "preferred_username", "name"))), "")


def _is_time(value: object) -> bool:
    """Whether it is a number of seconds that can be calculated with: JSON has numbers of any length."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LATEST


def _same(found: object, expected: str) -> bool:
    return isinstance(found, str) and hmac.compare_digest(found.encode("utf-8", "replace"), expected.encode())
