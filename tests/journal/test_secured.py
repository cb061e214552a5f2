"""Of a secured workflow's run nothing stays that the request or the reply carried, wherever one looks."""

import hashlib
import json
import sys
import types
from collections.abc import Iterator
from functools import partial
from hashlib import sha256
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from postern import Caller, Problem, Request, Workflow, workflow
from postern.call_chain import Part, key_of_call
from postern.ids import new_id
from postern.journal.run import Outcome, Run, State, Step
from postern.journal.secured import SECURED_NAME, keeps_reply, kept_step, kept_type, url_shown
from postern.journal.writing.rows import COLUMNS, facts, run_row, step_row
from postern.runs.ended_line import ended_line
from postern.runs.idempotency import HMAC_MARK, keep, key_of, unread_reply
from postern.runs.outcomes import cut_off, raised, succeeded
from tests.table import table

MARK = "4711-sesame"
RAW = MARK.encode()


@workflow(secure_inputs=True, path="/{part}")
async def secure_in(ctx, body, part: str) -> None: ...


@workflow(secure_outputs=True, path="/{part}")
async def secure_out(ctx, body, part: str) -> None: ...


@workflow(secure_inputs=True, secure_outputs=True, path="/{part}")
async def secure_both(ctx, body, part: str) -> None: ...


@workflow(path="/{part}")
async def plain(ctx, body, part: str) -> None: ...


SECURED = (secure_in, secure_out, secure_both)


def run_of(of: Workflow, **request: Any) -> Run:
    values: dict[str, Any] = {
        "path_parameters": {"part": MARK},
        "body": RAW,
        "query_string": b"q=" + RAW,
        "content_type": f"text/{MARK}",
        "_raw_headers": [(b"x-note", RAW), (b"idempotency-key", b"key-" + RAW)],
    }
    return Run(
        new_id(), of, Caller("user", object_id="o"), Request("PUT", f"/triggers/x/{MARK}", **values | request), 1.0
    )


def row_of(run: Run, outcome: Outcome) -> dict[str, Any]:
    run.outcome, run.ended_at = outcome, 2.0
    return dict(zip(COLUMNS, run_row(facts(run), "node"), strict=True))


def errors() -> Iterator[BaseException]:
    yield ValueError(MARK)
    yield KeyError(MARK)
    yield Problem(409, MARK, title=MARK, code=MARK, members={MARK: MARK}, headers={"X-Note": MARK}, reason=MARK)
    yield Problem(404, MARK, code="not-found")
    yield type(f"Error{MARK}", (LookupError,), {})(MARK)
    chained = RuntimeError(MARK)
    chained.__cause__ = ValueError(MARK)
    chained.add_note(MARK)
    yield chained
    yield ExceptionGroup(MARK, [ValueError(MARK)])


@table("of", SECURED, ids=lambda each: each.name)
@table("error", list(errors()), ids=lambda each: type(each).__name__[:12])
def test_no_error_of_a_secured_run_repeats_what_was_sent(of: Workflow, error: BaseException):
    run = run_of(of, body=b"", query_string=b"", path_parameters={}, _raw_headers=[], content_type="")
    run.request.path = "/triggers/x"
    outcome = raised(error, run)
    found = row_of(run, outcome)
    assert MARK not in json.dumps(found)
    assert found["error_type"]
    assert MARK not in json.dumps(ended_line(run)[1])
    reply = unread_reply(outcome.status, outcome.headers, outcome.content, secured=not keeps_reply(of, outcome))
    if isinstance(error, Problem):
        assert reply == keep(outcome.status, (), b"", secured=True)


def test_of_a_request_with_secure_inputs_nothing_is_recorded():
    found = row_of(run_of(secure_in), succeeded(1, None))
    assert MARK not in json.dumps(found)
    assert (found["inputs_form"], found["request"], found["request_headers"], found["outputs"]) == (
        "secured",
        None,
        None,
        "1",
    )


