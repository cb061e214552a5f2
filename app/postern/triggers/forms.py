"""Forms: what a browser sends, within limits. Starlette's parser reads `multipart/form-data`. A file goes to disk
beyond 64 KiB, without a name there, and is removed when the run ends.

A form of several files and fields holds at most about 2 MiB of memory while it is read: FIELD_BYTES of fields, and
SPOOLED files of SPOOL_BYTES.
"""

from collections.abc import AsyncGenerator, Mapping
from io import BytesIO
from typing import Any
from urllib.parse import parse_qsl

from starlette.datastructures import Headers
from starlette.datastructures import UploadFile as ParsedFile
from starlette.formparsers import MultiPartException, MultiPartParser

from postern.authoring.form_type import FormType
from postern.authoring.inputs import Form, uploaded
from postern.authoring.sent_form import Item, SentForm
from postern.errors import Problem, problem
from postern.media_types import is_form, is_multipart

FIELD_BYTES = 1024 * 1024
"""Bytes of all fields of a form that are no files."""
SPOOL_BYTES = 64 * 1024
"""Bytes of a file that stay in memory."""
SPOOLED = 16
"""Files of a form that begin in memory. Further ones go to disk at once."""
IN_MEMORY = 2**40
"""Where the whole body is in memory anyway, its files stay there."""

_NOT_UTF_8 = "it is not UTF-8"


class _Parser(MultiPartParser):
    """Starlette's parser, with limits to the form as a whole."""

    whole = False
    field_bytes = 0
    _charset = property(lambda _: "utf-8", lambda *_: None)
    """A form is UTF-8 (HTML, section 4.10.22.8). Others that Python knows take long to read, such as punycode."""

    def __init__(self, content_type: bytes, stream: AsyncGenerator[bytes, None], limits: Form, spool: int) -> None:
        headers = Headers(raw=[(b"content-type", content_type)])
        super().__init__(
            headers, stream, max_files=limits.max_files, max_fields=limits.max_fields, max_part_size=FIELD_BYTES
        )
        self._limits = limits
        self._spool = spool

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._current_part.file is None:
            self.field_bytes += end - start
            if self.field_bytes > FIELD_BYTES:
                raise _fields_too_large()
        super().on_part_data(data, start, end)

    def on_part_end(self) -> None:
        if self._current_part.file is None:
            try:
                self._current_part.data.decode("utf-8")
            except UnicodeDecodeError:  # Starlette would take it for Latin-1
                raise _not_a_form(_NOT_UTF_8) from None
        super().on_part_end()

    def on_headers_finished(self) -> None:
        # One of many small files would else hold as much memory as one large file.
        self.spool_max_size = self._spool if self._current_files < SPOOLED else 1
        if self._current_files > self._limits.max_files or self._current_fields > self._limits.max_fields:
            raise _too_many(self._limits)
        try:
            super().on_headers_finished()
        except MultiPartException:
            if self._current_files > self._limits.max_files or self._current_fields > self._limits.max_fields:
                raise _too_many(self._limits) from None
            raise

    def on_end(self) -> None:
        self.whole = True

    def close_files(self) -> None:
        """Remove all files, also one that has begun and not ended."""
        for file in self._files_to_close_on_error:
            file.close()


async def read_form(
    form: FormType, content_type: bytes, body: AsyncGenerator[bytes, None], *, in_memory: bool = False
) -> SentForm:
    """The form in a body of `multipart/form-data`. Raises Problem 400 and 413, and what `body` raises."""
    parser = _Parser(content_type, body, form.limits, IN_MEMORY if in_memory else SPOOL_BYTES)
    try:
        parsed = await parser.parse()
        if not parser.whole:
            raise _not_a_form("it ends before its last boundary")
    except MultiPartException as error:
        raise _not_a_form(_why(error.message)) from None
    except Problem:
        parser.close_files()
        raise
    finally:
        await body.aclose()
    items: list[Item] = []
    for name, value in parsed.multi_items():
        if isinstance(value, str):
            items.append((name, value))
        elif value.filename or value.size:  # else the input of a file that a browser sends empty
            items.append((name, uploaded(_kept_in_memory(value) if in_memory else value)))
        else:
            value.file.close()
    return SentForm(items)


