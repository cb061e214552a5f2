"""Content codings of replies (RFC 9110, section 8.4.1). None is requested, but some servers compress all the same. A
reply is unpacked piece by piece, so that no piece of it takes much memory, however far it unfolds."""

import re
import zlib
from collections.abc import Iterator

PIECE = 64 * 1024
"""The largest piece that is unpacked at a time, in bytes."""

_GZIP, _DEFLATE, _RAW_DEFLATE = 31, 15, -15  # zlib's window bits by container: RFC 1952, 1950 and 1951
_HEAD, _METHOD = 2, 8  # the bytes of zlib's header, and its only method
_WINDOWS = {"gzip": _GZIP, "x-gzip": _GZIP, "deflate": _DEFLATE}
_SHOWN = re.compile(r"[a-z0-9-]{1,20}")


class NotUnpacked(ValueError):
    """A body that is damaged, breaks off, or has something after its end."""


class Unpacker:
    """Unpacks one body of the coding `gzip` or `deflate`."""

    def __init__(self, coding: str) -> None:
        self._window = _WINDOWS[coding]
        self._zlib: zlib._Decompress | None = None
        self._head = b""

    def unpack(self, packed: bytes) -> Iterator[bytes]:
        """What these bytes unfold to, in pieces. Raises NotUnpacked."""
        if self._zlib is None:
            packed = self._head = self._head + packed
            if len(packed) < _HEAD:
                return
            self._zlib = zlib.decompressobj(self._container(packed))
        piece = b""
        while packed or len(piece) == PIECE:  # after a full piece, zlib may hold more of what it has read
            if packed and self._zlib.eof:
                self._zlib = self._next_member()
            try:
                piece = self._zlib.decompress(packed, PIECE)
            except zlib.error:
                raise NotUnpacked from None
            packed = self._zlib.unconsumed_tail or self._zlib.unused_data
            if piece:
                yield piece

    def end(self) -> None:
        """Check that the body is whole. A body without a byte is. Raises NotUnpacked."""
        if self._head and (self._zlib is None or not self._zlib.eof):
            raise NotUnpacked

    def _container(self, head: bytes) -> int:
        """Some servers send deflate without the container of zlib, whose first two bytes are a multiple of 31
        (RFC 1950, section 2.2; RFC 9110, section 8.4.1.2)."""
        bare = self._window == _DEFLATE and (head[0] & 0x0F != _METHOD or int.from_bytes(head[:_HEAD], "big") % 31)
        return _RAW_DEFLATE if bare else self._window

    def _next_member(self) -> "zlib._Decompress":
        """A file in gzip may have several members (RFC 1952, section 2.2)."""
        if self._window != _GZIP:
            raise NotUnpacked
        return zlib.decompressobj(_GZIP)


def coding_of(written: str) -> str:
    """The content coding in a header, "" if there is none."""
    named = [each.strip().lower() for each in written.split(",")]
    return ", ".join(each for each in named if each not in ("", "identity"))


def is_known(coding: str) -> bool:
    """Whether this coding can be unpacked."""
    return coding in _WINDOWS


def shown(coding: str) -> str:
    """The coding for a message: only a plain name is repeated, because the other side wrote it."""
    return f"the content coding {coding}" if _SHOWN.fullmatch(coding) else "several or unknown content codings"
