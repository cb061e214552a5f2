"""Texts in the form in which they are searched: case folded, and with the escapes of JSON strings resolved. Pure.

A database searches what is stored. Without its own form, `M\\u00fcller` would not be found by "Müller", as an operator
sees it, and SQLite ignores the case of ASCII letters only. Most texts are ASCII without a backslash. They need no form
of their own.
"""

import json
import re

_ESCAPES = re.compile(r'(?:\\(?:u[0-9a-fA-F]{4}|["\\/bfnrt]))+')


def search_form(*texts: str | None) -> str | None:
    """The form of the texts that need one, or None if none does."""
    found = [_resolved(text).casefold() for text in texts if text and ("\\" in text or not text.isascii())]
    return "\n".join(found) or None


def search_term(text: str) -> str:
    """What to look for in that form."""
    return text.casefold()


def _resolved(text: str) -> str:
    if "\\" not in text:
        return text
    resolved = _ESCAPES.sub(lambda found: json.loads(f'"{found[0]}"'), text)
    return resolved.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")
