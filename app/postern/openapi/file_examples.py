"""Examples of forms with files: each file is a short text. Pure."""

from io import BytesIO
from typing import Any

from pydantic_core import to_json
from starlette.datastructures import Headers

from postern.authoring.form_type import FormType
from postern.authoring.inputs import UploadFile

CONTENT = "text"
"""The content of each file."""

_HEADERS = Headers({"content-type": "text/plain"})


def with_files(example: Any, form: FormType) -> Any:
    """The example with a content for each of its files."""
    return {name: _each(value, CONTENT) if _is_file(form, name) else value for name, value in example.items()}


def as_sent(example: Any, form: FormType) -> dict[str, Any]:
    """The values as the workflow's type gets them: files, and texts for all other values."""
    return {
        name: _each(value, _file(name)) if _is_file(form, name) else _texts(value) for name, value in example.items()
    }


def _is_file(form: FormType, name: str) -> bool:
    shape = form.fields.get(name)
    return shape is not None and shape.file


def _each(value: Any, content: Any) -> Any:
    """The content in place of the value, or of each value of a list."""
    return [content] * len(value) if isinstance(value, list) else content


def _file(name: str) -> UploadFile:
    content = CONTENT.encode()
    return UploadFile(BytesIO(content), size=len(content), filename=f"{name}.txt", headers=_HEADERS)


def _texts(value: Any) -> Any:
    if isinstance(value, list):
        return [_texts(each) for each in value]
    return value if isinstance(value, str) else to_json(value).decode()
