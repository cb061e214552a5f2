"""The form, size and speed of a body, and the errors that a caller gets."""

import asyncio
import json
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, field_validator

from postern import Context, Problem, workflow
from postern.triggers.read import Disconnected, arguments, read_body, whole_body
from tests.table import table

pytestmark = pytest.mark.anyio

JSON = b"application/json"
FORM = b"application/x-www-form-urlencoded"


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    name: str


class Form(BaseModel):
    name: str
    age: int = Field(ge=0)
    tags: list[str] = []
    pet: Annotated[Cat | Dog, Field(discriminator="kind")] | None = None
    code: str = ""

    @field_validator("code")
    @classmethod
    def known(cls, code: str) -> str:
        if code:
            raise ValueError(f"never heard of {code}")
        return code


@workflow
async def typed(ctx: Context, form: Form) -> None: ...


@workflow
async def optional(ctx: Context, form: Form | None = None) -> None: ...


@workflow
async def untyped(ctx: Context, body) -> None: ...


@workflow
async def lenient(ctx: Context, body="nothing was sent") -> None: ...


@workflow
async def bare(ctx: Context) -> None: ...


@workflow(path="/rooms/{room}/{day}")
async def in_path(ctx: Context, form: Form, room: int, day: str) -> None: ...


def receiving(*chunks: bytes, then: str = "end") -> Any:
    """An ASGI receive that gives these chunks, then ends, disconnects or never answers."""
    messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    if then == "end":
        messages[-1]["more_body"] = False
    elif then == "disconnect":
        messages.append({"type": "http.disconnect"})

    async def receive() -> Any:
        if messages:
            return messages.pop(0)
        await asyncio.Event().wait()

    return receive


async def read(receive: Any, headers: dict[bytes, bytes], limit: int) -> bytes:
    """As the pipeline does if the body has not arrived whole."""
    body = whole_body(None, headers, limit)
    return await read_body(receive, limit) if body is None else body


async def test_a_body_is_read_whole():
    assert await read(receiving(b"ab", b"", b"cd"), {b"transfer-encoding": b"chunked"}, 4) == b"abcd"


async def test_a_request_that_declares_no_body_is_not_waited_for():
    assert await read(receiving(b"x", then="never"), {}, 4) == b""


class Arrived:
    """An exchange whose body is there already, or not."""

    def __init__(self, body: bytes | None) -> None:
        self.body = body
        self.fields: dict[bytes, bytes] | None = None

    def digest(self, authorization: bytes) -> bytes:
        raise AssertionError

    def answer_at_once(self, status: int, lines: bytes, content: bytes) -> bool:
        raise AssertionError

    def unframed(self) -> None:
        raise AssertionError

    def cut_off(self) -> None:
        raise AssertionError

    def whole_body(self) -> bytes | None:
        return self.body


async def test_a_body_that_is_there_already_is_taken_within_the_same_limits():
    assert whole_body(Arrived(b"abcd"), {b"transfer-encoding": b"chunked"}, 4) == b"abcd"
    assert whole_body(Arrived(None), {b"content-length": b"4"}, 4) is None
    with pytest.raises(Problem) as caught:
        whole_body(Arrived(b"abcde"), {b"transfer-encoding": b"chunked"}, 4)
    assert caught.value.code == "body-too-large"


@pytest.mark.parametrize(
    ("headers", "chunks"),
    [
        ({b"content-length": b"5"}, [b"x"]),
        ({b"content-length": b"999999999999999999"}, [b"x"]),
        ({b"content-length": b"4"}, [b"abc", b"de"]),
        ({b"transfer-encoding": b"chunked"}, [b"abc", b"de"]),
    ],
)
async def test_a_body_over_the_limit_is_rejected_by_what_it_declares_and_by_what_arrives(headers, chunks):
    with pytest.raises(Problem) as caught:
        await read(receiving(*chunks, then="never"), headers, 4)
    assert caught.value.code == "body-too-large"
    assert caught.value.members == {"limit_bytes": 4}


@pytest.mark.parametrize("length", [b"-1", b"+4", b"1e3", b"", b"0x1", b"9" * 30])
async def test_a_content_length_that_is_no_number_is_a_bad_request(length):
    with pytest.raises(Problem) as caught:
        await read(receiving(b"x"), {b"content-length": length}, 4)
    assert caught.value.code == "bad-request"


