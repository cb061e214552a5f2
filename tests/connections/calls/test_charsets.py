"""A reply in another encoding than UTF-8, with a byte order mark or without a type is read, not lost."""

import codecs
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import Response

from postern import CallError
from postern.connections.calls import replies
from postern.connections.calls.call_response import NotJson, TooManyElements, problem_of, value_of
from postern.connections.response import TEXT_ENCODINGS, Answer, in_utf8
from postern.http_client import Response as Received
from postern.transient_errors import worth_retrying
from tests.connections.calling import Counterpart, calling, serving
from tests.table import table

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

UMLAUT = '{"v":"ü"}'
BOM = codecs.BOM_UTF8


def received(content: bytes, kind: str | None, status: int = 200) -> Answer:
    return Answer(status, content=content, headers={} if kind is None else {"Content-Type": kind})


@table("made", [received, lambda content, kind: Received(200, content=content, headers={"Content-Type": kind})])
@table(
    ("content", "kind"),
    [
        (UMLAUT.encode(), "application/json"),
        (BOM + UMLAUT.encode(), "application/json"),
        (BOM + UMLAUT.encode(), "application/json; charset=ISO-8859-1"),
        (UMLAUT.encode("latin-1"), "application/json; charset=ISO-8859-1"),
        (UMLAUT.encode("cp1252"), 'application/vnd.x+json; charset="Windows-1252"'),
        (UMLAUT.encode("utf-16"), "application/json; charset=utf-16"),
        (codecs.BOM_UTF16_LE + UMLAUT.encode("utf-16-le"), "application/json"),
        (codecs.BOM_UTF16_BE + UMLAUT.encode("utf-16-be"), "application/json"),
        (UMLAUT.encode("utf-32"), "application/json"),
        (UMLAUT.encode("utf-32"), "application/json; charset=utf-32"),
        (UMLAUT.encode(), "text/json"),
        (UMLAUT.encode(), "application/json; charset=us-ascii"),
        (UMLAUT.encode(), "application/json; charset=utf-32"),
        (UMLAUT.encode(), "application/json; charset=zlib"),
        (UMLAUT.encode(), "application/json; charset=nonsense"),
    ],
)
def test_json_is_read_in_its_encoding(made: Any, content: bytes, kind: str):
    assert value_of(made(content, kind), 100) == {"v": "ü"}


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b' {"a": 1}', {"a": 1}),
        (BOM + b"[1]", [1]),
        (b"{oops", b"{oops"),
        (b"7", b"7"),
        (b"text", b"text"),
        (b"\x89PNG", b"\x89PNG"),
    ],
)
def test_an_object_or_array_without_a_type_is_json(content: bytes, value: Any):
    assert value_of(received(content, None), 100) == value


def test_a_large_array_without_a_type_has_the_same_limit():
    with pytest.raises(TooManyElements):
        value_of(received(b"[1,2,3]", None), 2)


def test_text_has_no_byte_order_mark():
    assert value_of(received(BOM + "ü".encode(), "text/plain"), 9) == "ü"


@pytest.mark.parametrize(
    ("content", "charset"),
    [
        ("ü".encode("utf-16"), "utf-16"),
        ("ü".encode("utf-16-le"), "UTF-16"),
        ("ü".encode("utf-16-be"), "utf-16be"),
        (codecs.BOM_UTF16_BE + "ü".encode("utf-16-be"), "utf16"),
        ("ü".encode("utf-32"), "utf-32"),
        ("ü".encode("utf-32-le"), "utf-32"),
        ("ü".encode("latin-1"), "latin-1"),
    ],
)
def test_text_is_read_in_its_encoding(content: bytes, charset: str):
    assert value_of(received(content, f"text/plain; charset={charset}"), 9) == "ü"


def test_encodings_have_the_names_that_python_compares():
    assert {codecs.lookup(name).name for name in TEXT_ENCODINGS} == TEXT_ENCODINGS


@pytest.mark.parametrize("charset", sorted(TEXT_ENCODINGS))
@given(content=st.binary(max_size=40))
def test_any_bytes_are_text_in_any_encoding(charset: str, content: bytes):
    """A reply is not lost because its text is not in the encoding that it names."""
    response = received(content, f"text/plain; charset={charset}")
    assert isinstance(response.text, str)
    assert isinstance(value_of(response, 9), str | None)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
async def test_nan_is_named_as_the_reason_and_the_call_is_not_repeated(tmp_path: Path, number: str):
    counterpart = Counterpart([Response(f'{{"v": {number}}}', media_type="application/json")])
    async with serving(counterpart) as url, calling(tmp_path, {"t": {"url": url}}) as here:
        with pytest.raises(CallError, match="returned 200 with NaN or Infinity, which are not JSON") as caught:
            await here.ctx.call("t", {})
    assert (len(counterpart.received), worth_retrying(caught.value)) == (1, False)


@given(st.binary(max_size=60), st.sampled_from(["utf-8", "latin-1", "utf-16", "utf-32", "shift_jis", "zlib", ""]))
def test_any_bytes_are_a_value_or_a_known_error(content: bytes, charset: str):
    response = received(content, f"application/json; charset={charset}")
    in_utf8(response)
    try:
        value_of(response, 100)
    except (NotJson, TooManyElements) as error:
        assert error.__cause__ is error.__context__ is None


def test_a_problem_is_read_in_the_same_way():
    document = json.dumps({"code": "x"}).encode()
    assert problem_of(received(BOM + document, "application/problem+json", 400)) == {"code": "x"}
    assert problem_of(received(document, None, 400)) == {"code": "x"}
    assert problem_of(received(b"{oops", None, 400)) == problem_of(received(document, "text/html", 400)) == {}
    assert problem_of(received(document, "text/json; charset=latin-1", 400)) == {"code": "x"}


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (BOM + UMLAUT.encode(), "application/json"),
        (UMLAUT.encode("latin-1"), "application/json; charset=ISO-8859-1"),
        (UMLAUT.encode("utf-16"), "application/json; charset=utf-16"),
        (UMLAUT.encode("utf-16"), "application/json"),
    ],
)
def test_json_of_a_connection_is_read_in_the_same_way(content: bytes, kind: str):
    assert received(content, kind).json() == {"v": "ü"}


async def test_an_unexpected_error_of_reading_says_that_the_call_has_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fails(*_: Any) -> None:
        raise LookupError("MARKER")

    monkeypatch.setattr(replies, "value_of", fails)
    counterpart = Counterpart([Response("x")])
    async with serving(counterpart) as url, calling(tmp_path, {"t": {"url": url}}) as here:
        with pytest.raises(CallError, match=r"returned 200 with a body that could not be read \(LookupError\)\.$") as e:
            await here.ctx.call("t", {})
    assert (e.value.status, e.value.sent, e.value.final) == (200, True, True)
    assert e.value.__context__ is None
