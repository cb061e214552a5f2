"""Which of the requested scopes were not granted. Pure."""

from collections.abc import Iterable

OF_OPENID = frozenset({"openid", "profile", "email", "address", "phone", "offline_access"})
"""Scopes that providers leave out of their responses, or name in another way (Google: `userinfo.email`). Whether they
were granted shows by the ID token and the refresh token."""
_DEFAULT = ".default"
"""Entra's name for all permissions of the registration. The response has those instead."""
_REFRESH = "refresh_token"
"""Salesforce's name for `offline_access`."""


def missing_scopes(requested: Iterable[str], granted: Iterable[str] | None) -> tuple[str, ...]:
    """The requested scopes that are not among those granted; () if the provider does not say (None), because then it
    granted what was requested (RFC 6749, section 5.1). Case and the resource before a name are ignored: Entra's
    response may be without them."""
    if granted is None:
        return ()
    there = {_name(scope) for scope in granted}
    return tuple(scope for scope in requested if not _is_granted(_name(scope), there))


def _is_granted(name: str, there: set[str]) -> bool:
    """A wider scope includes a narrower one: GitHub's response then has the wider one only ("Scopes for OAuth apps",
    Normalized scopes)."""
    if name in OF_OPENID or name in (_DEFAULT, _REFRESH) or name in there:
        return True
    kind, _, what = name.partition(":")
    wider = {"read": ("write", "admin"), "write": ("admin",)}.get(kind, ())
    return bool(what and kind in there) or any(f"{each}:{what}" in there for each in wider)


def _name(scope: str) -> str:
    """The last part of a scope that is a URL, in lower case; any other scope as a whole."""
    lowered = scope.lower()
    return lowered.rstrip("/").rpartition("/")[2] if "://" in lowered else lowered
