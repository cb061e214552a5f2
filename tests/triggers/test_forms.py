"""Forms within their limits: what is in memory, what is on disk, and what is no form."""

import os
import re
import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from postern import Context, Form, UploadFile, workflow
from postern.authoring.form_type import FormType
from postern.authoring.sent_form import SentForm
from postern.errors import Problem
from postern.triggers.forms import SPOOL_BYTES, SPOOLED, form_in, read_form
from tests.pipeline.test_forms import BOUNDARY, multipart

KIND = f"multipart/form-data; boundary={BOUNDARY}".encode()


class Sheet(BaseModel):
    title: str = ""
    files: list[UploadFile] = []


@workflow
async def sheet(ctx: Context, sheet: Annotated[Sheet, Form(max_files=40)]) -> None: ...


def form() -> FormType:
    assert sheet.form is not None
    return sheet.form


def open_files() -> set[str]:
    return {
        link for each in Path("/proc/self/fd").iterdir() if tempfile.gettempdir() in (link := os.path.realpath(each))
    }


async def in_pieces(body: bytes, size: int) -> AsyncGenerator[bytes, None]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


def on_disk(sent: SentForm) -> list[bool]:
    return [bool(each.file._rolled) for each in sent.files]  # type: ignore[attr-defined]


@pytest.mark.anyio
async def test_a_form_holds_a_bounded_part_of_its_files_in_memory():
    small = [("files", (f"{n}", b"x" * 1000, "text/plain")) for n in range(SPOOLED + 4)]
    large = [("files", ("large", b"x" * (SPOOL_BYTES + 1), "text/plain"))]
    sent = await read_form(form(), KIND, in_pieces(multipart(large + small), 10_000))
    assert on_disk(sent) == [True, *[False] * (SPOOLED - 1), *[True] * 5]
    sent.close()
    assert all(each.file.closed for each in sent.files)


@pytest.mark.anyio
async def test_a_form_that_fails_in_the_middle_leaves_no_file_open():
    async def broken() -> AsyncGenerator[bytes, None]:
        yield multipart([("files", ("a", b"x" * 100_000, "text/plain"))])[:-20]
        raise ConnectionError

    before = open_files()
    with pytest.raises(ConnectionError):
        await read_form(form(), KIND, broken())
    cut = in_pieces(multipart([("files", ("a", b"x" * 100_000, "text/plain"))])[:-4], 10_000)
    with pytest.raises(Problem):
        await read_form(form(), KIND, cut)
    assert open_files() == before


@given(st.lists(st.tuples(st.from_regex(r"[a-z]{1,5}", fullmatch=True), st.text(max_size=30)), max_size=8))
def test_a_form_is_read_as_it_was_written(items: list[tuple[str, str]]):
    kept = [(name, value) for name, value in items if not re.search("[\ud800-\udfff]", value)]
    assert form_in(form(), KIND, multipart(kept)).items == kept


@given(st.binary(max_size=300))
def test_any_bytes_are_a_form_or_a_problem(body: bytes):
    for content in (body, multipart([("a", "b")])[:-4] + body):
        try:
            form_in(form(), KIND, content)
        except Problem as shown:
            assert shown.code in ("invalid-form", "body-too-large", "too-many-elements")


@pytest.mark.parametrize("charset", ["punycode", "utf-16", "base64"])
def test_a_form_is_read_as_utf8_whatever_its_type_says(charset: str):
    sent = form_in(form(), KIND + f"; charset={charset}".encode(), multipart([("title", "ä")]))
    assert sent.items == [("title", "ä")]


def test_a_field_that_is_not_utf8_is_no_text_of_another_encoding():
    body = multipart([("title", "xyz")]).replace(b"xyz", b"\xff\xfe")
    with pytest.raises(Problem) as raised:
        form_in(form(), KIND, body)
    assert raised.value.members["errors"] == [{"where": "", "message": "it is not UTF-8"}]


def test_the_texts_of_a_form_show_nothing_of_it():
    sent = form_in(form(), KIND, multipart([("password", "hunter2"), ("files", ("secret.txt", b"1", "text/plain"))]))
    assert repr(sent) == "SentForm(2 fields)"
    assert "secret" not in repr(sent.files)
