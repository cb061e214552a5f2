"""Where a form comes from: it is read while it arrives, or from the whole body if that is needed as it was sent, for a
sender's signature or for a durable run."""

from collections.abc import Mapping
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


async def read_form_body(
    trigger: Trigger, arrived: bytes | None, fields: Fields, receive: Receive, limit: int
) -> "tuple[bytes, SentForm | None]":
    """The body of a request to a workflow that takes a form, and the form if it is read while it arrives, in place of
    the body. `arrived` is the body if it is there. Raises Problem 400, 413 and 415, and Disconnected."""
    from postern.triggers.forms import check_type, read_form

    workflow, content_type = trigger.workflow, fields.get(CONTENT_TYPE)
    form = workflow.form
    if form is None or (arrived == b"" and content_type is None):
        return arrived or b"", None
    check_type(form, content_type)
    if not _is_multipart(content_type) or workflow.durable or isinstance(trigger.policy, Signed):
        return await read_body(receive, limit) if arrived is None else arrived, None
    body = pieces_of(receive, limit) if arrived is None else once(arrived)
    return b"", await read_form(form, content_type or b"", body)


def form_of_body(workflow: Workflow, body: bytes, content_type: bytes | None) -> "SentForm | None":
    """The form that a whole body is, None if it is none with files: such a body is kept as it was sent."""
    if workflow.form is None or not body or not _is_multipart(content_type):
        return None
    from postern.triggers.forms import form_in

    return form_in(workflow.form, content_type, body)


def _is_multipart(content_type: bytes | None) -> bool:
    return content_type is not None and is_multipart(content_type)
