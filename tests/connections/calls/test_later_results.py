"""The result of a call that was accepted (202): where it is looked for, when, and when the looking ends."""

from contextlib import AsyncExitStack
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import JSONResponse, Response

from postern import CallError, Retry
from postern.connections.calls.failures import MAY_STILL_RUN
from postern.connections.calls.later_result import Stage, stage_of, wait_before
from postern.http_client import Response as Received
from tests.connections.calling import ENTRA, Counterpart, calling, problem, serving
from tests.table import table

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

DONE = JSONResponse({"approved": True})
OPERATIONS = ["Operation-Location", "Azure-AsyncOperation", "operation-location"]


def moved(location: str, status: int = 303) -> Response:
    return Response(status_code=status, headers={"Location": location})


def taken(**headers: str) -> Response:
    return JSONResponse({"status": "running"}, 202, {name.replace("_", "-"): value for name, value in headers.items()})


async def outcome(tmp_path: Path, *answers: Any) -> tuple[Any, list[str], list[float]]:
    """The result of a call with these answers or its CallError, the paths that were requested, and the waits."""
    counterpart = Counterpart(list(answers))
    async with serving(counterpart) as url, calling(tmp_path, {"t": {"url": f"{url}/t", "auth": ENTRA}}) as here:
        try:
            result = await here.ctx.call("t", {"order": 7})
        except CallError as error:
            result = error
        assert sum(each.method == "POST" for each in counterpart.received) == 1
        return result, [each.url.path for each in counterpart.received], [wait for wait in here.waits if wait]


@pytest.mark.parametrize("header", OPERATIONS)
async def test_an_operation_is_followed_until_its_document_says_that_it_is_done(tmp_path: Path, header: str):
    end = {"status": "Succeeded", "result": 7}
    first = JSONResponse({"status": "running"}, 202, {header: "/done/x", "Retry-After": "4.5"})
    steps = [
        JSONResponse({"status": "NotStarted"}),
        JSONResponse({"status": "InProgress"}, headers={"Retry-After": "2"}),
    ]
    result, paths, waits = await outcome(tmp_path, first, *steps, JSONResponse(end))
    assert (result, paths, waits) == (end, ["/t", "/done/x", "/done/x", "/done/x"], [4.5, 3.0, 2.0])


async def test_a_document_of_an_operation_without_a_type_is_read_like_any_other(tmp_path: Path):
    running, end = Response(b'{"status": "running"}'), Response(b'{"status": "succeeded", "result": 7}')
    result, paths, _ = await outcome(tmp_path, taken(Operation_Location="/done/x"), running, running, end)
    assert (result, len(paths)) == ({"status": "succeeded", "result": 7}, 4)


@pytest.mark.parametrize("status", ["Failed", "canceled", "Cancelled"])
async def test_an_operation_that_fails_is_an_error_with_its_document(tmp_path: Path, status: str):
    end = {"status": status, "error": {"code": "Marker", "message": "Marker"}}
    error, _, _ = await outcome(tmp_path, taken(Operation_Location="/done/x"), JSONResponse(end))
    assert isinstance(error, CallError)
    assert "its operation failed there" in str(error)
    assert (error.code, error.ran, "Marker" in str(error)) == ("Marker", True, False)


async def test_a_done_operation_may_name_the_address_of_its_result(tmp_path: Path):
    end = JSONResponse({"status": "succeeded", "resourceLocation": "/things/1"})
    result, paths, _ = await outcome(tmp_path, taken(Operation_Location="/done/x"), end, DONE)
    assert (result, paths) == ({"approved": True}, ["/t", "/done/x", "/things/1"])


async def test_a_location_is_preferred_and_its_result_may_have_any_status_in_it(tmp_path: Path):
    end = JSONResponse({"status": "running"})
    result, paths, _ = await outcome(tmp_path, taken(Location="/a", Operation_Location="/b"), end)
    assert (result, paths) == ({"status": "running"}, ["/t", "/a"])


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_at_the_end_leads_to_the_result(tmp_path: Path, status: int):
    result, paths, waits = await outcome(tmp_path, taken(Location="/poll"), moved("/done/x", status), DONE)
    assert (result, paths, waits) == ({"approved": True}, ["/t", "/poll", "/done/x"], [2.0])


@pytest.mark.parametrize("where", ["https://evil.example/x", "//evil.example/x", "http://u@127.0.0.1/x"])
async def test_a_redirect_of_the_result_to_another_origin_is_not_followed(tmp_path: Path, where: str):
    error, paths, _ = await outcome(tmp_path, taken(Location="/poll"), moved(where), DONE)
    assert isinstance(error, CallError)
    assert "another origin" in str(error)
    assert "evil" not in str(error)
    assert paths == ["/t", "/poll"]


async def test_redirects_in_a_circle_end(tmp_path: Path):
    error, paths, _ = await outcome(tmp_path, taken(Location="/poll"), moved("/poll"))
    assert isinstance(error, CallError)
    assert len(paths) == 12


async def test_a_call_itself_is_not_redirected(tmp_path: Path):
    error, paths, _ = await outcome(tmp_path, moved("/elsewhere"), DONE)
    assert isinstance(error, CallError)
    assert "Redirects are not followed" in str(error)
    assert paths == ["/t"]


