"""`/mcp` as a protected resource of OAuth: its identifier, its metadata and its challenges. Pure.

Source: RFC 9728 (protected resource metadata), RFC 6750 (challenges), and the authorization page of the Model Context
Protocol, revision 2026-07-28.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from postern.settings.mcp import DEFAULT_SCOPE

PATH = "/mcp"
WELL_KNOWN = "/.well-known/oauth-protected-resource"
_CHALLENGE = b"www-authenticate"
_BEARER = b"Bearer"
_SCOPE = re.compile(rb',?\s*\bscope="[^"]*"')

Fields = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Resource:
    """The resource of one server. `public_url` is the address of the server without a slash at its end, `issuers` are
    the v2.0 issuers of its tenants, and `scope` is POSTERN_MCP_SCOPE. `.default` serves people and services; the name
    of a scope serves people only (AADSTS1002012)."""

    public_url: str
    issuers: tuple[str, ...]
    scope: str = DEFAULT_SCOPE

    @property
    def identifier(self) -> str:
        """The resource identifier: the URL that clients use. Entra compares it byte by byte with an identifier URI."""
        return self.public_url + PATH

    @property
    def metadata_url(self) -> str:
        """Where the metadata is. A path of the public URL stays in front, because a proxy sends only that path here."""
        return f"{self.public_url}{WELL_KNOWN}{PATH}"

    @property
    def names_scope(self) -> bool:
        """Whether a scope is named, so that a client that lacks one may ask for more."""
        return self.scope != DEFAULT_SCOPE

    def scopes(self, names: Iterable[str] = ()) -> str:
        """Scopes as Entra takes them: behind the identifier, never alone (AADSTS9010010). Without `names`, the scope
        that each client needs."""
        return " ".join(f"{self.identifier}/{name}" for name in (tuple(names) or (self.scope,)))

    def metadata(self) -> dict[str, Any]:
        """The metadata document (RFC 9728, section 2)."""
        return {
            "resource": self.identifier,
            "authorization_servers": list(self.issuers),
            "scopes_supported": [self.scopes()],
            "bearer_methods_supported": ["header"],
            "resource_name": "Postern workflows",
        }

    def challenged(self, headers: Fields, scopes: Iterable[str] = ()) -> Fields:
        """The header fields of a rejection, whose Bearer challenge also says where the metadata is (RFC 9728, section
        5.1) and which scope to ask for (RFC 6750, section 3)."""
        more = f'resource_metadata="{self.metadata_url}", scope="{self.scopes(scopes)}"'.encode()
        return [(name, _with(value, more) if name == _CHALLENGE else value) for name, value in headers]


def _with(challenge: bytes, more: bytes) -> bytes:
    if not challenge.startswith(_BEARER):
        return challenge
    rest = _SCOPE.sub(b"", challenge.removeprefix(_BEARER)).strip(b" ,")
    return b"Bearer " + (rest + b", " + more if rest else more)
