"""The Caller: who sent a request, as its verified access token says."""

import re
from dataclasses import dataclass
from typing import Literal

GUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent the request, as its verified access token says. Ids are lower-case GUIDs. `name` is for display only and
    is never used to authorize (Microsoft: claims-validation)."""

    kind: Literal["anonymous", "user", "application"]
    object_id: str = ""
    tenant_id: str = ""
    client_id: str = ""
    audience: str = ""
    name: str = ""
    scopes: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    guest: bool = False


ANYONE = Caller("anonymous")