async def test_a_result_that_is_not_found_at_first_is_waited_for(tmp_path: Path):
    missing = Response(status_code=404)
    result, _, waits = await outcome(tmp_path, taken(Location="/poll"), missing, missing, taken(), DONE)
    assert (result, waits) == ({"approved": True}, [2, 3, 4.5, 6.75])


@pytest.mark.parametrize("before", [[Response(status_code=404)] * 3, [Response(status_code=202)]])
async def test_a_result_that_is_gone_is_an_error(tmp_path: Path, before: list[Response]):
    error, paths, _ = await outcome(tmp_path, taken(Location="/poll"), *before, Response(status_code=404))
    assert isinstance(error, CallError)
    assert (error.status, len(paths)) == (404, 2 + len(before))


@table(
    ("after", "look", "left", "seconds"),
    [
        ("7", 1, 1000, 7),
        ("4.5", 1, 1000, 4.5),
        ("120", 1, 1000, 120),
        (formatdate(1_000_030, usegmt=True), 1, 1000, 30),
        (formatdate(999_000, usegmt=True), 1, 1000, 1),
        ("0", 1, 1000, 1),
        ("600", 1, 100, 95),
        ("600", 1, 2, 1),
        ("soon", 1, 1000, 2),
        ("", 2, 1000, 3),
        ("", 99, 1000, 20),
    ],
)
def test_the_next_look_is_when_the_other_side_says(after: str, look: int, left: float, seconds: float):
    response = Received(202, headers={"Retry-After": after})
    assert wait_before(response, look, now=1_000_000, left=left) == seconds


@table(
    ("status", "body", "operation", "stage"),
    [
        (202, {}, False, Stage.PENDING),
        (200, {"status": "running"}, False, Stage.DONE),
        (200, {"status": "running"}, True, Stage.PENDING),
        (200, {"status": "Succeeded"}, True, Stage.DONE),
        (200, {"status": "FAILED"}, True, Stage.FAILED),
        (200, {"status": 3}, True, Stage.DONE),
        (200, ["x"], True, Stage.DONE),
        (200, {}, True, Stage.DONE),
    ],
)
def test_the_stage_of_an_operation_is_in_its_document(status: int, body: Any, operation: bool, stage: Stage):
    assert stage_of(Received(status, json=body), operation=operation) is stage


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 429, 500, 503])
async def test_a_look_that_fails_says_that_the_call_was_accepted(tmp_path: Path, status: int):
    answer = Response(status_code=status, headers={"Retry-After": "0"} if status in (429, 503) else None)
    error, _, _ = await outcome(tmp_path, taken(Location="/poll"), answer)
    assert isinstance(error, CallError)
    assert (error.status, error.sent, error.ran) == (status, True, False)
    assert str(error).count(MAY_STILL_RUN) == 1
    assert "may have run there" in str(error)
    assert all(advice not in str(error) for advice in ("check path=", "set method="))


async def test_a_look_that_reaches_nobody_is_not_taken_for_a_call_that_did_not_arrive(tmp_path: Path):
    counterpart, left = Counterpart([taken(Location="/poll")]), AsyncExitStack()
    async with calling(tmp_path, {"t": {"url": "http://127.0.0.1:1/t"}}) as unreached:
        with pytest.raises(CallError) as caught:
            await unreached.ctx.call("t", {"order": 7}, retry=Retry.none())
        assert not caught.value.sent
    async with serving(counterpart) as url:
        there = calling(tmp_path, {"t": {"url": f"{url}/t"}})
        here = await left.enter_async_context(there)
        handle = await here.ctx.call("t", {"order": 7}, wait=False)
    with pytest.raises(CallError, match="cannot be reached") as caught:
        await handle.result()
    await left.aclose()
    assert caught.value.sent
    assert MAY_STILL_RUN in str(caught.value)


async def test_the_outcome_of_a_run_is_not_doubted(tmp_path: Path):
    failed = problem(500, "workflow-failed")
    error, _, _ = await outcome(tmp_path, taken(Location="/poll"), failed)
    assert isinstance(error, CallError)
    assert (error.ran, MAY_STILL_RUN in str(error)) == (True, False)


@pytest.mark.parametrize(("location", "why"), [("/poll?sig=abc", "its address has a signature")])
async def test_a_result_that_is_fetched_without_the_credential_says_so(tmp_path: Path, location: str, why: str):
    error, _, _ = await outcome(tmp_path, taken(Location=location), Response(status_code=401))
    assert f"fetched without the credential because {why}" in str(error)
    assert "copy the URL again" not in str(error)
    assert "audience" not in str(error)


@pytest.mark.parametrize("address", ["/p\x01", "https://[bad", "\x7f", "http://x y/"])
async def test_an_address_that_is_none_is_no_address_of_a_result(tmp_path: Path, address: str):
    end = {"status": "succeeded", "resourceLocation": address}
    result, paths, _ = await outcome(tmp_path, taken(Operation_Location="/done/x"), JSONResponse(end), DONE)
    assert (result, paths) == (end, ["/t", "/done/x"])
