"""A request that may have run is not sent again, and the error says so."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import PlainTextResponse, Response

from postern import CallError, Retry
from postern.connections.calls.call_response import IDEMPOTENT, may_have_run, may_repeat
from tests.connections.calling import Counterpart, calling, problem, serving
from tests.connections.counterparts import always, listening, reply

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

AFTER = {"Retry-After": "0"}
CUT = "upstream connect error or disconnect/reset before headers. reset reason: connection termination"


async def called(tmp_path: Path, answer: Response, **options: Any) -> tuple[CallError, int]:
    """The error of a call that always gets this answer, and how often it was sent."""
    counterpart = Counterpart([answer])
    async with serving(counterpart) as url, calling(tmp_path, {"t": {"url": url}}) as here:
        with pytest.raises(CallError) as caught:
            await here.ctx.call("t", {"order": 7}, retry=Retry(2, 0, 0, 0), **options)
    return caught.value, len(counterpart.received)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 507, 520, 524, 599])
async def test_a_post_without_a_key_is_made_once_and_may_have_run(tmp_path: Path, status: int):
    error, times = await called(tmp_path, PlainTextResponse(CUT, status))
    assert (times, error.sent, error.ran) == (1, True, False)
    assert "The request may have run there" in str(error)


@pytest.mark.parametrize("after", ["soon", "", "-1", "Thu, 99 Foo 2026"])
async def test_a_retry_after_that_names_no_time_is_none(tmp_path: Path, after: str):
    error, times = await called(tmp_path, Response(status_code=503, headers={"Retry-After": after}))
    assert (times, "may have run there" in str(error)) == (1, True)


@pytest.mark.parametrize(("path", "status"), [("/triggers/greet", 409), ("/triggers/greet", 503), ("/orders", 400)])
async def test_a_rejected_key_is_left_out_for_a_postern_that_ran_nothing_only(tmp_path: Path, path: str, status: int):
    """An API may mean with this code that a request with the key has run."""
    counterpart = Counterpart([problem(status, "bad-idempotency-key")])
    async with serving(counterpart) as url, calling(tmp_path, {"t": {"url": url + path}}) as here:
        with pytest.raises(CallError):
            await here.ctx.call("t", {"order": 7})
        assert len(counterpart.received) == 1


@pytest.mark.parametrize(
    ("answer", "options", "times"),
    [
        (Response(status_code=503, headers=AFTER), {}, 3),
        (Response(status_code=429, headers=AFTER), {}, 3),
        (Response(status_code=408), {}, 3),
        (Response(status_code=503), {"method": "GET"}, 3),
        (Response(status_code=502), {"method": "PUT"}, 3),
        (Response(status_code=501), {}, 1),
        (Response(status_code=400), {}, 1),
        (Response(status_code=302, headers={"Location": "/"}), {}, 1),
        (problem(500, "workflow-failed"), {}, 1),
        (problem(508, "loop-detected"), {}, 1),
    ],
)
async def test_what_has_not_run_or_may_run_twice_is_not_doubted(
    tmp_path: Path, answer: Response, options: dict[str, Any], times: int
):
    error, sent = await called(tmp_path, answer, **options)
    assert sent == times
    assert "may have run" not in str(error)


async def test_a_connection_that_breaks_after_the_request_leaves_it_open_whether_it_ran(tmp_path: Path):
    async def broken(*_: Any) -> None:
        await asyncio.sleep(0)

    async with listening(broken) as server, calling(tmp_path, {"t": {"url": server.url}}) as here:
        with pytest.raises(CallError, match="may have run there") as caught:
            await here.ctx.call("t", {"order": 7})
        assert (len(server.received), caught.value.status, caught.value.sent) == (1, 0, True)


HONOURS = {"honours_idempotency_key": True}
POSTERN = {"X-Run-Id": "01a2b3c4-0000-7000-8000-000000000001"}


@pytest.mark.parametrize(("path", "entry", "times"), [("/api/orders", {}, 1), ("/api/orders", HONOURS, 2)])
async def test_an_answer_that_breaks_off_is_repeated_where_the_key_is_honoured(
    tmp_path: Path, path: str, entry: dict[str, Any], times: int
):
    sent: list[None] = []

    async def cut(_: Any, writer: asyncio.StreamWriter) -> bytes | None:
        sent.append(None)
        if len(sent) > 1:
            return reply(200, b"[1]", "Content-Type: application/json")
        writer.write(reply(200, b"[1]")[:-1])
        await writer.drain()
        return None

    async with listening(cut) as server, calling(tmp_path, {"t": {"url": server.url + path, **entry}}) as here:
        if times == 1:
            with pytest.raises(CallError, match="may have run there"):
                await here.ctx.call("t", {"order": 7})
        else:
            assert await here.ctx.call("t", {"order": 7}) == [1]
        assert len({each.header("idempotency-key") for each in server.received}) == 1
    assert len(sent) == times


@pytest.mark.parametrize(
    ("path", "entry", "first", "times"),
    [
        ("/triggers/greet", {}, None, 1),
        ("/workflows/w/triggers/manual/run", {}, None, 1),  # that of Logic Apps' management, which ignores the key
        ("/triggers/greet", {}, {}, 1),
        ("/triggers/greet", {}, POSTERN, 3),
        ("/api/orders", {}, POSTERN, 1),
        ("/triggers/greet", {"honours_idempotency_key": False}, POSTERN, 1),
        ("/api/orders", HONOURS, None, 3),
    ],
)
async def test_a_url_like_a_postern_s_is_no_proof_that_the_key_is_honoured(
    tmp_path: Path, path: str, entry: dict[str, Any], first: dict[str, str] | None, times: int
):
    counterpart = Counterpart([Response(headers=first)])
    async with serving(counterpart) as url, calling(tmp_path, {"t": {"url": url + path, **entry}}) as here:
        if first is not None:
            await here.ctx.call("t", {"order": 6})
            counterpart.received.clear()
        counterpart.answers = [PlainTextResponse(CUT, 503)]
        with pytest.raises(CallError, match="may have run there"):
            await here.ctx.call("t", {"order": 7}, retry=Retry(2, 0, 0, 0))
        assert len(counterpart.received) == times


async def test_a_refused_connection_is_tried_again_and_has_not_run(tmp_path: Path):
    async with listening(always()) as gone:
        url = gone.url
    async with calling(tmp_path, {"t": {"url": url}}) as here:
        with pytest.raises(CallError, match="cannot be reached") as caught:
            await here.ctx.call("t", {"order": 7}, retry=Retry(2, 0, 0, 0))
        assert (len(here.waits), caught.value.sent) == (2, False)
    assert "may have run" not in str(caught.value)


@pytest.mark.parametrize("headers", [{}, AFTER])
def test_no_request_is_repeated_that_may_have_run(headers: dict[str, str]):
    for status in (0, *range(300, 600)):
        error = CallError("triggers.t", "text", status=status, headers=headers)
        for method in ("POST", "PATCH", *IDEMPOTENT):
            assert not (may_repeat(error, method=method, keyed=False) and may_have_run(error, method=method))


@pytest.mark.parametrize(
    ("after", "left", "times"), [("9", 10.0, 3), ("10", 10.0, 1), ("25", 10.0, 1), ("25", 26.0, 3)]
)
async def test_a_retry_after_beyond_the_timeout_of_the_run_is_not_waited_for(
    tmp_path: Path, after: str, left: float, times: int
):
    """The error of the call says more than that of the timeout."""
    counterpart = Counterpart([Response(status_code=503, headers={"Retry-After": after})])
    async with serving(counterpart) as url, calling(tmp_path, {"t": {"url": url}}, left=left) as here:
        with pytest.raises(CallError, match="returned 503"):
            await here.ctx.call("t", {"order": 7}, retry=Retry(2, 0, 0, 30))
    assert len(counterpart.received) == times