def test_of_a_reply_with_secure_outputs_nothing_but_its_status_is_recorded():
    outcome = Outcome(State.SUCCEEDED, 201, RAW, ((b"location", RAW), (b"content-type", RAW)))
    found = row_of(run_of(secure_both), outcome)
    assert MARK not in json.dumps(found)
    assert (found["status"], found["outputs_form"], found["reply_headers"]) == (201, "secured", None)


def test_a_secured_workflow_keeps_what_the_other_side_carries():
    found = row_of(run_of(secure_out), succeeded(1, None))
    assert (found["inputs"], json.loads(found["request"])["query"]) == (MARK, f"q={MARK}")
    assert json.loads(found["request_headers"]) == [["x-note", MARK]]


def test_postern_own_outcomes_say_what_happened():
    run = run_of(secure_in)
    found = row_of(run, cut_off(run, by_hand=False, begun=True))
    assert (found["error_type"], found["error_message"]) == (
        "timed-out",
        "The workflow did not end within its timeout.",
    )
    assert found["outputs_form"] == "json"


def guessed(request: Request) -> set[str]:
    """What a reader of the database can compute of a request that was guessed."""
    parts = (request.method, request.path, request.query_string, request.content_type, request.body)
    digest = hashlib.sha256()
    for part in parts:
        raw = part if isinstance(part, bytes) else part.encode()
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return {digest.hexdigest()}


@given(st.binary(max_size=20), st.sampled_from(["k1", "k2"]), st.sampled_from(SECURED))
def test_a_secured_request_cannot_be_guessed_from_its_fingerprint(body: bytes, key: str, of: Workflow):
    request = Request("POST", "/triggers/x", body=body)
    made = key_of(of, Caller("user"), request, [key.encode()])
    assert made.fingerprint.startswith(HMAC_MARK)
    assert made.fingerprint not in guessed(request)
    assert made.before in guessed(request)
    assert made == key_of(of, Caller("user"), request, [key.encode()])
    assert made.fingerprint != key_of(of, Caller("user"), request, [b"k3"]).fingerprint
    assert (
        made.fingerprint != key_of(of, Caller("user"), Request("POST", "/triggers/y", body=body), [b"k1"]).fingerprint
    )
    assert key_of(plain, Caller("user"), request, [b"k1"]).before == ""


def test_the_key_of_a_call_cannot_be_computed_from_the_record_of_its_run():
    """It is the key of the HMAC, if the call is to a secured workflow."""
    part = Part("run-1", path=(1,), calls=1)
    known = b"run-1/1/1/hello"
    guesses = {sha256(known).hexdigest(), hashlib.blake2b(known, digest_size=32).hexdigest()}
    assert key_of_call(part, "hello") not in guesses
    assert key_of_call(part, "hello") == key_of_call(Part("run-1", path=(1,), calls=1), "hello")


def test_a_name_that_is_made_while_a_run_runs_is_not_recorded():
    made = type(f"Error{MARK}", (KeyError,), {})
    module = types.ModuleType(f"postern_test_{MARK}")
    sys.modules[module.__name__] = module
    try:
        known = type("Known", (ValueError,), {"__module__": module.__name__, "__qualname__": "Known"})
        vars(module)["Known"] = known
        assert kept_type(known(), secured=True) == "Known"
    finally:
        del sys.modules[module.__name__]
    assert (kept_type(made(), secured=True), kept_type(made(), secured=False)) == ("KeyError", made.__name__)

    def charge() -> None: ...

    charge.__name__ = MARK
    for function in (charge, partial(charge)):
        assert kept_step(f"pay {MARK}", function, secured=True) == "charge"
    assert kept_step("", partial(int), secured=True) == SECURED_NAME
    assert kept_step(f"pay {MARK}", charge, secured=False) == f"pay {MARK}"
    assert MARK not in str(step_row("run", Step(1, kept_step(MARK, charge, secured=True), True, [])))


def test_a_log_shows_of_a_secured_request_the_url_of_its_trigger():
    assert url_shown(secure_in, f"/triggers/secure-in/{MARK}?a={MARK}") == "/triggers/secure-in"
    assert url_shown(plain, "/triggers/plain/1") == "/triggers/plain/1"
