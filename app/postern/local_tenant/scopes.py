"""The scopes of an authorization request: OpenID Connect's own, and those of one resource. Pure.

Reference: learn.microsoft.com/entra/identity-platform/scopes-oidc.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from postern.local_tenant.errors import EntraError
from postern.local_tenant.tenant import GRAPH_AUDIENCE

_OF_OPENID = ("openid", "profile", "email", "offline_access")
_OF_SIGNING_IN = frozenset({"openid", "profile", "email"})
_WORDS: Mapping[str, str] = {
    "openid": "Sign you in",
    "profile": "View your basic profile",
    "email": "View your email address",
    "offline_access": "Maintain access to data you have given it access to",
    "User.Read": "Sign you in and read your profile",
}


@dataclass(frozen=True, slots=True)
class Scopes:
    """What was requested: the scopes of OpenID Connect, and the `names` of scopes at the resource `audience`."""

    of_openid: frozenset[str]
    audience: str
    names: tuple[str, ...]


def read_scopes(scope: str) -> Scopes:
    """The scopes of a request. Without a resource it is Graph, as in Entra. Raises EntraError."""
    requested = scope.split()
    if not requested:
        raise EntraError(400, "invalid_request", 900144, "The request has no parameter 'scope'.")
    of_resources = [each for each in requested if each not in _OF_OPENID]
    found = [_split(each) for each in of_resources] or [(GRAPH_AUDIENCE, "User.Read")]
    if len({audience for audience, _ in found}) > 1:
        raise EntraError(400, "invalid_request", 28000, "The scopes are of more than one resource.")
    if len(found) > 1 and ".default" in {name for _, name in found}:
        raise EntraError(400, "invalid_scope", 70011, "The scope .default is not combined with others of a resource.")
    names = tuple("user_impersonation" if name == ".default" else name for _, name in found)
    return Scopes(frozenset(requested) & frozenset(_OF_OPENID), found[0][0], names)


def check_resource(resource: str | None, audience: str) -> None:
    """Raise EntraError if the parameter `resource` (RFC 8707) is there and is another text than the resource of the
    scopes."""
    if resource is not None and resource != audience:
        raise EntraError(
            400, "invalid_target", 9010010, "The resource parameter does not match the resource of the scopes."
        )


def asks_for_consent(scope: str) -> bool:
    """Whether a person has to allow more than being signed in."""
    return not _OF_SIGNING_IN.issuperset(scope.split())


def permissions(scope: str) -> list[tuple[str, str]]:
    """The requested scopes in their order, each with its meaning, as the consent page shows them."""
    return [(each, _WORDS.get(_split(each)[1], "Act for you there")) for each in dict.fromkeys(scope.split())]


def _split(scope: str) -> tuple[str, str]:
    """The resource and the name of a scope. A name alone is one of Graph."""
    resource, slash, name = scope.rpartition("/")
    return (resource, name) if slash else (GRAPH_AUDIENCE, name)
