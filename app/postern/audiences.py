"""Audiences of Entra's tokens: what is none, which ones name the same API, and which are Microsoft's own. Pure."""

import re
from collections.abc import Iterable

_SCOPE = re.compile(r"(.+)/(?:\.default|user_impersonation|access_as_user|Workflow\.Run\.User)")
_QUOTES = frozenset("\"'`\u2018\u2019\u201c\u201d")
_GUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")

_OF_MICROSOFT = {
    "00000003-0000-0000-c000-000000000000": "Microsoft Graph",
    "https://graph.microsoft.com": "Microsoft Graph",
    "https://graph.microsoft.us": "Microsoft Graph",
    "https://dod-graph.microsoft.us": "Microsoft Graph",
    "https://microsoftgraph.chinacloudapi.cn": "Microsoft Graph",
    "00000002-0000-0000-c000-000000000000": "Azure AD Graph",
    "https://graph.windows.net": "Azure AD Graph",
    "797f4846-ba00-4fd7-ba43-dac1f8f63013": "Azure Resource Manager",
    "https://management.azure.com": "Azure Resource Manager",
    "https://management.core.windows.net": "Azure Resource Manager",
    "https://vault.azure.net": "Azure Key Vault",
    "cfa8b339-82a2-471a-a3c9-0fc0be7a4093": "Azure Key Vault",
    "https://service.flow.microsoft.com": "Power Automate",
}
"""APIs whose tokens are often sent by mistake, by audience. `az account get-access-token` without a scope requests one
for Azure Resource Manager, and many samples request one for Microsoft Graph."""


def wrong_with(text: str) -> tuple[str, str]:
    """Why this is not an audience, as a predicate, and what to do; twice "" if it may be one."""
    if _QUOTES & set(text):
        return "has quotes in it, which no audience has", "Write it without them: `docker --env-file` keeps quotes"
    scope = _SCOPE.fullmatch(text)
    if scope:
        return "is a scope, and no token has a scope as its audience", f"Write {scope[1]}"
    return "", ""


def could_be_ours(found: str, ours: Iterable[str], client_id: str) -> bool:
    """Whether a token of this audience was probably requested for this server. `ours` are the accepted audiences,
    `client_id` is the server's own, "" if it is not known.

    It differs from one of ours only in its form: a client id with or without `api://`, letters of the other case, a
    slash at the end. Or it is a client id, and the one of this server is not known.
    """
    known = {_bare(audience) for audience in (*ours, client_id) if audience}
    bare = _bare(found)
    if bare in known:
        return True
    return is_client_id(found) and not of_microsoft(found) and not any(map(_GUID.fullmatch, known))


def is_client_id(audience: str) -> bool:
    """Whether this is the form that tokens of version 2.0 have: the client id of the API's registration."""
    return _GUID.fullmatch(audience.lower()) is not None


def of_microsoft(audience: str) -> str:
    """The name of Microsoft's API that has this audience; "" if it is none of those known."""
    return _OF_MICROSOFT.get(audience.lower().rstrip("/"), "")


def _bare(audience: str) -> str:
    return audience.lower().removeprefix("api://").rstrip("/")
