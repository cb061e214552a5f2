"""The secrets that the settings name, and their users. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from postern.settings import SecretReference, Settings

_LEFT_OUT = ("auth",)  # every entry has it, so `connections.graph client_secret` is clear


def secret_references(settings: Settings) -> dict[str, tuple[str, ...]]:
    """The names of all secrets in alphabetical order, each with its users: `connections.graph client_secret`, or the
    name of a setting. Names that differ only in case are one secret, as in Key Vault."""
    found: dict[str, tuple[str, list[str]]] = {}
    for name, user in _all(settings):
        found.setdefault(name.lower(), (name, []))[1].append(user)
    return {name: tuple(users) for _, (name, users) in sorted(found.items())}


def _all(settings: Settings) -> Iterator[tuple[str, str]]:
    if settings.client_secret_name:
        yield settings.client_secret_name, "POSTERN_CLIENT_SECRET_NAME"
    if settings.grants_key_name:
        yield settings.grants_key_name, "POSTERN_GRANTS_KEY_NAME"
    if settings.audit_key_name:
        yield settings.audit_key_name, "POSTERN_AUDIT_KEY_NAME"
    if settings.durable_key_name:
        yield settings.durable_key_name, "POSTERN_DURABLE_KEY_NAME"
    tables: dict[str, Mapping[str, BaseModel]] = {"connections": settings.connections, "triggers": settings.triggers}
    for table, entries in tables.items():
        for name, entry in sorted(entries.items()):
            for path, reference in references_within(entry):
                yield reference.key_vault, f"{table}.{name} {'.'.join(path)}"


def references_within(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], SecretReference]]:
    """Every reference inside a value, with the path of field names to it."""
    if isinstance(value, SecretReference):
        yield path, value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from references_within(getattr(value, name), path if name in _LEFT_OUT else (*path, name))
    elif isinstance(value, Mapping):
        for name, part in value.items():
            yield from references_within(part, (*path, str(name)))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from references_within(part, path)
