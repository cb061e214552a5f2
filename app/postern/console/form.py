"""The fields of a form that a page gets. They may hold a token or a body: no error repeats them."""

from urllib.parse import parse_qsl

from postern.console.page import Visit
from postern.errors import problem

MOST_FIELDS = 20
FORM = "application/x-www-form-urlencoded"


async def form_of(visit: Visit, most_bytes: int, most_fields: int = MOST_FIELDS) -> dict[str, str]:
    """The fields, of a form of at most `most_bytes` and `most_fields`. Raises Problem, also if the session ended while
    it arrived."""
    kind = visit.request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != FORM:
        raise problem("unsupported-media-type", detail="This page takes the form that it shows.")
    content = bytearray()
    async for part in visit.request.stream():
        content += part
        if len(content) > most_bytes:
            raise problem("body-too-large", detail=f"This form takes at most {most_bytes} bytes.")
    await visit.still()
    fields = _parsed(bytes(content), most_fields)
    if fields is None:  # raised here, and not where it was found: that error holds the content
        raise problem("bad-request", detail="The form could not be read: fill it in again.")
    return fields


def _parsed(content: bytes, most_fields: int) -> dict[str, str] | None:
    try:
        pairs = parse_qsl(content.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=most_fields)
    except ValueError:
        return None
    return dict(pairs)
