"""Replies to calls that are large, or made to take long: they do not hold up other requests."""

import asyncio
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postern.authoring.call_result import CallError
from postern.connections.calls import replies as module
from postern.connections.calls.call_response import TooManyElements, value_of
from postern.connections.calls.replies import LARGE, Replies
from postern.connections.response import TEXT_ENCODINGS, Answer
from postern.elements import has_more_elements
from postern.http_client import Response
from postern.settings.entries import MAX_RESPONSE_ELEMENTS
from tests.connections.calling import Counterpart, calling, serving
from tests.table import table

pytestmark = pytest.mark.anyio


def elements(value: Any) -> int:
    """The commas, colons and opening brackets of a JSON value."""
    if isinstance(value, dict):
        return 1 + len(value) + max(len(value) - 1, 0) + sum(map(elements, value.values()))
    if isinstance(value, list):
        return 1 + max(len(value) - 1, 0) + sum(map(elements, value))
    return 0


TEXTS = st.text(alphabet=st.sampled_from('a,:[{"\\é\n'))
VALUES = st.recursive(
    st.none() | st.integers() | TEXTS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=30
)


@given(VALUES, st.booleans(), st.sampled_from([None, 2]))
def test_elements_are_counted_as_the_parser_finds_them(value: Any, ascii_only: bool, indent: int | None):
    document = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    most = elements(value)
    assert not has_more_elements(document, most, names=True)
    assert most == 0 or has_more_elements(document, most - 1, names=True)


@given(st.binary(), st.integers(0, 10))
def test_any_bytes_can_be_counted(document: bytes, most: int):
    assert has_more_elements(document, most, names=True) in (True, False)


def work(call: Callable[[], Any]) -> float:
    """The least processor time of some calls, so that other processes of the machine do not count."""
    times = []
    for _ in range(3):
        began = time.thread_time()
        call()
        times.append(time.thread_time() - began)
    return min(times)