def form_in(form: FormType, content_type: bytes | None, body: bytes) -> SentForm:
    """The form in a body that is in memory as a whole. Raises Problem 400, 413 and 415."""
    check_type(form, content_type)
    if content_type is not None and is_multipart(content_type):
        reading = read_form(form, content_type, _once(body), in_memory=True)
        try:
            reading.send(None)
        except StopIteration as ended:
            made: SentForm = ended.value
            return made
        reading.close()
        raise RuntimeError("a form in memory had to wait")
    return _urlencoded(form.limits, body)


def check_type(form: FormType, content_type: bytes | None) -> None:
    """Raise Problem 415 if a body of this type is not the form."""
    if content_type is not None and (is_multipart(content_type) or (is_form(content_type) and not form.files)):
        return
    expected = "multipart/form-data" if form.files else "multipart/form-data or application/x-www-form-urlencoded"
    why = "has no Content-Type" if content_type is None else "has another Content-Type"
    if content_type is not None and is_form(content_type):
        why = "is application/x-www-form-urlencoded, which cannot carry files"
    raise problem(
        "unsupported-media-type",
        detail=f"This trigger accepts a form, as {expected}, and the request {why}.",
        headers={"Accept": expected.replace(" or ", ", ")},
    )


def values_of(form: FormType, sent: SentForm) -> dict[str, Any]:
    """The values of a form by name, as its type takes them: a list where there are several, or the type has one. An
    empty text for what is no text and may be left out counts as left out: browsers send empty inputs."""
    found: dict[str, list[Any]] = {}
    for name, value in sent.items:
        found.setdefault(name, []).append(value)
    made: dict[str, Any] = {}
    for name, values in found.items():
        shape = form.fields.get(name)
        if shape is None:
            made[name] = values[0] if len(values) == 1 else values
        elif shape.several:
            made[name] = values if shape.text or not shape.optional or values != [""] else []
        elif values == [""] and shape.optional and not shape.text:
            continue
        else:
            made[name] = values[0] if len(values) == 1 else values
    return made


def _urlencoded(limits: Form, body: bytes) -> SentForm:
    if len(body) > FIELD_BYTES:
        raise _fields_too_large()
    try:
        text = body.decode("utf-8")
        return SentForm(
            [*parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=max(limits.max_fields, 1))]
        )
    except UnicodeDecodeError:
        raise _not_a_form(_NOT_UTF_8) from None
    except ValueError:
        raise _too_many(limits) from None


async def _once(body: bytes) -> AsyncGenerator[bytes, None]:
    yield body


def _kept_in_memory(parsed: ParsedFile) -> ParsedFile:
    """The same file, which nobody has to close."""
    content = parsed.file.read()
    parsed.file.close()
    return ParsedFile(BytesIO(content), size=parsed.size, filename=parsed.filename, headers=parsed.headers)


def _why(message: str) -> str:
    """What is wrong, in words of our own: the parser's may repeat what was sent."""
    known: Mapping[str, str] = {
        "Missing boundary in multipart.": "its Content-Type names no boundary",
        'The Content-Disposition header field "name" must be provided.': "a part has no name",
    }
    return known.get(message, "it cannot be read as multipart/form-data")


def _not_a_form(why: str) -> Problem:
    return problem("invalid-form", errors=[{"where": "", "message": why}])


def _fields_too_large() -> Problem:
    return problem(
        "body-too-large",
        detail=f"The fields of the form, without its files, have more than {FIELD_BYTES} bytes.",
        headers={"Connection": "close"},
        limit_bytes=FIELD_BYTES,
    )


def _too_many(limits: Form) -> Problem:
    return problem(
        "too-many-elements",
        detail=f"The form has more than {limits.max_files} files or {limits.max_fields} other fields, the limits of "
        "this trigger. The workflow's author can raise them: Form(max_files=..., max_fields=...).",
        headers={"Connection": "close"},
        limit_elements=limits.max_files + limits.max_fields,
    )
