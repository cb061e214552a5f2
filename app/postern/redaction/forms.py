"""Queries and forms (`application/x-www-form-urlencoded`) without secrets."""

from urllib.parse import parse_qsl, urlencode

from postern.redaction.names import is_secret_name
from postern.redaction.texts import LONG_CODE, REDACTED, may_tell, without_secret_values, without_tokens


def form_without_secrets(text: str) -> str:
    """A query or form without secrets; unchanged if there are none."""
    if not may_tell(text):
        return text
    shown = without_tokens(text)
    pairs = parse_qsl(shown, keep_blank_values=True)
    if not pairs:  # a text without `=`
        return without_secret_values(shown)
    clean = [(without_secret_values(name), _clean(name, value)) for name, value in pairs]
    return shown if clean == pairs else urlencode(clean)


def _clean(name: str, value: str) -> str:
    if is_secret_name(name) or (name.lower() == "code" and len(value) >= LONG_CODE):
        return REDACTED if value else value
    return without_secret_values(value)


def redacted_query(query: bytes) -> str:
    """A URL's query without secrets."""
    return form_without_secrets(query.decode("latin-1"))
