"""Whatever goes wrong in a call, the author catches one kind of error: CallError."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import JSONResponse, Response

from postern import CallError
from postern.connections.calls.failures import foreign
from postern.connections.faults import ConnectionFault, ResponseFault
from postern.connections.places import TooManyCalls
from postern.http_client import (
    ConnectError,
    ConnectTimeout,
    HTTPError,
    InvalidURL,
    LocalProtocolError,
    PoolTimeout,
    ReadTimeout,
)
from postern.transient_errors import worth_retrying
from tests.connections.calling import Counterpart, calling, serving
from tests.runs.contexts import context

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

MARK = "Marker-of-a-secret"


class Odd:
    """What no JSON can hold."""

    def __repr__(self) -> str:
        return "Odd()"


@pytest.mark.parametrize(
    ("arguments", "options", "builtin"),
    [
        (("missing",), {}, None),
        ((7,), {}, TypeError),
        (("t",), {"retry": 3}, TypeError),
        (("t",), {"method": "TRACE"}, ValueError),
        (("t",), {"path": "/../x"}, ValueError),
        (("t",), {"path": 7}, TypeError),
        (("t",), {"idempotency_key": "a b"}, ValueError),
        (("t",), {"idempotency_key": 7}, ValueError),
        (("t", Odd()), {}, ValueError),
        (("t", "\ud800"), {}, ValueError),
    ],
    ids=str,
)
async def test_a_call_that_cannot_be_made_as_written_is_a_call_error(
    tmp_path: Path, arguments: tuple[Any, ...], options: dict[str, Any], builtin: Any
):
    """The built-in errors of arguments are caught by those who caught them before."""
    counterpart = Counterpart([Response(status_code=204)])
    async with serving(counterpart) as url, calling(tmp_path, {"t": {"url": url}}) as here:
        with pytest.raises(CallError) as caught:
            await here.ctx.call(*arguments, **options)
    assert (caught.value.sent, caught.value.final, worth_retrying(caught.value)) == (False, True, False)
    assert builtin is None or isinstance(caught.value, builtin)
    assert counterpart.received == []


@pytest.mark.parametrize(
    ("error", "sent"),
    [
        (ConnectionFault("triggers.t", "gets no token", "Correct it"), False),
        (ResponseFault("triggers.t", "responded with more than 5 bytes", "Request less"), True),
        (TooManyCalls(), False),
        (PoolTimeout("no place"), False),
        (ConnectError(MARK), False),
        (ConnectTimeout(MARK), False),
        (ReadTimeout(MARK), True),
        (LocalProtocolError(MARK), True),
        (HTTPError(MARK), True),
        (InvalidURL(MARK), False),
        (RuntimeError(MARK), True),
        (KeyError(MARK), True),
        (OSError(MARK), True),
        (ExceptionGroup(MARK, [ValueError(MARK)]), True),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_whatever_a_client_raises_is_a_call_error_without_its_text(tmp_path: Path, error: Exception, sent: bool):
    async with calling(tmp_path, {"t": {"url": "https://flow.example"}}) as here:

        class Raising:
            async def request(self, *_: Any, **__: Any) -> Any:
                raise error

        here.calls._open = lambda *_, **__: Raising()  # type: ignore[assignment]
        with pytest.raises(CallError) as caught:
            await here.ctx.call("t", {}, method="POST")
    assert (caught.value.trigger, caught.value.sent) == ("triggers.t", sent)
    assert ("may have run there" in str(caught.value)) is (sent and not isinstance(error, ResponseFault))
    assert MARK not in f"{caught.value}{caught.value!r}{caught.value.__cause__}{caught.value.__context__}"
    assert [call.error for call in here.noted] == ["CallError"]


async def test_the_result_behind_a_handle_raises_the_same_family(tmp_path: Path):
    counterpart = Counterpart([Response(status_code=202, headers={"Location": "/x"})])
    async with serving(counterpart) as url, calling(tmp_path, {"t": {"url": url}}) as here:
        handle = await here.ctx.call("t", wait=False)

        class Raising:
            async def request(self, *_: Any, **__: Any) -> Any:
                raise ConnectionFault("triggers.t", "gets no token", "Correct it")

        here.calls._open = lambda *_, **__: Raising()  # type: ignore[assignment]
        with pytest.raises(CallError, match="gets no token"):
            await handle.result()


async def test_without_a_server_too():
    with pytest.raises(CallError, match="there is no server"):
        await context().call("greet")


async def test_a_reply_that_is_too_large_is_an_error_after_the_call_ran_and_is_not_repeated(tmp_path: Path):
    from postern.connections.entry_transport import Caps
    from tests.connections.counterparts import always, client_of, listening, shared_pool

    async with listening(always(200, b"x" * 50)) as server, shared_pool() as pool:
        client = client_of(pool, server.url, exact=True, caps=Caps(5.0, 10))
        async with calling(tmp_path, {"t": {"url": server.url}}) as here:
            here.calls._open = lambda *_, **__: client
            with pytest.raises(CallError, match="more than 10 bytes") as caught:
                await here.ctx.call("t", {})
        assert (len(server.received), caught.value.sent, worth_retrying(caught.value)) == (1, True, False)


@given(st.sampled_from([ValueError, KeyError, OSError, RuntimeError, ConnectionFault]), st.text(min_size=9))
def test_no_text_of_an_unknown_error_is_passed_on(kind: Any, text: str):
    error = kind(text) if kind is not ConnectionFault else kind("triggers.t", "is wrong", "Correct it")
    assert text not in str(foreign("triggers.t", error))
    assert isinstance(foreign("triggers.t", error), CallError)


@pytest.mark.parametrize("status", [200, 500])
async def test_a_recorded_call_that_fails_has_its_status(tmp_path: Path, status: int):
    counterpart = Counterpart([JSONResponse({"v": 1}, status)])
    async with serving(counterpart) as url, calling(tmp_path, {"t": {"url": url}}) as here:
        if status == 200:
            await here.ctx.call("t")
        else:
            with pytest.raises(CallError):
                await here.ctx.call("t")
    assert [(call.status, call.error) for call in here.noted] == [(status, "" if status == 200 else "CallError")]
