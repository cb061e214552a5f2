"""What a handler of the SDK knows of the request to `/mcp` that it answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from postern.access import Caller
from postern.triggers.secure_transport import Scope
from postern.triggers.via import Via

SESSION = "postern.mcp"
"""The key of the scope under which the endpoint puts the Session."""

KIND = "mcp"
"""The kind of Via of a call of a tool."""


@dataclass(frozen=True, slots=True)
class Session:
    """A request that passed the endpoint: who sent it (ANYONE where no token is needed), in which scope."""

    caller: Caller
    scope: Scope


def via_of(client: Mapping[str, Any] | None) -> Via:
    """What is recorded of a client, as it describes itself (`clientInfo`)."""
    given = client or {}
    return Via(KIND, _text(given.get("name")), _text(given.get("version")))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
