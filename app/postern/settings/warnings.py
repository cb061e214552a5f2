"""Settings that are valid and probably not what was meant. Pure; `postern check` prints them."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from postern.audiences import is_client_id
from postern.loopback import is_loopback
from postern.networks import in_networks
from postern.settings.descriptions import entries
from postern.settings.settings import Settings

PROXY_VARIABLES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")

EXTERNAL_ID = ".ciamlogin.com"
"""Where Entra External ID signs people in: at the name or the id of the tenant, and the tokens' issuer has the id."""


def warnings(settings: Settings) -> list[str]:
    """One text for each, which names the setting and what to do."""
    found = [
        f"POSTERN_AUDIENCE: {audience} ends with a slash. Audiences are compared exactly, so a token for "
        f"{audience.rstrip('/')} is rejected. Some audiences have the slash; remove it if yours has none"
        for audience in settings.audience
        if audience.endswith("/")
    ]
    if settings.audience and settings.client_id is None and not any(map(is_client_id, settings.audience)):
        found.append(
            "POSTERN_AUDIENCE has no client id, and POSTERN_CLIENT_ID is not set. Tokens of version 2.0 have the "
            "client id of Postern's app registration as their audience and are rejected. Set POSTERN_CLIENT_ID, or add "
            "the client id to POSTERN_AUDIENCE"
        )
    if settings.allowed_networks and not settings.trusted_proxies and (settings.public_url or "").startswith("https:"):
        found.append(
            "POSTERN_ALLOWED_NETWORKS is set, and POSTERN_TRUSTED_PROXIES is not. If a proxy is before the server, all "
            "clients have its address, and all are allowed if it is. Name the proxy in POSTERN_TRUSTED_PROXIES"
        )
    if settings.allowed_networks and _is_here(settings) and not in_networks("127.0.0.1", settings.allowed_networks):
        found.append(
            "POSTERN_ALLOWED_NETWORKS leaves out 127.0.0.1, where commands on this machine come from. They are "
            "rejected. Add it, if they are to work"
        )
    found += [
        f"postern.toml, {name}: its address is http://, so agents of the gateway {entry.gateway} send requests and "
        "credentials in the clear to the other side. Write https://, if it can"
        for name, entry in entries(settings).items()
        if entry.is_clear
    ]
    if settings.authority and settings.tenant_id:
        found += _external_id(settings.authority, settings.tenant_id)
    return found


def unknown_workflows(settings: Settings, known: Mapping[str, bool]) -> list[str]:
    """The same for workflows that `[limits]` and `[access]` name, and that there are not: their entries do nothing. And
    for those of `[access]` that are not open to anyone, as `known` says: the access review would not notice when they
    are."""
    named = [
        *((f"limits.workflows.{name}", name) for name in settings.limits.workflows),
        *(("access.anonymous", name) for name in settings.access.anonymous),
    ]
    missing = [
        f"postern.toml, {place}: there is no workflow {name}. Correct the name, or remove it"
        for place, name in named
        if name not in known
    ]
    return missing + [
        f"postern.toml, access.anonymous: {name} is not open to anyone. Remove it, so that the access review would say "
        "if it were"
        for name in settings.access.anonymous
        if known.get(name) is False
    ]


def environment_warnings(environ: Mapping[str, str], settings: Settings) -> list[str]:
    """The same for variables that other programs read, and Postern does not. Values are not shown: a proxy's may have a
    password."""
    found = next((name for name in PROXY_VARIABLES if environ.get(name)), None)
    if found is None or settings.proxy is not None:
        return []
    text = f"{found} is set, and Postern does not read it: its calls go out directly. If they need the proxy, "
    return [text + "set POSTERN_PROXY, and POSTERN_NO_PROXY in place of NO_PROXY"]


def _is_here(settings: Settings) -> bool:
    """Whether commands reach the server by this machine's own address."""
    return settings.public_url is None or is_loopback(urlsplit(settings.public_url).hostname or "")


def _external_id(authority: str, tenant_id: str) -> list[str]:
    host = (urlsplit(authority).hostname or "").lower()
    by_id = f"https://{tenant_id}{EXTERNAL_ID}"
    if not host.endswith(EXTERNAL_ID) or authority == by_id:
        return []
    issuer, expected = f"{by_id}/{tenant_id}/v2.0", f"{authority}/{tenant_id}/v2.0"
    says = f"tokens of Entra External ID have the issuer {issuer}, and Postern expects {expected}"
    return [f"POSTERN_AUTHORITY: {says}. Set POSTERN_AUTHORITY to {by_id}"]