async def test_a_client_that_goes_away_is_no_problem():
    with pytest.raises(Disconnected):
        await read(receiving(b"x", then="disconnect"), {b"content-length": b"2"}, 4)


@pytest.mark.parametrize("coding", [b"gzip", b"br", b"deflate", b"gzip, identity"])
async def test_a_compressed_body_is_not_unpacked(coding):
    with pytest.raises(Problem) as caught:
        await read(receiving(b"x"), {b"content-length": b"1", b"content-encoding": coding}, 4)
    assert caught.value.status == 415


@table(
    ("function", "body", "content_type", "expected"),
    [
        (typed, b'{"name": "a", "age": 1}', JSON, {"form": Form(name="a", age=1)}),
        (optional, b"", None, {}),
        (optional, b"null", JSON, {"form": None}),
        (untyped, b'{"a": [1, null]}', JSON, {"body": {"a": [1, None]}}),
        (untyped, b"", None, {"body": None}),
        (untyped, b"", b"text/plain", {"body": None}),
        (lenient, b"", None, {}),
        (lenient, b"null", JSON, {"body": None}),
        (lenient, b"plain text", b"text/plain", {}),
        (lenient, b"[a log line]", b"text/plain", {}),
        (lenient, b"a=b", FORM, {}),
        (lenient, b"\x89PNG", b"image/png", {}),
        (bare, b"anything", b"image/png", {}),
    ],
)
def test_a_body_becomes_the_argument_that_the_function_takes(function, body, content_type, expected):
    assert arguments(function, body, content_type, {}) == expected


AS_SENT = ("", "\ufeff", " \r\n", "\ufeff\n")
"""What may come before a document: a byte order mark, as SharePoint's webhooks send one, and white space."""


@table("before", AS_SENT)
@table(
    "content_type",
    [
        None,
        b"",
        JSON,
        b"application/json; charset=utf8",
        b"application/json; charset=UTF-8",
        b"text/json",
        b"text/plain",
        b"text/plain; charset=UTF-8",
        b"application/cloudevents+json",
    ],
)
@table("function", [typed, optional, untyped, lenient])
def test_json_is_read_under_every_name_that_senders_give_it(function, content_type, before):
    body = (before + '{"name": "a", "age": 1}').encode()
    (found,) = arguments(function, body, content_type, {}).values()
    assert found == (Form(name="a", age=1) if function in (typed, optional) else {"name": "a", "age": 1})


CONTENT_TYPES = st.sampled_from([None, b"", JSON, b"text/json; charset=utf8", b"text/plain", FORM, b"image/png"])


@given(st.binary(min_size=1, max_size=40) | st.sampled_from([b"{}", b"[1]", b"\xef\xbb\xbf{}"]), CONTENT_TYPES)
def test_nothing_that_was_sent_becomes_a_value_that_was_not(body, content_type):
    """It is parsed, or rejected, or left to a default that the author wrote."""
    for function in (untyped, lenient):
        try:
            found = arguments(function, body, content_type, {})
        except Problem as problem:
            assert problem.status in (400, 415)
        else:
            assert found == {"body": json.loads(body.decode("utf-8-sig"))} if found else function is lenient


def test_parts_of_the_path_are_converted_to_their_types():
    given = arguments(in_path, b'{"name": "a", "age": 1}', JSON, {"room": "7", "day": "monday"})
    assert given == {"form": Form(name="a", age=1), "room": 7, "day": "monday"}


