"""In which form the journal has a body."""

from enum import StrEnum


class Form(StrEnum):
    """What the text in a column of inputs or outputs is."""

    NONE = "none"
    """There was no body; the column is NULL."""
    JSON = "json"
    TEXT = "text"
    BASE64 = "base64"
    CUT = "cut"
    """The beginning, as text."""
    REDACTED = "redacted"
    """With what looks like secrets replaced."""
    SECURED = "secured"
    """Kept out of records by the workflow's author; the column is NULL."""
