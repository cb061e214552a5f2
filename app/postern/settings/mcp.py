"""The settings of `/mcp`: whether it is on, and the scope that its clients request."""

import re
from typing import Any

from postern.settings.types import fault

DEFAULT_SCOPE = ".default"
"""Every scope that the client was given consent for. It is the only one that applications can request too."""

_OF_OPENID = frozenset({"openid", "profile", "email", "offline_access"})
_SCOPE = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=-]{1,120}", re.ASCII)


def on_or_off(value: Any) -> bool:
    """Whether it is on."""
    if isinstance(value, bool):
        return value
    if value not in ("on", "off"):
        raise fault("is neither on nor off", "Write on or off")
    return bool(value == "on")


def scope_name(text: str) -> str:
    """The name of a delegated scope of the registration, or `.default`."""
    if "/" in text:
        raise fault(
            "is not the name of a scope, but a whole one",
            "Write the name only, as Expose an API shows it after the last slash",
        )
    if text in _OF_OPENID:
        raise fault("is a scope of OpenID Connect", "Name one of your app registration (Expose an API)")
    if not _SCOPE.fullmatch(text):
        raise fault("is not the name of a scope", "Write .default or one name without spaces, such as Tools.Call")
    return text
