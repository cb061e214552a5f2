"""The form in which the journal stores a body."""

from enum import StrEnum

WITH_FILES = "multipart/form-data"
"""The type of a recorded form that had files: what is recorded is JSON, with their names, types and sizes. A body of
this type that was sent has a boundary behind it."""


class Form(StrEnum):
    """How to read the text in a column of inputs or outputs."""

    NONE = "none"
    """There was no body; the column is NULL."""
    JSON = "json"
    TEXT = "text"
    BASE64 = "base64"
    CUT = "cut"
    """The beginning of the body, as text."""
    REDACTED = "redacted"
    """Values that look like secrets are replaced."""
    SECURED = "secured"
    """Not recorded, as the workflow's author chose; the column is NULL."""
