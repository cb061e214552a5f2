"""Whether the body of a request can be sent again."""

from collections.abc import Mapping
from io import BytesIO
from typing import Any

from postern.http_client import ByteStream, Request

REWINDS = "postern.rewinds"
"""The request extension of a form with files, each of which is read from its beginning for every attempt."""

RENEWED = "postern.renewed"
"""The request extension of a request whose credential was rejected and renewed, but which cannot be sent again."""


def keep(request: Request, files: Any) -> None:
    """Prepare a request with these `files` to be sent again. Files in memory are read now, and files on disk again for
    each attempt. A form with a file that can be read only once is left as it is."""
    if not isinstance(files, Mapping | list | tuple):
        return  # it was read once already
    values = list(files.values() if isinstance(files, Mapping) else (value for _, value in files))
    contents = [value[1] if isinstance(value, tuple) else value for value in values]
    if all(isinstance(content, str | bytes | BytesIO) for content in contents):
        request.read()
    else:
        request.extensions[REWINDS] = all(map(_rewinds, contents))


def may_be_sent_again(request: Request) -> bool:
    """Whether its body is in memory or can be read again, and is no stream that can be read only once."""
    return isinstance(request.stream, ByteStream) or request.extensions.get(REWINDS) is True


def _rewinds(content: Any) -> bool:
    if isinstance(content, str | bytes):
        return True
    seekable = getattr(content, "seekable", None)
    return callable(seekable) and bool(seekable())
