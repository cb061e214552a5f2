"""Which tools a caller sees: those whose triggers admit it, by the decision that each call passes. Pure."""

from collections.abc import Callable, Iterable

from postern.access import Caller, Refused, Signed, admit
from postern.catalog import Trigger
from postern.mcp.tools import McpTool
from postern.triggers.secure_transport import Scope


def shown_to(
    tools: Iterable[McpTool],
    caller: Caller,
    scope: Scope,
    reach: Callable[[Trigger, Scope], None] | None = None,
) -> list[McpTool]:
    """The tools that this caller may call by a request of this scope, in the same order. `reach` raises Refused if a
    trigger does not answer it (see triggers/gate.py)."""
    return [tool for tool in tools if _may_call(tool.trigger, caller, scope, reach)]


def _may_call(trigger: Trigger, caller: Caller, scope: Scope, reach: Callable[[Trigger, Scope], None] | None) -> bool:
    if isinstance(trigger.policy, Signed):  # a request that this server makes has no signature
        return False
    try:
        if reach is not None:
            reach(trigger, {**scope})  # it may add header fields for a reply
        admit(trigger.policy, caller)
    except Refused:
        return False
    return True
