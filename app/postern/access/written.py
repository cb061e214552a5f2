"""An access mode as the journal keeps it: JSON with its name and its options. Pure."""

import json
from dataclasses import fields
from typing import Any

from postern.access.modes import SpecificUsers, TenantUsers

_MODES = {mode.mode: mode for mode in (TenantUsers, SpecificUsers)}


def written(access: TenantUsers) -> str:
    """The JSON of an access mode that callers need a token for. Equal modes have equal texts."""
    options = {each.name: getattr(access, each.name) for each in fields(access)}
    return json.dumps({"mode": access.mode, **options})


def access_of(text: str) -> TenantUsers:
    """The access mode that `written` wrote."""
    found = json.loads(text)
    mode = _MODES[found.pop("mode")]
    options: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in found.items()
    }
    return mode(**options)
