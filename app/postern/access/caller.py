"""The Caller: who sent a request, as its verified access token says."""

import re
from collections.abc import Container
from dataclasses import dataclass, field
from typing import Literal, get_args

from postern.access.agent import Agent

CallerKind = Literal["anonymous", "user", "application", "schedule", "failure", "finding"]

KINDS: tuple[str, ...] = get_args(CallerKind)
"""The kinds of callers."""

GUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent the request, as its verified access token says. Ids are lower-case GUIDs. `name` is for display only and
    is never used to authorize (Microsoft: claims-validation). `token_version` is `1.0` or `2.0`. No request has one of
    the kinds of BY_SERVER: the server starts such a run itself, and `name` says by which schedule, failure or finding.

    What follows `token_version` is of the token only, and does not make two callers different. `token_id` (uti) is ""
    if the token has none, `issued_at` (iat) is in Unix seconds, 0 if it has none. `auth_contexts` (acrs) are the
    authentication contexts that the sign-in met, `capabilities` (xms_cc) what the client can handle. `credential`
    (azpacr, appidacr) is how the client authenticated, `agent` the agent that acts, None if the token names none.
    Source: Microsoft, access-token-claims-reference."""

    kind: CallerKind
    object_id: str = ""
    tenant_id: str = ""
    client_id: str = ""
    audience: str = ""
    name: str = ""
    scopes: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    guest: bool = False
    token_version: str = ""
    token_id: str = field(default="", compare=False)
    issued_at: float = field(default=0.0, compare=False)
    auth_contexts: frozenset[str] = field(default=frozenset(), compare=False)
    capabilities: frozenset[str] = field(default=frozenset(), compare=False)
    credential: Literal["", "public", "secret", "certificate"] = field(default="", compare=False)
    agent: Agent | None = field(default=None, compare=False)

    def has_audience(self, audiences: Container[str], client_id: str | None) -> bool:
        """Whether the token was issued for one of these audiences, or for `client_id`, if that is the client id of this
        server's own registration. A token of version 2.0 names the API by its client id, however its scope was
        written (Microsoft: access-token-claims-reference, aud)."""
        own = self.token_version == "2.0" and self.audience == client_id  # noqa: S105 a version is no password
        return own or self.audience in audiences


BY_SERVER = frozenset({"schedule", "failure", "finding"})
"""The kinds of callers of runs that the server starts itself: by the clock, after a failure, and for a finding."""

ANYONE = Caller("anonymous")
