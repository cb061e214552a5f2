"""The recorded bodies of a run as text, or why there is none. Pure."""

from dataclasses import dataclass

from postern.console.json_text import spread_out
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


def readable(text: str, form: Form | None) -> str:
    """A recorded body for reading: JSON with a line for each member."""
    if form not in (Form.JSON, Form.REDACTED):
        return text
    try:
        parse(text.removeprefix("\ufeff"))
    except ValueError:
        return text
    return spread_out(text.removeprefix("\ufeff"))


def _body(text: str | None, form: Form | None, side: str, none: str, *, whole: bool) -> Body:
    note = _NOTES.get((side, form), "") if form is not None else ""
    if text is None:
        return Body(None, note or none, 0)
    shown = plain(readable(text, form), lines=True)
    most = len(shown) if whole else SHOWN_AT_FIRST
    return Body(shown[:most], note, len(shown) - len(shown[:most]))
