"""The result of a call that was accepted (202): where it is looked for, when, and when the looking ends."""

from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import JSONResponse, Response

from postern import CallError
from postern.connections.calls.later_result import Stage, stage_of, wait_before
from postern.http_client import Response as Received
from tests.connections.calling import ENTRA, Counterpart, calling, serving

pytestmark = pytest.mark.anyio

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


@pytest.mark.parametrize(
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


@pytest.mark.parametrize(
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
