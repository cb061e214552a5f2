"""The first step: find the trigger at this URL. Pure, and by the raw path only.

The path is compared as it was sent. A path with a part that programs decode differently (an encoded slash or dot, a
doubled slash, a backslash) matches no trigger. `Host` and rewrite headers are ignored. So all programs on the way
agree which workflow, and which policy, a URL means.
"""

from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from postern.catalog import Trigger
from postern.errors import problem

PREFIX = b"/triggers/"
LENGTH = len(PREFIX)

MAX_TARGET_BYTES = 8 * 1024
"""Bytes of a path with its query."""


Found = tuple[Trigger, Mapping[str, str]]
"""A trigger and the values of the parameters of its relative path, as text."""

NO_PARAMETERS: Mapping[str, str] = {}


def find(triggers: Mapping[str, Trigger], method: str, raw_path: bytes) -> Found:
    """The trigger of `/triggers/{workflow}[/relative/path]`. Raises Problem 404 and 405."""
    rest = _rest_of(raw_path)
    if rest is None:
        raise problem("unknown-trigger")
    trigger = triggers.get(rest)
    if trigger is not None and not trigger.workflow.path:  # the usual case
        parameters = NO_PARAMETERS
    else:
        name, *parts = rest.split("/")
        trigger = triggers.get(name)
        matched = _match(trigger.workflow.path_segments, parts) if trigger is not None else None
        if trigger is None or matched is None:
            raise problem("unknown-trigger")
        parameters = matched
    methods = trigger.workflow.methods
    if method not in methods and not (method == "HEAD" and "GET" in methods):
        raise problem("method-not-allowed", headers={"Allow": ", ".join(allowed(methods))})
    return trigger, parameters


@lru_cache(maxsize=256)
def _rest_of(raw_path: bytes) -> str | None:
    """What follows `/triggers/`; None for another path. Most requests are for few paths."""
    if not raw_path.startswith(PREFIX) or not raw_path.isascii():
        return None
    return raw_path[LENGTH:].decode("ascii")


def allowed(methods: tuple[str, ...]) -> tuple[str, ...]:
    """The methods of a trigger's URL: HEAD works wherever GET does (RFC 9110, section 9.1)."""
    return (*methods, "HEAD") if "GET" in methods and "HEAD" not in methods else methods


def _match(template: tuple[str, ...], parts: list[str]) -> Mapping[str, str] | None:
    """The parameters where the parts fit the template, else None."""
    if len(template) != len(parts):
        return None
    parameters = {}
    for segment, part in zip(template, parts, strict=True):
        if segment.startswith("{"):
            text = _decoded(part)
            if text is None:
                return None
            parameters[segment[1:-1]] = text
        elif segment != part:
            return None
    return parameters


def _decoded(part: str) -> str | None:
    """The text of one part of the path, or None where it is empty, a dot segment, not UTF-8, a broken escape, or holds
    a character that another program might take for a separator."""
    raw = unquote_to_bytes(part)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return None
    broken = part.count("%") != sum(1 for piece in part.split("%")[1:] if _is_hex(piece[:2]))
    if broken or not text or text in (".", "..") or any(c in "/\\" or not c.isprintable() for c in text):
        return None
    return text


def _is_hex(pair: str) -> bool:
    return len(pair) == 2 and all(character in "0123456789abcdefABCDEF" for character in pair)
