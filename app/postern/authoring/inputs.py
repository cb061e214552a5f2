"""What a parameter of a workflow takes beside JSON: a form, a part of the query, or a header field.

Authors write `Annotated[Order, Form()]`, `Annotated[int, Query()]` and `Annotated[str, Header()]`. Constraints are
pydantic's: `Annotated[int, Query(), Field(ge=1)]`.
"""

import unicodedata
from dataclasses import dataclass
from typing import Any

from pydantic_core import CoreSchema, core_schema
from starlette.datastructures import UploadFile as ParsedFile

MOST_FILES = 20
MOST_FIELDS = 1000
LONGEST_NAME = 255
"""Characters of a file's name, as on most file systems."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """The parameter takes a form: `multipart/form-data` or `application/x-www-form-urlencoded`. `max_files` and
    `max_fields` limit how many files and other fields a form may have."""

    max_files: int = MOST_FILES
    max_fields: int = MOST_FIELDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """The parameter takes a parameter of the URL's query. `alias` is its name there, by default the parameter's."""

    alias: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The parameter takes a header field. `alias` is its name there, by default the parameter's with `_` as `-`."""

    alias: str = ""


class UploadFile(ParsedFile):
    """A file of a form: `filename`, `content_type`, `size` in bytes, and the content.

    `await upload.read()` in an `async def` workflow, `upload.file.read()` in a `def` one. The file is removed when the
    run ends. The caller chose the filename: it has no folders and no control characters, but may be any name, and "" if
    none was sent.
    """

    def __repr__(self) -> str:
        """Its size alone: the name is the caller's."""
        return f"UploadFile(size={self.size})"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> CoreSchema:
        """It is taken as it is."""
        return core_schema.custom_error_schema(
            core_schema.is_instance_schema(cls),
            custom_error_type="file_expected",
            custom_error_message="Input should be a file",
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: Any) -> dict[str, Any]:
        """OpenAPI's way to say that a field of a form is a file."""
        return {"type": "string", "format": "binary"}


def uploaded(parsed: ParsedFile) -> UploadFile:
    """The file that a parser made, under a name that is safe to use within a folder."""
    name = safe_filename(parsed.filename or "")
    return UploadFile(parsed.file, size=parsed.size, filename=name, headers=parsed.headers)


def safe_filename(name: str) -> str:
    """The last part of the name that a caller gave a file, without control and format characters; "" if nothing is
    left that can be one."""
    last = name.replace("\\", "/").rpartition("/")[2]
    shown = "".join(each for each in last if unicodedata.category(each)[0] != "C").strip()
    return "" if shown in (".", "..") else shown[:LONGEST_NAME]
