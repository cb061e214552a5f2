"""The stored reply of a record, and another run from it."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from postern import Context, anonymous, tenant_users, workflow
from postern.access import ANYONE, Caller, Refused, StartedBy, bind
from postern.api.access import Standing
from postern.api.resubmit import check_resubmit, edited, reply_again, resubmitter
from postern.catalog import Snapshot, Trigger
from postern.errors import Problem
from postern.journal.body_form import Form
from postern.journal.run import State
from postern.triggers.large_bodies import LARGE, LargeBodies
from postern.triggers.one_origin import SANDBOX
from tests.api.records import ADA, HERE, OURS, record
from tests.table import table


@workflow(access=anonymous())
async def hello(ctx: Context) -> str:
    return "hello"


@workflow(access=anonymous(), stateless=True, name="hello")
async def forgetful(ctx: Context) -> str:
    return "hello"


@workflow(access=tenant_users(guests=False), name="hello")
async def guarded(ctx: Context) -> str:
    return "hello"


def trigger(of: Any) -> Trigger:
    return Trigger(of, bind(of.access, people={}, tenants=[HERE], audiences=[OURS]), Path("hello.py"))


def refusal_of(call: Any, *args: Any) -> tuple[str, str]:
    with pytest.raises(Problem) as caught:
        call(*args)
    return caught.value.code, caught.value.detail


@pytest.mark.parametrize(
    ("fields", "content", "headers"),
    [
        ({}, b'"hello"', [(b"content-type", b"application/json")]),
        (
            {"outputs": "hi", "outputs_form": Form.TEXT, "reply_headers": '[["x-a", "\u00e9"]]'},
            b"hi",
            [(b"x-a", b"\xe9")],
        ),
        ({"outputs": "AP8=", "outputs_form": Form.BASE64, "reply_headers": "[]"}, b"\x00\xff", []),
        ({"outputs": None, "outputs_form": Form.NONE, "reply_headers": "[]", "status": 204}, b"", []),
        ({"state": State.FAILED, "status": 409}, b'"hello"', [(b"content-type", b"application/json")]),
    ],
)
def test_a_reply_is_given_again_byte_for_byte(
    fields: dict[str, Any], content: bytes, headers: list[tuple[bytes, bytes]]
):
    of = record(**fields)
    answer = reply_again(of, console_on=False)
    assert (answer.status, answer.content) == (of.status, content)
    assert answer.headers[: len(headers) + 1] == [*headers, (b"x-run-id", of.id.encode())]
    beside_the_console = reply_again(of)
    assert (beside_the_console.status, beside_the_console.content) == (of.status, content)
    assert (SANDBOX in beside_the_console.headers) is ((b"content-type", b"application/json") not in headers)


@pytest.mark.parametrize(
    "fields",
    [
        {"outputs_form": Form.CUT},
        {"outputs_form": Form.REDACTED},
        {"outputs": None, "outputs_form": Form.SECURED},
        {"state": State.INTERRUPTED, "status": None, "outputs": None, "outputs_form": None},
        {"outputs": "???", "outputs_form": Form.BASE64},
    ],
)
def test_a_reply_that_was_not_kept_whole_is_not_given(fields: dict[str, Any]):
    assert refusal_of(reply_again, record(**fields))[0] == "reply-not-kept"


@table(
    ("fields", "of", "why"),
    [
        ({"state": State.RUNNING}, hello, "has not ended"),
        ({"state": State.WAITING}, hello, "has not ended"),
        ({}, None, "no workflow of this name"),
        ({}, forgetful, "does not record"),
        ({"inputs_form": Form.CUT}, hello, "were cut"),
        ({"inputs_form": Form.REDACTED}, hello, "were redacted"),
        ({"inputs": None, "inputs_form": Form.SECURED}, hello, "are not recorded"),
        ({"request": '{"redacted": true}'}, hello, "redacted"),
        ({"request_headers": None}, hello, "did not record the headers"),
        ({"request_headers": '[["host", "a"], ["authorization", null]]'}, hello, "credentials, or too long"),
    ],
)
@table("what", [Standing.OPERATOR, Standing.OWNER, Standing.BEARER])
def test_a_run_that_cannot_be_started_again_says_why(fields: dict[str, Any], of: Any, why: str, what: Standing):
    found = trigger(of) if of is not None else None
    code, detail = refusal_of(check_resubmit, record(**fields), found, what, ANYONE)
    assert code == "cannot-resubmit"
    assert why in detail


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"state": State.INTERRUPTED},
        {"state": State.FAILED},
        {"inputs": None, "inputs_form": Form.NONE},
        {"inputs": "AP8=", "inputs_form": Form.BASE64, "request": '{"method": "PUT", "redacted": false}'},
    ],
)
def test_a_run_that_has_ended_with_whole_inputs_can_be_started_again(fields: dict[str, Any]):
    check_resubmit(record(**fields), trigger(hello), Standing.BEARER, ANYONE)


def test_who_would_not_be_let_in_today_cannot_start_it_again():
    """Otherwise an old run would bypass the access check."""
    member, guest = (Caller("user", ADA, HERE, audience=OURS, guest=guest) for guest in (False, True))
    check_resubmit(record(), trigger(guarded), Standing.OWNER, member)
    check_resubmit(record(), trigger(guarded), Standing.OPERATOR, guest)
    with pytest.raises(Refused):
        check_resubmit(record(), trigger(guarded), Standing.OWNER, guest)
    assert refusal_of(check_resubmit, record(), trigger(guarded), Standing.BEARER, ANYONE)[0] == "cannot-resubmit"


@workflow(access=anonymous(), max_elements=3, name="hello")
async def few(ctx: Context, body: list[int]) -> str:
    return "hello"


@pytest.mark.anyio
@pytest.mark.parametrize(("inputs", "outcome"), [("[1,2,3]", [1, 2, 3]), ("[1,2,3,4]", "cannot-resubmit")])
async def test_the_inputs_of_a_resubmit_are_read_in_turn_and_within_the_same_limits(inputs: str, outcome: Any):
    started: list[str] = []

    async def start(*given: Any) -> Any:
        started.append("run")
        return given[3]["body"]

    async def others() -> None:
        while True:
            started.append("other")
            await asyncio.sleep(0)

    snapshot = Snapshot({"hello": trigger(few)}, ())
    resubmit = resubmitter(lambda: snapshot, start, LargeBodies())
    other = asyncio.create_task(others())
    kept = record(inputs=inputs + " " * LARGE, inputs_form=Form.JSON, request_headers="[]")
    found = await asyncio.gather(
        *(resubmit(kept, ANYONE, "", ANYONE, StartedBy.UNKNOWN, None) for _ in range(2)), return_exceptions=True
    )
    other.cancel()
    assert [each.code if isinstance(each, Problem) else each for each in found] == [outcome] * 2
    assert "run run" not in " ".join(started)


@pytest.mark.anyio
async def test_a_resubmit_runs_the_workflow_whose_access_was_checked():
    """Not one that was loaded meanwhile, which the caller may not be allowed to call."""
    started: list[Any] = []

    async def start(*given: Any) -> Any:
        started.append(given[0])

    current = [Snapshot({"hello": trigger(hello)}, ())]
    running = resubmitter(lambda: current[0], start, LargeBodies())(
        record(inputs="", request_headers="[]"), ANYONE, "", ANYONE, StartedBy.UNKNOWN, None
    )
    current[0] = Snapshot({"hello": trigger(guarded)}, ())
    await running
    assert started == [hello]


FORM = {"method": "POST", "path": "/triggers/hello", "content_type": "text/plain", "query": "a=1"}
SENT = '[["content-type", "text/plain"], ["Content-Length", "2"], ["digest", "x"], ["x-a", "1"]]'


@pytest.mark.parametrize(
    ("fields", "body", "inputs", "form", "content_type", "headers"),
    [
        ({"inputs": "1", "inputs_form": Form.JSON}, "[2]", "[2]", Form.JSON, None, ["content-type", "x-a"]),
        ({"inputs": "1", "inputs_form": Form.JSON}, "", None, Form.NONE, None, ["content-type", "x-a"]),
        (
            {"inputs": "hi", "inputs_form": Form.TEXT, "request": json.dumps(FORM)},
            "ho",
            "ho",
            Form.TEXT,
            "text/plain",
            ["content-type", "x-a"],
        ),
        (
            {"inputs": None, "inputs_form": Form.NONE, "request": json.dumps(FORM)},
            "{}",
            "{}",
            Form.JSON,
            "application/json",
            ["x-a", "content-type"],
        ),
        ({"inputs": None, "inputs_form": Form.NONE, "request": json.dumps(FORM)}, "", None, Form.NONE, "", ["x-a"]),
    ],
)
def test_an_edited_record_is_the_same_request_with_another_body(
    fields: dict[str, Any], body: str, inputs: str | None, form: Form, content_type: str | None, headers: list[str]
):
    """The headers that describe the body are left out: they are wrong now."""
    before = record(**fields, request_headers=SENT)
    after = edited(before, body)
    assert (after.inputs, after.inputs_form) == (inputs, form)
    kept = json.loads(after.request) if after.request else None
    assert kept == (None if content_type is None else FORM | {"content_type": content_type})
    assert [name for name, _ in json.loads(after.request_headers or "")] == headers
    assert (
        edited(record(request_headers=None), "1").request_headers is None
    )  # of release 0.1: still not to be resubmitted


@workflow(access=anonymous(), name="hello")
async def typed(ctx: Context, body: list[int]) -> str:
    return "hello"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("body", "where"), [("[1]", None), ('["a", 1, "b"]', ["/0", "/2"]), ("{", [""]), ("", [""]), ("[1] 2", [""])]
)
async def test_an_edited_body_is_checked_by_the_types_of_today(body: str, where: list[str] | None):
    started: list[bytes] = []

    async def start(*given: Any) -> Any:
        started.append(given[2].body)

    again = resubmitter(lambda: Snapshot({"hello": trigger(typed)}, ()), start, LargeBodies())
    of = edited(record(inputs="[0]"), body)
    if where is None:
        await again(of, ANYONE, "", ANYONE, StartedBy.UNKNOWN, None)
        assert started == [body.encode()]
        return
    with pytest.raises(Problem) as caught:
        await again(of, ANYONE, "", ANYONE, StartedBy.UNKNOWN, None)
    assert caught.value.code == "cannot-resubmit"
    assert [each["where"] for each in caught.value.members["errors"]] == where
    assert all(each["message"] for each in caught.value.members["errors"])
    assert not started
