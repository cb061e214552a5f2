"""The caller that the claims of a verified token describe. Pure.

Source: Microsoft, "Access token claims reference" and "Secure applications and APIs by validating claims". Nothing
here authorizes by a name or an e-mail address, because both can be reassigned.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

from postern.access import GUID, Caller
from postern.access.agent import ACTOR_FACETS, BLUEPRINT, SUBJECT_FACETS, agent_of
from postern.identity.issuers import Tenant

LATEST = 253_402_300_799
"""31 December 9999, in seconds since 1970: later times are mistakes."""

_NAME_LENGTH = 200
_UNSCOPED = frozenset({"/"})
_SIGNS_OF_A_USER = ("upn", "unique_name", "preferred_username", "acct")
_SIGNS_OF_AN_ACCESS_TOKEN = ("azp", "appid", "scp")
_ONLY_IN_ACCESS_TOKENS = {*_SIGNS_OF_AN_ACCESS_TOKEN, "azpacr", "appidacr", "idtyp", "cnf"}
_SIGNS_OF_AN_ID_TOKEN = ("nonce", "at_hash", "c_hash")


KIND_CLAIMS = (*_SIGNS_OF_AN_ACCESS_TOKEN, *_SIGNS_OF_AN_ID_TOKEN)
"""The claims that distinguish an access token from an ID token."""


CREDENTIALS: Mapping[Any, Literal["public", "secret", "certificate"]] = {
    "0": "public",
    "1": "secret",
    "2": "certificate",
}
"""How a client authenticated to Entra, by `azpacr` or `appidacr`."""


def is_text(value: Any) -> bool:
    """A string that is not empty."""
    return isinstance(value, str) and value != ""


def is_guid(value: Any) -> bool:
    """A GUID in its canonical form, in either case."""
    return isinstance(value, str) and value.isascii() and GUID.fullmatch(value.lower()) is not None


def is_time(value: Any) -> bool:
    """A NumericDate (RFC 7519, section 2): a JSON number, which neither a boolean nor a numeric string is."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LATEST


def _is_string(value: Any) -> bool:
    return isinstance(value, str)


def _is_credential(value: Any) -> bool:
    return isinstance(value, str) and value in CREDENTIALS


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(is_text, value))


SHAPES: Mapping[str, Callable[[Any], bool]] = {
    "scp": _is_string,
    "roles": _are_texts,
    "azp": is_guid,
    "appid": is_guid,
    "idtyp": lambda value: value in ("app", "user"),
    "idp": is_text,
    "uti": _is_string,
    "acrs": _are_texts,
    "xms_cc": _are_texts,
    "azpacr": _is_credential,
    "appidacr": _is_credential,
    "acct": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "sub": _is_string,
    "name": _is_string,
    "preferred_username": _is_string,
    "app_displayname": _is_string,
    ACTOR_FACETS: _is_string,
    SUBJECT_FACETS: _is_string,
    BLUEPRINT: is_guid,
}
"""The optional claims that Postern reads, and what each must be if present."""


def malformed(claims: Mapping[str, Any]) -> list[str]:
    """The names of claims that have the wrong type or contradict another."""
    names = [name for name, fits in SHAPES.items() if name in claims and not fits(claims[name])]
    if claims.get("idtyp") == "app" and claims.get("scp", "") not in ("", "/"):
        names.append("idtyp with scp")
    if "azp" in claims and "appid" in claims and claims["azp"] != claims["appid"]:
        names.append("azp with another appid")
    return names


def is_access_token(claims: Mapping[str, Any]) -> bool:
    """Whether this is an access token and not an ID token: it names the client that requested it, or a scope. An ID
    token has neither, but it may have app roles, and its audience is the client id of the registration."""
    return any(claims.get(sign) for sign in _SIGNS_OF_AN_ACCESS_TOKEN)


def is_id_token(claims: Mapping[str, Any]) -> bool:
    """Whether this can be an ID token: it has no claim, not even an empty one, that only access tokens have."""
    return not claims.keys() & _ONLY_IN_ACCESS_TOKENS


def caller_of(claims: Mapping[str, Any], tenant: Tenant) -> Caller:
    """The Caller of a token that has passed every rule."""
    kind, client_id = _kind(claims), (claims.get("azp") or claims.get("appid") or "").lower()
    return Caller(
        kind=kind,
        object_id=claims["oid"].lower(),
        tenant_id=tenant.tenant_id,
        client_id=client_id,
        audience=claims["aud"],
        name=name_in(claims),
        scopes=_scopes(claims),
        roles=frozenset(claims.get("roles", ())),
        guest=_is_guest(claims, tenant),
        token_version=claims["ver"],
        token_id=claims.get("uti", ""),
        issued_at=float(claims.get("iat", 0)),
        auth_contexts=frozenset(claims.get("acrs", ())),
        capabilities=frozenset(claims.get("xms_cc", ())),
        credential=CREDENTIALS.get(claims.get("azpacr") or claims.get("appidacr"), ""),
        agent=agent_of(claims, client_id, person=kind == "user"),
    )


def name_in(claims: Mapping[str, Any]) -> str:
    """The name to show of who has a verified token; "" if it has none."""
    name = claims.get("name") or claims.get("preferred_username") or claims.get("app_displayname") or ""
    return "".join(filter(str.isprintable, name[: 2 * _NAME_LENGTH]))[:_NAME_LENGTH]


def _kind(claims: Mapping[str, Any]) -> Literal["user", "application"]:
    """A token without evidence of a person counts as an application's, so that `apps=False` fails closed. Tokens of
    people have `scp`, those of applications never. `idtyp` is an optional claim."""
    if "idtyp" in claims:
        return "user" if claims["idtyp"] == "user" else "application"
    if _scopes(claims):
        return "user"
    itself = claims.get("sub") == claims["oid"]  # Entra gives applications their object id as subject
    return "user" if not itself and any(sign in claims for sign in _SIGNS_OF_A_USER) else "application"


def _scopes(claims: Mapping[str, Any]) -> frozenset[str]:
    """The scopes of a token. Of an agent that acts as itself `scp` is empty or a slash (Microsoft: agent token
    claims)."""
    return frozenset(claims.get("scp", "").split()) - _UNSCOPED


def _is_guest(claims: Mapping[str, Any], tenant: Tenant) -> bool:
    """The optional claim `acct` decides if the token has it: 0 is a member, also one who signs in at another tenant
    (cross-tenant synchronization). Otherwise `idp` does, the issuer that signed the person in. A v2 token may name its
    own tenant there by the v1 issuer, so any issuer of the tenant means a member."""
    if "acct" in claims:
        return bool(claims["acct"] != 0)
    return "idp" in claims and claims["idp"] not in tenant.issuers
