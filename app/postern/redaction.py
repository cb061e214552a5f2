"""The last line of defence against secrets in logs and records. It redacts by the name of a value, and by the shape of
a JWT anywhere in a text. It cannot recognise a secret in plain text under a harmless name.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, urlencode

from pydantic_core import to_jsonable_python

REDACTED = "[redacted]"
TOKEN = "[token]"  # noqa: S105 - what replaces a token

_SECRET_NAMES = frozenset(
    {
        "access_token",
        "api_key",
        "apikey",
        "assertion",
        "authorization",
        "client_assertion",
        "cookie",
        "id_token",
        "jwt",
        "ocp_apim_subscription_key",
        "passwd",
        "private_key",
        "proxy_authorization",
        "refresh_token",
        "set_cookie",
        "sig",
        "token",
        "x_api_key",
        "x_functions_key",
        "x_ms_token_aad_access_token",
        "x_ms_token_aad_id_token",
    }
)
_DOTTED = re.compile(r"eyJ[\w=.-]*", re.ASCII)
"""What may be a JWT. Every match succeeds, so a long text is read once: the dot is checked afterwards."""


_NAMED = re.compile(r"""(?<![\w-])([\w-]{1,64})(["']?\s{0,3}[:=]\s{0,3})("[^"]*"|'[^']*'|[^\s&,;)}\]"']+)""", re.ASCII)
"""A name and its value in a text, as in `sig=abc` and `{'password': 'abc'}`."""


@lru_cache(maxsize=4096)
def is_secret_name(name: str) -> bool:
    """Whether values under this name are always redacted."""
    plain = name.lower().replace("-", "_")
    return plain in _SECRET_NAMES or "secret" in plain or "password" in plain


def without_tokens(text: str) -> str:
    """The text with `[token]` in place of every JWT."""
    return _DOTTED.sub(lambda found: TOKEN if "." in found[0] else found[0], text) if "eyJ" in text else text


def without_secret_values(text: str) -> str:
    """The text without JWTs, and with `[redacted]` in place of each value that stands behind a secret name: an
    exception's text may repeat a URL with its query, or a dict."""
    return _NAMED.sub(
        lambda found: f"{found[1]}{found[2]}{REDACTED}" if is_secret_name(found[1]) else found[0], without_tokens(text)
    )


def redacted_query(query: bytes) -> str:
    """A URL's query without JWTs and without values under secret names."""
    shown = without_tokens(query.decode("latin-1"))
    pairs = parse_qsl(shown, keep_blank_values=True)
    if any(is_secret_name(name) for name, _ in pairs):
        shown = urlencode([(name, REDACTED if is_secret_name(name) else value) for name, value in pairs])
    return shown


def written(value: Any) -> Any:
    """A value as JSON, with values under secret names redacted at any depth. It never raises: a value that cannot be
    written becomes the name of its type. Tokens are left to `without_tokens`."""
    try:
        return without_secrets(to_jsonable_python(value, fallback=_fallback, inf_nan_mode="strings"))
    except Exception:
        return f"<{type(value).__name__}>"  # a value's own methods may raise anything


def each_text(value: Any, change: Callable[[str], str]) -> Any:
    """A JSON value with every string in it changed, including names."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {change(key): each_text(part, change) for key, part in value.items()}
    if isinstance(value, list):
        return [each_text(part, change) for part in value]
    return value


def _fallback(value: Any) -> Any:
    return dict(value.items()) if isinstance(value, Mapping) else str(value)


def without_secrets(value: Any) -> Any:
    """A JSON value with values under secret names redacted at any depth. Raises RecursionError at depths that no JSON
    parser of this program accepts."""
    if isinstance(value, dict):
        return {key: REDACTED if is_secret_name(key) else without_secrets(part) for key, part in value.items()}
    if isinstance(value, list):
        if len(value) == 2 and isinstance(value[0], str) and is_secret_name(value[0]):  # a header as a pair
            return [value[0], REDACTED]
        return [without_secrets(part) for part in value]
    return value
