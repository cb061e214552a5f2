"""Checks that every HTTP parser reads the head of a request in the same way. Pure.

The parser has already rejected requests that are not HTTP. This room rejects heads that are correct line by line but
could be framed in two ways, so that a proxy in front and this server would disagree where a request ends.
"""

import re
from functools import lru_cache

from httptools import HttpParserError

from postern.triggers import find

MAX_TARGET_BYTES = find.MAX_TARGET_BYTES
MAX_HEADER_BYTES = 64 * 1024
MAX_HEADERS = 200

_MAX_HOST_BYTES = 255 + len(":65535")
_HOST = re.compile(rb"(?:[A-Za-z0-9._~%!$&'()*+;=-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")
_SLASH = ord("/")


class Unacceptable(Exception):
    """A rejected head. `code` is a problem code; the text is for the log and quotes no input."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def check_head(
    target: bytes, version: str, headers: list[tuple[bytes, bytes]]
) -> tuple[bytes, bool, dict[bytes, bytes] | None]:
    """The header that delimits the body, empty if there is none; whether the client waits for 100 Continue; and the
    headers by name, or None if a name occurs more than once.

    Names are in lower case, values without white space around them. Raises Unacceptable. It runs for every request.
    """
    if not target or target[0] != _SLASH or b"#" in target:
        raise Unacceptable("bad-request", "request target is not a path")
    if len(target) > MAX_TARGET_BYTES:
        raise Unacceptable("uri-too-long", "request target")
    if version not in ("1.1", "1.0"):
        raise Unacceptable("bad-request", "HTTP version")
    if len(headers) > MAX_HEADERS:
        raise Unacceptable("headers-too-large", "number of headers")
    fields = dict(headers)
    single = len(fields) == len(headers)
    if not single:
        _check_single([name for name, _ in headers])
    host = fields.get(b"host")
    if host is None or not _is_host(host):
        _refuse_host(version, host)
    expects_continue = b"expect" in fields and fields[b"expect"].lower() == b"100-continue" and version == "1.1"
    framing = _framing(version, fields.get(b"content-length"), fields.get(b"transfer-encoding"))
    return framing, expects_continue, fields if single else None


def check_size(headers: list[tuple[bytes, bytes]]) -> None:
    """Raises Unacceptable if the headers are too large. Only needed if more bytes than that have arrived."""
    if sum(len(name) + len(value) + 4 for name, value in headers) > MAX_HEADER_BYTES:
        raise Unacceptable("headers-too-large", "size of headers")


def _check_single(names: list[bytes]) -> None:
    if names.count(b"transfer-encoding") > 1:
        raise Unacceptable("unsupported-transfer-coding", "several Transfer-Encoding headers")
    if names.count(b"host") > 1 or names.count(b"content-length") > 1:
        raise Unacceptable("bad-request", "several Host or Content-Length headers")


def _refuse_host(version: str, host: bytes | None) -> None:
    """RFC 9112, section 3.2: only HTTP/1.0 may leave it out."""
    if host is not None:
        raise Unacceptable("bad-request", "malformed Host header")
    if version == "1.1":
        raise Unacceptable("bad-request", "no Host header")


@lru_cache(maxsize=64)
def _is_host(value: bytes) -> bool:
    return len(value) <= _MAX_HOST_BYTES and _HOST.fullmatch(value) is not None


def _framing(version: str, length: bytes | None, coding: bytes | None) -> bytes:
    """RFC 9112, sections 6.1 to 6.3, taken strictly."""
    if coding is not None:
        if length is not None:
            raise Unacceptable("bad-request", "both Content-Length and Transfer-Encoding")
        if version != "1.1":
            raise Unacceptable("bad-request", "Transfer-Encoding in HTTP/1.0")
        if coding.lower() != b"chunked":
            raise Unacceptable("unsupported-transfer-coding", "not exactly chunked")
        return b"Transfer-Encoding: chunked"
    if length is None:
        return b""
    if not length.isdigit():
        raise Unacceptable("bad-request", "malformed Content-Length")
    return b"Content-Length: " + length if length.strip(b"0") else b""


def why(error: HttpParserError) -> tuple[str, str]:
    """The code and the private reason of a rejection. The parser's own messages are constant and quote no input."""
    cause = error.__context__
    if isinstance(cause, Unacceptable):
        return cause.code, str(cause)
    if cause is not None:
        return "bad-request", type(cause).__name__
    reason = str(error)
    return ("unsupported-transfer-coding" if "`Transfer-Encoding`" in reason else "bad-request"), reason
