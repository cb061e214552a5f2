"""Agents: which software acts, as the verified token says, and through what a request came. Pure.

Source: Microsoft, "Token claims reference for agent IDs".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from postern.redaction import without_secret_values

AgentKind = Literal["on-behalf-of-user", "agent-user", "autonomous"]

ACTOR_FACETS = "xms_act_fct"
SUBJECT_FACETS = "xms_sub_fct"
BLUEPRINT = "xms_par_app_azp"
OF_AGENTS = (ACTOR_FACETS, SUBJECT_FACETS, BLUEPRINT)
"""Optional claims of agents' tokens. Facets are numbers with spaces between them, in any order, and those that are not
known are ignored."""

LONGEST = 100
"""Characters of a name or version that a client gives itself."""

_READ = 4096

AGENT_IDENTITY = "11"
AGENT_USER = "13"


@dataclass(frozen=True, slots=True)
class Agent:
    """The agent that acts. `client_id` is its own (azp, appid), `blueprint` the client id of the application that it
    was made from, "" if the token does not say. A blueprint has many agents, so nothing authorizes by it.

    `kind`: it acts on behalf of a person (`on-behalf-of-user`), as a user account of its own (`agent-user`), or as
    itself (`autonomous`)."""

    client_id: str
    blueprint: str
    kind: AgentKind


@dataclass(frozen=True, slots=True)
class Via:
    """Through what a request came that was not sent to a trigger's URL: its `kind`, such as `mcp`, with the name and
    the version that the client gives itself. They are not verified; None if it gave none."""

    kind: str
    client_name: str | None = None
    client_version: str | None = None

    def __post_init__(self) -> None:
        """Keep of both what a record may have of them: LONGEST printable characters without secrets."""
        for name in ("client_name", "client_version"):
            object.__setattr__(self, name, _bounded(getattr(self, name)))

    @property
    def shown(self) -> dict[str, str]:
        """The fields of a log line."""
        client = " ".join(filter(None, (self.client_name, self.client_version)))
        return {"via": self.kind, **({"via_client": client} if client else {})}


def agent_of(claims: Mapping[str, str], client_id: str, *, person: bool) -> Agent | None:
    """The agent that the claims of a verified token name; None if they name none. Each of the three claims is enough,
    because a registration may have only some of them. `person` says that the token is of a user account."""
    actor, subject = _facets(claims, ACTOR_FACETS), _facets(claims, SUBJECT_FACETS)
    blueprint = claims.get(BLUEPRINT, "").lower()
    if not (blueprint or AGENT_IDENTITY in actor or subject & {AGENT_IDENTITY, AGENT_USER}):
        return None
    if AGENT_USER in subject:
        return Agent(client_id, blueprint, "agent-user")
    return Agent(client_id, blueprint, "on-behalf-of-user" if person else "autonomous")


def _bounded(text: object) -> str | None:
    if not isinstance(text, str):
        return None
    return "".join(filter(str.isprintable, without_secret_values(text[:_READ])))[:LONGEST] or None


def _facets(claims: Mapping[str, str], name: str) -> set[str]:
    return set(claims.get(name, "").split())
