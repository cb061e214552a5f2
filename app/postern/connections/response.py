"""A reply of the other side, with an error text of our own."""

import codecs
from typing import Self

from postern.http_client import HTTPStatusError, Response

TEXT_ENCODINGS = frozenset(
    codecs.lookup(name).name
    for name in (
        *("ascii", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"),
        *(f"iso8859-{part}" for part in (*range(1, 12), *range(13, 17))),
        *(f"cp{page}" for page in (437, 850, 852, 858, 866, 874, 932, 949, 950, *range(1250, 1259))),
        *("koi8-r", "koi8-u", "mac-roman", "shift_jis", "euc_jp", "iso2022_jp", "euc_kr"),
        *("gb2312", "gbk", "gb18030", "big5"),
    )
)
"""The encodings in which text is read. Python knows others, with which a few bytes take very long (`punycode`, `idna`)
or unfold to gigabytes (`zlib`)."""

_LONGEST_NAME = 40


class Answer(Response):
    """The response from an entry's transport. The HTTP client's own error would repeat a redirect's address, which the
    other side may have made from what it received, and errors of workflows are recorded."""

    @property
    def charset_encoding(self) -> str | None:
        """The encoding that the other side names, if it is one of text."""
        named = super().charset_encoding
        try:
            known = named is not None and len(named) <= _LONGEST_NAME and codecs.lookup(named).name in TEXT_ENCODINGS
        except (LookupError, ValueError):
            return None
        return named if known else None

    def raise_for_status(self) -> Self:
        """This reply if it is a success. Raises HTTPStatusError with the status and the address without its query."""
        request = self.request
        if self.is_success:
            return self
        where = f"{request.method} {request.url.copy_with(query=None)}"
        raise HTTPStatusError(f"{where} returned {self.status_code}", request=request, response=self)
