"""Where a form comes from: it is read while it arrives, or from the whole body if that is needed as it was sent, for a
sender's signature or for a durable run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from postern.access import Signed
from postern.authoring.workflow import Workflow
from postern.catalog import Trigger
from postern.media_types import is_multipart
from postern.triggers.read import Receive, once, pieces_of, read_body

if TYPE_CHECKING:
    from postern.authoring.sent_form import SentForm

CONTENT_TYPE = b"content-type"
Fields = Mapping[bytes, bytes]
Begin = Callable[[int], Callable[[int], None]]


@dataclass(slots=True)
class Upload:
    """The body of a request; of a form with files that was read while it arrived, the form in its place. `hold` changes
    how many bytes it holds of what all forms may hold, and `held` are those."""

    body: bytes = b""
    form: "SentForm | None" = None
    hold: Callable[[int], None] = field(default=lambda _: None, repr=False)
    held: int = 0

    def form_in(self, workflow: Workflow, content_type: bytes | None) -> "SentForm | None":
        """The form, also where the body is one with files. None if there is none: such a body is kept as it was
        sent. Raises Problem 400."""
        if self.form is not None or workflow.form is None or not self.body or not _is_multipart(content_type):
            return self.form
        from postern.triggers.forms import form_in

        return form_in(workflow.form, content_type, self.body)

    def shrink(self) -> None:
        """It has arrived: it holds what it has, not what was announced."""
        size = len(self.body) + sum(each.size or 0 for each in (self.form.files if self.form else ()))
        self.hold(min(size, self.held) - self.held)
        self.held = min(size, self.held)

    def close(self) -> None:
        """The run has ended: remove the files, and give back what they held."""
        if self.form is not None:
            self.form.close()
        self.hold(-self.held)
        self.held = 0


async def receive_body(
    trigger: Trigger,
    arrived: bytes | None,
    fields: Fields,
    receive: Receive,
    limit: int,
    begin: Begin,
    still: Callable[[], None],
) -> Upload:
    """The body of a request. `arrived` is the body if it is there. `begin` takes room for a form with files, and
    `still` raises Refused if the caller's access has ended meanwhile. Raises Problem 400, 413, 415 and 429, and
    Disconnected."""
    upload, content_type = Upload(), fields.get(CONTENT_TYPE)
    try:
        if arrived != b"" or content_type is not None:
            await _receive(upload, trigger, arrived, fields, receive, limit, begin)
        still()
    except BaseException:
        upload.close()
        raise
    upload.shrink()
    return upload


async def _receive(
    upload: Upload, trigger: Trigger, arrived: bytes | None, fields: Fields, receive: Receive, limit: int, begin: Begin
) -> None:
    workflow, content_type = trigger.workflow, fields.get(CONTENT_TYPE)
    as_form = False
    if (form := workflow.form) is not None:
        from postern.triggers.forms import check_type, read_form

        check_type(form, content_type)
        if _is_multipart(content_type):
            size = _announced(fields, limit) if arrived is None else len(arrived)
            upload.hold, upload.held = begin(size), size
            as_form = not (workflow.durable or isinstance(trigger.policy, Signed))
    if form is not None and as_form:
        body = pieces_of(receive, limit) if arrived is None else once(arrived)
        upload.form = await read_form(form, content_type or b"", body)
    else:
        upload.body = await read_body(receive, limit) if arrived is None else arrived


def _announced(fields: Fields, limit: int) -> int:
    """How many bytes will come at most: without a Content-Length, as many as may."""
    return min(int(fields.get(b"content-length", limit)), limit)


def _is_multipart(content_type: bytes | None) -> bool:
    return content_type is not None and is_multipart(content_type)
