"""Whether clients of `/mcp` can sign in: the settings, and what the app registration needs. Pure.

Tokens for `<POSTERN_PUBLIC_URL>/mcp` are of version 2.0, because an Application ID URI of https needs
`requestedAccessTokenVersion` 2, and have the registration's client id as their audience.
"""

from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

from postern.access import Guarded
from postern.audiences import is_client_id
from postern.catalog import Snapshot, Trigger
from postern.cli.diagnosis.finding import Finding, failed, warning
from postern.loopback import is_loopback
from postern.settings import Settings
from postern.settings.mcp import DEFAULT_SCOPE


def tool_findings(settings: Settings, snapshot: Snapshot) -> list[Finding]:
    """What keeps clients from the tools that need a token; [] without such a tool, or with POSTERN_MCP off."""
    guarded = [trigger for trigger in snapshot.triggers.values() if isinstance(trigger.policy, Guarded)]
    tools = [trigger for trigger in guarded if trigger.workflow.tool is not None]
    if not settings.mcp or not tools:
        return []
    return [*_of_audience(settings, tools), *_of_address(settings), *_of_scope(settings, guarded)]


def registration_note(settings: Settings, snapshot: Snapshot, server_url: str = "") -> str:
    """What the app registration needs for the tools, in one sentence; "" if no client signs in for them. `server_url`
    is that of a server beside the local tenant."""
    url = server_url or settings.public_url
    tools = [each for each in snapshot.triggers.values() if each.workflow.tool and isinstance(each.policy, Guarded)]
    if not (settings.mcp and tools and url):
        return ""
    resource = f"{url.rstrip('/')}/mcp"
    return (
        f"Tools for agents are on: {resource}, which is also the Application ID URI in Entra, with "
        f"requestedAccessTokenVersion 2. Clients request {resource}/{settings.mcp_scope}."
    )


def _of_audience(settings: Settings, tools: Iterable[Trigger]) -> Iterator[Finding]:
    if settings.client_id is None and not any(map(is_client_id, settings.audience)):
        yield from failed(
            "neither POSTERN_CLIENT_ID nor POSTERN_AUDIENCE has the client id of Postern's app registration, which is "
            "the audience of tokens for /mcp: each of them is rejected",
            "Set POSTERN_CLIENT_ID",
        )
        return
    for trigger in tools:
        policy = trigger.policy
        known = policy.audiences | {policy.client_id} if isinstance(policy, Guarded) else frozenset()
        if not any(map(is_client_id, known)):
            yield from failed(
                f"audiences= of {trigger.workflow.name} has no client id, which is the audience of tokens for /mcp: "
                "each of them is rejected by this tool",
                "Add the client id of the registration to audiences=, or leave the option out",
            )


def _of_address(settings: Settings) -> Iterator[Finding]:
    """In the local tenant a server has the address that it listens on."""
    local = settings.authority is not None and is_loopback(urlsplit(settings.authority).hostname or "")
    if settings.public_url is None and not local:
        yield from warning(
            "POSTERN_PUBLIC_URL is not set, so clients of /mcp find no place to sign in", "Set POSTERN_PUBLIC_URL"
        )


def _of_scope(settings: Settings, guarded: Iterable[Trigger]) -> Iterator[Finding]:
    scope = settings.mcp_scope
    if scope == DEFAULT_SCOPE:
        return
    yield from warning(
        f"POSTERN_MCP_SCOPE is {scope}, the name of a scope, which Entra issues to people only: applications that "
        "sign in as themselves get AADSTS1002012",
        "Leave POSTERN_MCP_SCOPE out if such applications use tools",
    )
    names = sorted(each.workflow.name for each in guarded if scope in getattr(each.workflow.access, "scopes", ()))
    if names:
        yield from warning(
            f"scopes= of {', '.join(names)} names {scope}, which is POSTERN_MCP_SCOPE: a token that has no other scope "
            "is rejected at their URLs",
            "Name another scope of the registration in POSTERN_MCP_SCOPE",
        )
