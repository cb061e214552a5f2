"""The body of a request or reply without secrets: one reader for each syntax."""

import re
from functools import partial

from postern.redaction.forms import form_without_secrets
from postern.redaction.multipart import multipart_without_secrets
from postern.redaction.names import is_secret_name
from postern.redaction.texts import first_sign, may_tell, resolved, without_secret_values
from postern.redaction.unreadable import Unreadable
from postern.redaction.values import json_without_secrets
from postern.redaction.xml import xml_without_secrets

NOT_RECORDED = "[not recorded: it cannot be read, and may contain secrets]"
"""What is recorded in place of a body that is not in the syntax that it claims, and has the name of a secret in it."""

_JSON = re.compile(r"\s*(?:\{|\[\s*[\[{\"])")
_MULTIPART = re.compile(rb"\s*--[^\r\n]{1,200}\r?\ncontent-", re.IGNORECASE)
_NO_READER = re.compile(r"csv|tab-separated|yaml|toml")
"""Types whose texts put a value elsewhere than right behind its name, and that have no reader here."""

_MOST_PARTS_DEEP = 3

_LONGEST_HEAD, _LONGEST_CELL = 4096, 40


def body_without_secrets(content: bytes, content_type: str) -> str | None:
    """The text to record in place of a body, or None if the body has nothing to redact."""
    clean = _read(content, content_type) if may_tell(content) or b"\x00" in content else None
    return None if clean is None else clean.decode("utf-8", "replace")


def _read(content: bytes, content_type: str, depth: int = 0) -> bytes | None:
    kind = content_type.lower()
    try:
        if "multipart/" in kind or _MULTIPART.match(content):
            deeper = partial(_read, depth=depth + 1) if depth < _MOST_PARTS_DEEP else _too_deep
            clean = multipart_without_secrets(content, content_type, deeper)
            return None if clean == content else clean
        text = content.decode("utf-8").removeprefix("\ufeff")
        bare = _read_text(text, kind)
    except (Unreadable, UnicodeDecodeError):
        return NOT_RECORDED.encode() if _looks_telling(content) else None
    return None if bare == text else bare.encode("utf-8", "replace")


def _too_deep(content: bytes, content_type: str) -> bytes | None:
    raise Unreadable("parts in parts")


def _read_text(text: str, kind: str) -> str:
    """The text as the reader of its syntax returns it. Its look goes before its type: many senders name a wrong one."""
    if "\x00" in text or _NO_READER.search(kind):
        raise Unreadable("no reader")
    if _JSON.match(text) or "json" in kind:
        return json_without_secrets(text)
    if text.lstrip()[:1] == "<" or "xml" in kind or "html" in kind:
        return xml_without_secrets(text)
    if "form-urlencoded" in kind:
        return form_without_secrets(text)
    if _is_table(text):
        raise Unreadable("no reader")
    return without_secret_values(text)


def _is_table(text: str) -> bool:
    """Whether a text is a table whose first line has the name of a secret, with another line of as many cells: CSV is
    often sent as plain text."""
    first, second = [*text.lstrip()[:_LONGEST_HEAD].split("\n"), ""][:2]
    return any(
        0 < first.count(mark) == second.count(mark)
        and any(is_secret_name(cell.strip(" \t\r\"'")) and len(cell) <= _LONGEST_CELL for cell in first.split(mark))
        for mark in ",;\t|"
    )


def _looks_telling(content: bytes) -> bool:
    """Whether a body that cannot be read may have a secret in it. A body that is no text, such as an image, has if it
    has a name and a value: UTF-16 is read without its zeros."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        text = content.replace(b"\x00", b"").decode("latin-1")
        return without_secret_values(text) != text
    return first_sign(resolved(text.replace("\x00", ""))) is not None
