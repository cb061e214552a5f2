"""What of a run is written down, and what is not."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine

from postern import Caller, Request, Workflow, workflow
from postern.ids import new_id
from postern.journal.body_form import Form
from postern.journal.run import Outcome, Run, State
from postern.journal.schema import runs
from postern.journal.writing.rows import (
    COLUMNS,
    MAX_KEPT_BYTES,
    MAX_MESSAGE,
    MAX_TRACEBACK,
    facts,
    kept,
    run_row,
)
from postern.redaction import NOT_RECORDED
from tests.table import table

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJvaWQiOiIxIn0.c2lnbmF0dXJl"
JSON = ((b"content-type", b"application/json"),)


@workflow
async def plain(ctx) -> None: ...


@workflow(secure_inputs=True)
async def secure_in(ctx) -> None: ...


@workflow(secure_outputs=True)
async def secure_out(ctx) -> None: ...


def row_of(
    of: Workflow = plain, body: bytes = b"", outcome: Outcome | None = None, **request: object
) -> dict[str, object]:
    values: dict[str, object] = {"content_type": "application/json", **request}
    sent = Request("POST", f"/triggers/{of.name}", body=body, **values)  # type: ignore[arg-type]
    run = Run(new_id(), of, Caller("user", object_id="o"), sent, time.time())
    if outcome is not None:
        run.outcome, run.ended_at = outcome, time.time()
    return dict(zip(COLUMNS, run_row(facts(run), "node"), strict=True))


@table(
    ("content", "is_json", "expected"),
    [
        (b"", True, (None, Form.NONE)),
        (b'{"a": 1}', True, ('{"a": 1}', Form.JSON)),
        (b"a=1&b=2", False, ("a=1&b=2", Form.TEXT)),
        (b"\xff\x00", False, ("/wA=", Form.BASE64)),
        (b"a\x00b", True, ("YQBi", Form.BASE64)),
        (
            b'{"password": "x", "a": [{"api_key": 1}]}',
            True,
            ('{"password":"[redacted]","a":[{"api_key":"[redacted]"}]}', Form.REDACTED),
        ),
        (b'{"design": "keyboard tokens"}', True, ('{"design": "keyboard tokens"}', Form.JSON)),
        (f'{{"note": "{JWT}"}}'.encode(), True, ('{"note":"[token]"}', Form.REDACTED)),
        (f"note {JWT} end".encode(), False, ("note [token] end", Form.REDACTED)),
        (b'{"password": "x"}', False, ('{"password":"[redacted]"}', Form.REDACTED)),
        (b' [{"password": "x"}]', False, ('[{"password":"[redacted]"}]', Form.REDACTED)),
        (b'\xef\xbb\xbf{"password": "x"}', True, ('{"password":"[redacted]"}', Form.REDACTED)),
        (b'{"p\\u0061ssword": "x"}', True, ('{"password":"[redacted]"}', Form.REDACTED)),
        (b'{"note": "\\u0065yJh.b"}', True, ('{"note":"[token]"}', Form.REDACTED)),
        (b'{"note": "monkey \\u00fc"}', False, ('{"note": "monkey \\u00fc"}', Form.TEXT)),
        (b'{"PASSWORD": broken', True, (NOT_RECORDED, Form.REDACTED)),
    ],
)
def test_a_body_is_kept_in_its_form_and_without_secrets(content, is_json, expected):
    content_type = "application/json" if is_json else ""
    assert kept(content, content_type) == expected
    assert kept(None, content_type) == (None, Form.SECURED)


def test_of_a_long_body_the_beginning_is_kept():
    body = b'{"text": "' + b"x" * MAX_KEPT_BYTES + b'"}'
    assert kept(body, "application/json") == (body[:MAX_KEPT_BYTES].decode(), Form.CUT)


def test_a_long_body_is_cut_before_what_may_tell_of_a_secret():
    body = json.dumps({"a": 1, "Password": {"is": "hunter2"}, "text": "x" * MAX_KEPT_BYTES}).encode()
    assert kept(body, "application/json") == ('{"a": 1, "', Form.CUT)


@given(st.binary(max_size=200), st.booleans())
def test_whatever_is_kept_can_be_written_to_any_database(content: bytes, is_json: bool):
    text, form = kept(content, "application/json" if is_json else "")
    assert (text is None) == (not content)
    assert form in Form
    assert "\x00" not in (text or "").encode("utf-8").decode("utf-8")


def test_a_row_has_a_value_for_every_column_of_the_table():
    assert set(COLUMNS) == {column.name for column in runs.columns} - {"cancel_requested_at"}
    engine = create_engine("sqlite://")
    runs.create(engine)
    with engine.begin() as connection:
        connection.execute(runs.insert().values(row_of(body=b"{}", outcome=Outcome(State.SUCCEEDED, 200, b"1", JSON))))
    engine.dispose()


def test_a_plain_request_needs_no_more_than_its_body_to_be_run_again():
    assert row_of(body=b"{}")["request"] is None


def test_what_another_request_needs_is_kept_and_secrets_in_its_query_are_not():
    row = row_of(query_string=b"q=a&sig=abc", path_parameters={"room": "1"}, content_type="text/plain")
    found = json.loads(str(row["request"]))
    assert found["path_parameters"] == {"room": "1"}
    assert (found["query"], found["redacted"], found["content_type"]) == ("q=a&sig=%5Bredacted%5D", True, "text/plain")


def test_bodies_that_their_workflow_keeps_out_are_not_there():
    outcome = Outcome(State.SUCCEEDED, 200, b'{"b":2}', JSON)
    inside, outside = row_of(secure_in, b'{"a":1}', outcome), row_of(secure_out, b'{"a":1}', outcome)
    assert (inside["inputs"], inside["inputs_form"], inside["outputs"]) == (None, "secured", '{"b":2}')
    assert (outside["inputs"], outside["outputs"], outside["outputs_form"]) == ('{"a":1}', None, "secured")


def test_an_errors_text_is_kept_short_without_tokens_and_not_at_all_where_bodies_are_kept_out():
    outcome = Outcome(State.FAILED, 500, b"{}", JSON, "ValueError", f"{JWT} \x00\ud800 " + "x" * 5000)
    message = str(row_of(outcome=outcome)["error_message"])
    assert message.startswith("[token] \ufffd")
    assert len(message) == MAX_MESSAGE
    assert row_of(secure_in, outcome=outcome)["error_message"] is None
    assert row_of(secure_in, outcome=outcome)["error_type"] == "ValueError"


def test_a_replys_cookie_is_not_kept():
    headers = ((b"content-type", b"application/json"), (b"set-cookie", b"session=1"))
    row = row_of(outcome=Outcome(State.SUCCEEDED, 200, b"1", headers))
    assert json.loads(str(row["reply_headers"])) == [["content-type", "application/json"]]


def test_of_a_traceback_the_beginning_and_the_end_are_kept_without_secrets():
    trace = f"Traceback\n  f(password='hunter2')\n{JWT}\n" + "x\n" * MAX_TRACEBACK + "ValueError: \x00why"
    outcome = Outcome(State.FAILED, 500, b"{}", JSON, "ValueError", "why", error_traceback=trace)
    found = str(row_of(outcome=outcome)["error_traceback"])
    assert found.startswith("Traceback\n  f(password=[redacted])\n[token]\n")
    assert found.endswith("ValueError: \ufffdwhy")
    assert MAX_TRACEBACK <= len(found) < MAX_TRACEBACK + 20
    assert row_of(outcome=Outcome(State.SUCCEEDED, 200, b"1", JSON))["error_traceback"] is None


@pytest.mark.parametrize("secret", ["{'password': '%s'}", "-----BEGIN PRIVATE KEY-----\n%s"])
def test_a_long_secret_in_an_error_is_not_cut_in_two(secret: str):
    """Its end would have no name."""
    trace = "a " * 20_000 + secret % ("hunter2 " * 8_000)
    outcome = Outcome(State.FAILED, 500, b"{}", JSON, "ValueError", trace, error_traceback=trace)
    row = row_of(outcome=outcome)
    assert str(row["error_traceback"]).startswith("a a ")
    assert "hunter2" not in str(row)
