"""The entries of `postern.toml` as people read them: without secrets, and without the query of an address. Pure."""

from typing import Any

from postern.settings import Connection, GrantedAuth, Settings, Trigger
from postern.settings.references import references_within


def entries(settings: Settings) -> dict[str, Connection | Trigger]:
    """Every entry under its full name, as `connections.graph`."""
    connections = {f"connections.{name}": found for name, found in sorted(settings.connections.items())}
    return connections | {f"triggers.{name}": found for name, found in sorted(settings.triggers.items())}


def described(entry: str, found: Connection | Trigger) -> dict[str, Any]:
    """An entry without secrets and without the query of its address."""
    kind, _, name = entry.partition(".")
    address = found.url.partition("?")[0] if isinstance(found, Trigger) else found.base_url
    auth = found.auth
    parts = {key: getattr(auth, key) for key in type(auth).model_fields}
    scopes = auth.requested if isinstance(auth, GrantedAuth) else parts.get("scopes") or ()
    audience = parts.get("audience") or ""
    secrets = {".".join(path): reference.key_vault for path, reference in references_within(found)}
    return {
        "table": kind,
        "name": name,
        "address": address,
        "auth": auth.type,
        **_by_gateway(found),
        "for": [*scopes, *([audience] if audience else [])],
        "secrets": secrets,
    }


def _by_gateway(found: Connection | Trigger) -> dict[str, Any]:
    """The way to the other side, if it is not the usual one."""
    parts = {
        "gateway": found.gateway,
        "tls": found.tls if found.gateway is not None else None,
        "ca_bundle": str(found.ca_bundle) if found.ca_bundle is not None else None,
        "auth_gateway": getattr(found.auth, "gateway", None),
    }
    return {name: value for name, value in parts.items() if value is not None}
