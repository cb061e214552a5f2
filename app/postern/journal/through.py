"""Through what a run was started, and which agent acted, as the journal keeps them. Pure."""

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the writer's process needs no more of a caller than this
    from postern.access import Agent, Via


NOT_THROUGH = (None, None, None)
"""The columns of a run whose request came to the trigger's URL, by no agent."""


def via_client(via: "Via") -> str | None:
    """The name and the version that the client gave itself, as JSON; None if it gave none."""
    if via.client_name is None and via.client_version is None:
        return None
    return json.dumps({"name": via.client_name, "version": via.client_version})


def through_columns(via: "Via | None", agent: "Agent | None") -> tuple[str | None, str | None, str | None]:
    """The values of the columns `via`, `via_client` and `agent` of a run."""
    kind, client = (None, None) if via is None else (via.kind, via_client(via))
    return kind, client, None if agent is None else json.dumps(agent_written(agent))


def agent_written(agent: "Agent") -> dict[str, Any]:
    """The members of a record's `agent`."""
    return {"client_id": agent.client_id or None, "blueprint": agent.blueprint or None, "kind": agent.kind}