HOSTILE: dict[str, Callable[[int], bytes]] = {
    "a string without end": lambda size: b'"' + b"a" * size,
    "escaped quotes without end": lambda size: b'[,"' + b'\\"' * (size // 2),
    "escaped quotes and a last backslash": lambda size: b'[,"' + b'\\"' * (size // 2) + b"\\",
    "backslashes": lambda size: b'[,"' + b"\\" * size,
    "quotes": lambda size: b"[," + b'"' * size,
    "commas in strings": lambda size: b'["' + b"," * size + b'"]',
    "short strings": lambda size: b"[" + b'",",' * (size // 4),
}


@pytest.mark.parametrize("shape", HOSTILE)
def test_the_time_of_counting_grows_with_the_bytes_only(shape: str):
    """Eight times the bytes are eight times the work. A pattern that goes back would take 64 times."""

    def counting(size: int) -> float:
        document = HOSTILE[shape](size)
        return work(lambda: [has_more_elements(document, most, names=True) for most in (1, size // 8)])

    assert counting(800_000) < 30 * max(counting(100_000), 0.0005)


def json_reply(content: bytes, kind: str = "application/json") -> Response:
    return Answer(200, headers={"Content-Type": kind}, content=content)


async def test_a_large_reply_is_read_beside_the_event_loop_and_one_at_a_time(monkeypatch: pytest.MonkeyPatch):
    threads: list[str] = []
    reading = most_reading = 0

    def noting(response: Response, most: int) -> Any:
        nonlocal reading, most_reading
        reading += 1
        most_reading = max(most_reading, reading)
        threads.append(threading.current_thread().name)
        value = value_of(response, most)
        reading -= 1
        return value

    monkeypatch.setattr(module, "value_of", noting)
    replies = Replies()
    small, large = b'"' + b"a" * (LARGE - 3) + b'"', b'"' + b"a" * (LARGE - 2) + b'"'
    assert await replies.value(json_reply(small), 10) == "a" * (LARGE - 3)
    found = await asyncio.gather(*(replies.value(json_reply(large), 10) for _ in range(4)))
    assert set(found) == {"a" * (LARGE - 2)}
    assert threads == [threading.current_thread().name, *["reply_0"] * 4]
    assert most_reading == 1
    replies.close()


async def test_after_a_large_reply_the_thread_rests_as_long_as_it_worked(monkeypatch: pytest.MonkeyPatch):
    now = [100.0]
    rests: list[float] = []

    def working(response: Response, most: int) -> None:
        now[0] += 0.25

    def sleep(seconds: float) -> None:
        rests.append(seconds)
        now[0] += seconds

    monkeypatch.setattr(module, "value_of", working)
    replies = Replies(lambda: now[0], sleep)
    for _ in range(3):
        replies._read(json_reply(b""), 1)
    now[0] += 10
    replies._read(json_reply(b""), 1)
    assert rests == [0.25, 0.25]
    replies.close()


@pytest.mark.parametrize(
    "content", [b"[" + b"[]," * 300 + b"[]]", b"{" + b",".join(b'"%d":1' % n for n in range(300)) + b"}"]
)
def test_a_reply_of_too_many_elements_is_not_parsed(content: bytes, monkeypatch: pytest.MonkeyPatch):
    most = elements(json.loads(content))
    assert value_of(json_reply(content), most) == json.loads(content)
    monkeypatch.setattr("postern.connections.calls.call_response.parse", None)
    with pytest.raises(TooManyElements):
        value_of(json_reply(content), most - 1)


async def test_the_error_of_too_many_elements_names_the_key_that_raises_the_limit(tmp_path: Path):
    counterpart = Counterpart([json_reply_of(b"[" + b"1," * 20 + b"1]")])
    async with serving(counterpart) as url:
        entry = {"url": url, "max_response_elements": 20}
        async with calling(tmp_path, {"flow": entry}) as here:
            with pytest.raises(CallError) as caught:
                await here.ctx.call("flow")
        async with calling(tmp_path, {"flow": {**entry, "max_response_elements": 21}}) as here:
            assert await here.ctx.call("flow") == [1] * 21
    assert str(caught.value) == (
        "triggers.flow returned 200 with more than 20 JSON elements. "
        "Request less at a time, or raise max_response_elements of [triggers.flow]."
    )
    assert caught.value.status == 200
    assert MAX_RESPONSE_ELEMENTS == 200_000


def json_reply_of(content: bytes) -> Any:
    from starlette.responses import Response as Sent

    return Sent(content, media_type="application/json")


@table("named", ["punycode", "idna", "zlib", "bz2", "hex", "unicode_escape", "utf-7", "x" * 5000])
def test_text_is_not_decoded_by_codecs_that_take_long_or_unfold(named: str):
    text = "añb"
    response = json_reply(text.encode(), f"text/plain; charset={named}")
    assert (response.encoding, response.text, value_of(response, 1)) == ("utf-8", text, text)


@table("named", sorted(TEXT_ENCODINGS))
def test_text_is_decoded_by_the_encodings_of_text(named: str):
    response = json_reply("abc".encode(named), f"text/plain; charset={named}")
    assert value_of(response, 1) == "abc"


def numbered(number: int) -> Response:
    return json_reply(json.dumps([number, "a" * LARGE]).encode())


async def test_large_replies_of_one_caller_delay_those_of_another_by_one_turn():
    replies, order = Replies(), list[str]()

    async def read(caller: str, number: int) -> None:
        assert (await replies.value(numbered(number), 10, caller))[0] == number
        order.append(caller)

    await asyncio.gather(*(read("a", number) for number in range(8)), read("b", 8))
    assert order.index("b") <= 2
    assert (len(order), replies._is_reading, replies._waiting) == (9, False, {})
    replies.close()


@pytest.mark.parametrize("at", range(6))
async def test_a_turn_is_given_on_whenever_its_run_is_cancelled(at: int):
    replies = Replies()
    tasks = [asyncio.create_task(replies.value(numbered(number), 10, str(number))) for number in range(4)]
    for _ in range(at):
        await asyncio.sleep(0)
    for task in tasks[:2]:
        task.cancel()
    async with asyncio.timeout(20):
        await asyncio.wait(tasks)
        assert [task.result()[0] for task in tasks[2:]] == [2, 3]
        assert (await replies.value(numbered(4), 10))[0] == 4
    assert (replies._is_reading, replies._waiting) == (False, {})
    replies.close()
