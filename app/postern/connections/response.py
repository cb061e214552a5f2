"""A reply of the other side, with an error text of our own."""

import codecs
import json
from typing import Any, Self

from postern.connections.request_body import RENEWED
from postern.http_client import HTTPStatusError, Response, ResponseNotRead

TEXT_ENCODINGS = frozenset(
    (
        *("ascii", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"),
        *(f"iso8859-{part}" for part in (*range(1, 12), *range(13, 17))),
        *(f"cp{page}" for page in (437, 850, 852, 858, 866, 874, 932, 949, 950, *range(1250, 1259))),
        *("koi8-r", "koi8-u", "mac-roman", "shift_jis", "euc_jp", "iso2022_jp", "euc_kr"),
        *("gb2312", "gbk", "gb18030", "big5"),
    )
)
"""The encodings in which text is read, as `codecs.lookup` names them: to look them up here would load the tables of
all. Python knows others, with which a few bytes take very long (`punycode`, `idna`) or unfold to gigabytes (`zlib`)."""

NOT_REPEATED = (
    ". Its credential was renewed, but the body was a stream that can be read only once: send the request again"
)

_LONGEST_NAME = 40
_MARKED = {
    "utf-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
    "utf-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
}
"""Encodings whose byte order mark says the order of their bytes."""
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before that of UTF-16, with which it begins
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def is_of_text(encoding: str | None) -> bool:
    """Whether this is the name of an encoding in which text is read."""
    try:
        return (
            encoding is not None and len(encoding) <= _LONGEST_NAME and codecs.lookup(encoding).name in TEXT_ENCODINGS
        )
    except (LookupError, ValueError):
        return False


def in_utf8(response: Response) -> bytes:
    """The body in UTF-8 without a byte order mark, which readers of JSON ignore (RFC 8259, section 8.1). It is decoded
    by its byte order mark, else by the `charset` that the response names. A body that does not fit its charset is taken
    for UTF-8."""
    content = response.content
    for mark, encoding in _BOMS:
        if content.startswith(mark):
            content = content[len(mark) :]
            return content if encoding == "utf-8" else _recoded(content, encoding)
    named = response.charset_encoding
    if named is None or not is_of_text(named) or codecs.lookup(named).name in ("utf-8", "utf-8-sig", "ascii"):
        return content
    return _recoded(content, named)


def _recoded(content: bytes, encoding: str) -> bytes:
    try:
        return content.decode(encoding).encode()
    except UnicodeError:
        return content


class Answer(Response):
    """The response from an entry's transport. The HTTP client's own error would repeat a redirect's address, which the
    other side may have made from what it received, and errors of workflows are recorded."""

    @property
    def charset_encoding(self) -> str | None:
        """The encoding that the other side names, if it is one of text. Without a byte order mark, UTF-16 and UTF-32
        are little-endian: Python reads them so as a whole, and raises an error for parts."""
        named = super().charset_encoding
        if named is None or not is_of_text(named):
            return None
        name = codecs.lookup(named).name
        return f"{name}-le" if name in _MARKED and not self._begins_with_a_mark(name) else named

    def _begins_with_a_mark(self, name: str) -> bool:
        """Whether the body does. That of a stream is not known yet."""
        try:
            return self.content.startswith(_MARKED[name])
        except ResponseNotRead:
            return True

    def json(self, **options: Any) -> Any:
        """The body as JSON, whatever charset it is in. Raises ValueError."""
        return json.loads(in_utf8(self), **options)

    def raise_for_status(self) -> Self:
        """This reply if it is a success. Raises HTTPStatusError with the status and the address without its query."""
        request = self.request
        if self.is_success:
            return self
        where = f"{request.method} {request.url.copy_with(query=None)}"
        renewed = NOT_REPEATED if request.extensions.get(RENEWED) else ""
        raise HTTPStatusError(f"{where} returned {self.status_code}{renewed}", request=request, response=self)
