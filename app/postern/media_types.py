"""Which media types are JSON (RFC 8259, section 11; RFC 6839, section 3.1; RFC 9110, section 8.3), and which run
nothing in a browser. Pure."""

import re
from functools import lru_cache

_LONGEST = 200
_NAMES = (b"application/json", b"text/json")
_UTF_8 = frozenset({b"utf-8", b"utf8", b"us-ascii", b"ascii"})
_INERT = re.compile(rb"text/plain|application/pdf|(?:application|text)/json|[a-z0-9!#$&^_.-]+/[a-z0-9!#$&^_.+-]+\+json")


@lru_cache(maxsize=256)
def is_json(content_type: bytes | None) -> bool:
    """Whether a Content-Type names JSON, in any charset."""
    media_type = _media_type(content_type)
    return media_type in _NAMES or (b"/" in media_type and media_type.endswith(b"+json"))


def is_form(content_type: bytes) -> bool:
    """Whether a Content-Type names a form without files."""
    return _media_type(content_type) == b"application/x-www-form-urlencoded"


def is_multipart(content_type: bytes) -> bool:
    """Whether a Content-Type names a form that may have files."""
    return _media_type(content_type) == b"multipart/form-data"


@lru_cache(maxsize=256)
def is_plain(content_type: bytes | None) -> bool:
    """Whether a Content-Type leaves open what the body is: it is absent, empty, or plain text."""
    return _media_type(content_type) in (b"", b"text/plain")


@lru_cache(maxsize=256)
def is_utf8(content_type: bytes | None) -> bool:
    """Whether a Content-Type names UTF-8, a part of it, or no charset."""
    parameters = (part.strip() for part in (content_type or b"")[:_LONGEST].lower().split(b";")[1:])
    charsets = [part.partition(b"=")[2].strip(b" \"'") for part in parameters if part.startswith(b"charset")]
    return all(charset in _UTF_8 for charset in charsets)


@lru_cache(maxsize=256)
def is_inert(content_type: bytes) -> bool:
    """Whether a browser that opens a reply of this Content-Type runs nothing of it at the reply's origin: JSON, plain
    text and PDF. A list of types is none of them, because browsers take its last one (Fetch, section 3.4)."""
    return b"," not in content_type and _INERT.fullmatch(_media_type(content_type)) is not None


def _media_type(content_type: bytes | None) -> bytes:
    if content_type is None:
        return b""
    if len(content_type) > _LONGEST:
        return b"?"
    return content_type.partition(b";")[0].strip().lower()
