"""The recorded bodies of a run as text, or why there is none. Pure."""

from dataclasses import dataclass

from postern.console.json_text import beginning, spread_out
from postern.journal.body_form import Form
from postern.journal.reading.records import RunRecord
from postern.json_parser import parse
from postern.plain_text import plain

SHOWN_AT_FIRST = 6000
"""Characters of a body in a page, so that the page stays small. The whole body is a link away."""

_NOTES: dict[tuple[str, Form], str] = {
    ("inputs", Form.SECURED): "Not recorded: the workflow is declared with secure_inputs.",
    ("outputs", Form.SECURED): "Not recorded: the workflow is declared with secure_inputs or secure_outputs.",
    **{
        (side, form): note
        for side in ("inputs", "outputs")
        for form, note in (
            (Form.CUT, "The body was longer than 64 KiB. Only its beginning is recorded."),
            (Form.REDACTED, "Values that look like secrets are not recorded."),
            (Form.BASE64, "The body is no text. It is shown as Base64."),
        )
    },
}


@dataclass(frozen=True, slots=True)
class Body:
    """A body: its text, None if there is none to show, and a note about it. `left_out` counts the characters behind the
    text."""

    text: str | None
    note: str
    left_out: int


def input_of(record: RunRecord, *, whole: bool) -> Body:
    """What the workflow got."""
    none = "The caller sent no body."
    return _body(record.inputs, record.inputs_form, "inputs", none, whole=whole)


def output_of(record: RunRecord, *, whole: bool) -> Body:
    """What the caller got."""
    if not record.ended:
        none = "The run has not ended."
    elif record.outputs_form is None:
        none = "The run ended without a reply."
    else:
        none = "The reply has no body."
    return _body(record.outputs, record.outputs_form, "outputs", none, whole=whole)


def json_body(document: str, *, whole: bool) -> Body:
    """A JSON document that is no body of a request."""
    return _body(document, Form.JSON, "inputs", "", whole=whole)


def readable(text: str, form: Form | None) -> str:
    """A recorded body for reading: JSON with a line for each member."""
    document = _document(text, form)
    return text if document is None else spread_out(document)


def _document(text: str, form: Form | None) -> str | None:
    """The JSON document that a body is; None if it is none."""
    if form not in (Form.JSON, Form.REDACTED):
        return None
    document = text.removeprefix("\ufeff")
    try:
        parse(document)
    except ValueError:
        return None
    return document


def _body(text: str | None, form: Form | None, side: str, none: str, *, whole: bool) -> Body:
    note = _NOTES.get((side, form), "") if form is not None else ""
    if text is None:
        return Body(None, note or none, 0)
    if whole:
        return Body(plain(readable(text, form), lines=True), note, 0)
    # Only what is shown is made readable: the page is polled, and the event loop waits for it.
    document = _document(text, form)
    begin, behind = (
        (text[:SHOWN_AT_FIRST], len(text[SHOWN_AT_FIRST:])) if document is None else beginning(document, SHOWN_AT_FIRST)
    )
    shown = plain(begin, lines=True)
    return Body(shown[:SHOWN_AT_FIRST], note, len(shown[SHOWN_AT_FIRST:]) + behind)
