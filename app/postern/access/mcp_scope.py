"""The scope of POSTERN_MCP_SCOPE: a token that has no other one is accepted at `/mcp` only. Pure."""

from postern.access.caller import Caller
from postern.access.check import Check, Refused

MCP_ONLY = "mcp-only"
"""The check's name, and the reason of the refusal."""


def only_for_mcp(caller: Caller, scope: str) -> bool:
    """Whether this caller's token is for `/mcp` only. `scope` is "" if the setting names none."""
    return scope != "" and caller.scopes == {scope}


def check_scope(caller: Caller, scope: str) -> Check:
    """The check of a request that is not sent to `/mcp`."""
    return Check(
        MCP_ONLY,
        not only_for_mcp(caller, scope),
        f"a scope beside {scope}",
        caller.scopes,
        f"The only scope of this token is {scope}, which is for /mcp. Request a token with another scope for this URL.",
        "The scope of POSTERN_MCP_SCOPE is for /mcp only: the client needs another scope of the registration for "
        "triggers and the run API",
    )


def refuse_outside(caller: Caller, scope: str) -> None:
    """Raise Refused if the token of a request that is not sent to `/mcp` is for `/mcp` only."""
    if only_for_mcp(caller, scope):
        raise Refused([check_scope(caller, scope)], proved=True)