@table(
    ("function", "body", "content_type", "path", "code", "where"),
    [
        (typed, b"", None, {}, "invalid-json", [""]),
        (typed, b"", JSON, {}, "invalid-json", [""]),
        (typed, b"{", JSON, {}, "invalid-json", [""]),
        (typed, b"\xff\xfe", JSON, {}, "invalid-json", [""]),
        (typed, b'{"name": "\xed\xa0\x80"}', JSON, {}, "invalid-json", [""]),
        (typed, b"[" * 9_000, JSON, {}, "invalid-json", [""]),
        (typed, b'{"age": ' + b"9" * 5000 + b"}", JSON, {}, "invalid-json", [""]),
        (typed, b"{}", JSON, {}, "invalid-body", ["/name", "/age"]),
        (typed, b"[]", JSON, {}, "invalid-body", [""]),
        (typed, b'{"name": "a", "age": -1}', JSON, {}, "invalid-body", ["/age"]),
        (typed, b'{"name": "a", "age": 1, "tags": ["x", 2]}', JSON, {}, "invalid-body", ["/tags/1"]),
        (typed, b'{"name": "a"', None, {}, "invalid-json", [""]),
        (typed, b'{"name": "a", "age": 1}', b"text/html", {}, "unsupported-media-type", None),
        (typed, b"name=a", b"text/plain", {}, "unsupported-media-type", None),
        (typed, b"name=a", FORM, {}, "unsupported-media-type", None),
        (typed, b"", b"text/plain", {}, "unsupported-media-type", None),
        (optional, b"name=a", FORM, {}, "unsupported-media-type", None),
        (untyped, b"plain text", b"text/plain", {}, "unsupported-media-type", None),
        (untyped, b"plain text", None, {}, "unsupported-media-type", None),
        (untyped, b"5", None, {}, "unsupported-media-type", None),
        (untyped, b"a=b", FORM, {}, "unsupported-media-type", None),
        (lenient, b"{", JSON, {}, "invalid-json", [""]),
        (lenient, b"{}", b"application/json; charset=utf-16", {}, "unsupported-media-type", None),
        (untyped, b"{", JSON, {}, "invalid-json", [""]),
        (untyped, b"NaN", JSON, {}, "invalid-json", [""]),
        (untyped, b"[" * 9_000, JSON, {}, "invalid-json", [""]),
        (in_path, b"{}", JSON, {"room": "x", "day": "y"}, "invalid-path", ["/path/room"]),
    ],
)
def test_a_body_that_does_not_fit_is_answered_with_what_is_wrong_and_where(
    function, body, content_type, path, code, where
):
    with pytest.raises(Problem) as caught:
        arguments(function, body, content_type, path)
    assert caught.value.code == code
    assert [mistake["where"] for mistake in caught.value.members.get("errors", [])] == (where or [])


@table(
    ("content_type", "came"),
    [
        (None, "the request has no Content-Type."),
        (b"application/x-www-form-urlencoded", "the request has the Content-Type application/x-www-form-urlencoded."),
        (b"Text/Plain; charset=UTF-8", "the request has the Content-Type Text/Plain; charset=UTF-8."),
        (b"application/json; charset=utf-16", "the request has the Content-Type application/json; charset=utf-16."),
        (b"multipart/form-data; boundary=MARKER", "the request has the Content-Type multipart/form-data."),
        (b"eyJhbGciOi.MARKER.x", "the request has another Content-Type."),
        (b"text/plain\r\nX: MARKER", "the request has the Content-Type text/plain."),
        (b"text/" + b"MARKER" * 100, "the request has another Content-Type."),
        (b"text/<MARKER>", "the request has another Content-Type."),
        (b"", "the request has another Content-Type."),
        (b"\xff/\xff", "the request has another Content-Type."),
    ],
)
def test_a_415_names_what_came_and_what_to_send(content_type: bytes | None, came: str):
    with pytest.raises(Problem) as caught:
        arguments(typed, b"a=1", content_type, {})
    assert caught.value.status == 415
    assert came in caught.value.detail
    assert "Send the header Content-Type: application/json." in caught.value.detail
    assert "MARKER" not in caught.value.detail
    assert caught.value.headers["Accept"] == "application/json"


@pytest.mark.parametrize(
    "body",
    [
        {"name": ["MARKER"], "age": "MARKER"},
        {"name": "x", "age": 1, "pet": {"kind": "MARKER"}},
        {"name": "x", "age": 1, "code": "MARKER"},
        "MARKER",
        ["MARKER"],
    ],
)
def test_the_values_that_were_sent_are_not_echoed(body):
    with pytest.raises(Problem) as caught:
        arguments(typed, json.dumps(body).encode(), JSON, {})
    assert "MARKER" not in json.dumps(caught.value.document("id"))


@given(st.binary(max_size=200))
def test_any_bytes_are_arguments_or_a_problem(body):
    for function in (typed, untyped):
        try:
            arguments(function, body, JSON, {})
        except Problem as problem:
            assert problem.status == 400
