"""Multipart bodies (RFC 2046, RFC 7578) without secrets, part by part."""

import re
from collections.abc import Callable

from postern.possessive import possessive
from postern.redaction.names import is_secret_name
from postern.redaction.texts import REDACTED, resolved, without_secret_values
from postern.redaction.unreadable import Unreadable

Read = Callable[[bytes, str], bytes | None]

_BOUNDARY = re.compile(r"""boundary\s*=\s*(?:"([^"]{1,200})"|([^\s;"]{1,200}))""", re.IGNORECASE)
_QUOTED = possessive(r'[^"\\]|\\.')
_NAME = re.compile(rf"""(?<![\w*])name(\*?)\s*=\s*(?:"({_QUOTED})"|([^\s;"]++))""", re.IGNORECASE)
_LINES = re.compile(rb"\r?\n[ \t]*\r?\n")


def multipart_without_secrets(content: bytes, content_type: str, read: Read) -> bytes:
    """The body with the contents of parts under secret names redacted, and other parts as `read` returns them (None for
    a part without secrets). Raises Unreadable if it has no parts, or one has no name."""
    named = _BOUNDARY.search(content_type)
    boundary = (named[1] or named[2]).encode("latin-1", "replace") if named else content.lstrip()[2:202].split()[0:1]
    delimiter = b"--" + (boundary if isinstance(boundary, bytes) else b"".join(boundary))
    before, *parts = content.split(delimiter)
    if len(delimiter) < 3 or not parts or before.strip():
        raise Unreadable("no parts")
    return delimiter.join([before, *(_part(part, read) for part in parts)])


def _part(part: bytes, read: Read) -> bytes:
    if part.startswith(b"--"):
        if part[2:].strip():  # after the end
            raise Unreadable("more after the end")
        return part
    split = _LINES.search(part)
    if split is None:
        raise Unreadable("no head")
    head, body = part[: split.end()], part[split.end() :]
    lines = head.decode("utf-8", "replace")
    content_type = ""
    names: list[str] = []
    for line in lines.splitlines():
        field, _, value = line.partition(":")
        if field.strip().lower() == "content-disposition":
            names = [resolved(quoted or bare) for _, quoted, bare in _NAME.findall(value)]
        elif field.strip().lower() == "content-type":
            content_type = value.strip()
    if any(map(is_secret_name, names)):
        return head + REDACTED.encode() + b"\r\n"
    clean = read(body, content_type)
    bare = without_secret_values(lines)
    return (head if bare == lines else bare.encode()) + (body if clean is None else clean + b"\r\n")
