"""Texts of any length without secrets: looking for secrets takes time, and most of a long text is never shown."""

import re

from postern.redaction.texts import REDACTED, may_tell, without_secret_values

_LAST_WORD = re.compile(r"[\s,;&][^\s,;&]*\Z")


def beginning(text: str, most: int) -> str:
    """The first characters of a text, up to the end of a word, so that no URL or token is cut in two."""
    if len(text) <= most:
        return text
    found = _LAST_WORD.search(text, 0, most)
    return text[: found.start() if found else most]


def long_text_without_secrets(text: str, most: int) -> str:
    """The text without secrets, which are looked for in its beginning only. The rest is left out if it has a sign of
    one, or may be the end of one: without its name it cannot be found."""
    if len(text) <= most or not may_tell(text):
        return without_secret_values(text)
    first = beginning(text, most)
    clean, rest = without_secret_values(first), text[len(first) :]
    if may_tell(rest) or clean.endswith(REDACTED):
        return f"{clean}… ({len(rest):,} characters left out)"
    return clean + rest
