"""The fields of a form that a page sent."""

from urllib.parse import parse_qsl

from postern.console.page import Visit
from postern.errors import problem
from postern.triggers.read import read_body

MOST_FIELDS = 20
FORM = "application/x-www-form-urlencoded"


async def fields_of(visit: Visit, limit: int) -> dict[str, str]:
    """The fields of the form, of which at most `limit` bytes are read. Lines end with a line feed, however the browser
    ended them. Raises Problem `body-too-large`, `unsupported-media-type` and `bad-request`."""
    kind = visit.request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = await read_body(visit.request.receive, limit)
    if kind != FORM and body:
        raise problem("unsupported-media-type", detail=f"This page takes forms as {FORM} only.")
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MOST_FIELDS)
    except ValueError:
        raise problem("bad-request", detail="The form is not valid.") from None
    return {name: text.replace("\r\n", "\n").replace("\r", "\n") for name, text in pairs}
