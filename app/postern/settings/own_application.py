"""What entries with `on_behalf_of` need of the settings: the tenant and the application that callers' tokens are for.
Pure."""

from collections.abc import Iterator, Mapping

from postern.settings.entries import Connection, OnBehalfOfAuth, Trigger

Place = tuple[str, str, str, str]


def on_behalf_of(
    connections: Mapping[str, Connection], triggers: Mapping[str, Trigger]
) -> Mapping[str, OnBehalfOfAuth]:
    """The entries whose runs act on behalf of their callers, by full name."""
    tables: Mapping[str, Mapping[str, Connection | Trigger]] = {"connections": connections, "triggers": triggers}
    return {
        f"{table}.{name}": entry.auth
        for table, entries in tables.items()
        for name, entry in entries.items()
        if isinstance(entry.auth, OnBehalfOfAuth)
    }


def problems_of(
    connections: Mapping[str, Connection],
    triggers: Mapping[str, Trigger],
    tenant_id: str | None,
    client_id: str | None,
) -> Iterator[tuple[Place, str, str]]:
    """The place, the problem and the fix of each entry that cannot be used. Without a tenant of the settings it is the
    local tenant, which has both."""
    if tenant_id is None:
        return
    for entry, auth in on_behalf_of(connections, triggers).items():
        table, _, name = entry.partition(".")
        if auth.tenant_id not in (None, tenant_id):
            fix = "Leave it out: the tokens of callers are exchanged in the tenant that issued them"
            yield (table, name, "auth", "tenant_id"), "is another tenant than POSTERN_TENANT_ID", fix
        if auth.client_id is None and client_id is None:
            fix = "Write the client id of the app registration that callers' tokens are for, or set the setting"
            yield (table, name, "auth", "on_behalf_of"), "needs a client_id: POSTERN_CLIENT_ID is not set", fix
