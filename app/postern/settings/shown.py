"""The settings as the audit log shows them. No setting is a secret; what could hold one is left out. Pure."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic_core import to_jsonable_python

from postern.redaction import without_secret_values
from postern.settings.descriptions import described, entries
from postern.settings.settings import Settings
from postern.settings.sources import TABLES

_ENTRIES = ("connections", "triggers")


def shown_settings(settings: Settings) -> dict[str, Any]:
    """Every setting by its name, as JSON, the tables among them. Of the database's address there is no user, no
    password and no option, and of an entry what `postern connections` shows."""
    shown: dict[str, Any] = {}
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if name in _ENTRIES:
            continue
        if name == "database_url":
            shown[name] = _without_sign_in(value)
        else:
            shown[name] = _plain(to_jsonable_python(value)) if name not in TABLES else to_jsonable_python(value)
    for name, entry in entries(settings).items():
        shown[name] = {part: _plain(value) for part, value in described(name, entry).items()}
    return shown


def _without_sign_in(url: str) -> str:
    """A database's address without user, password and options."""
    if url.startswith("sqlite"):
        return url.partition("?")[0]
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _plain(value: Any) -> Any:
    """Texts without what looks like a secret in them."""
    if isinstance(value, str):
        return without_secret_values(value)
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return str(value) if isinstance(value, Path) else value
