"""Records as JSON."""

import json
from typing import Any

import pytest

from postern.api.representation import run_json, runs_json, when
from postern.journal.body_form import Form
from postern.journal.run import Attempt, State, Step
from tests.api.records import ADA, record
from tests.journal.recorded import NOON, id_number
from tests.table import table


def shown(*, private: bool = False, **fields: Any) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(run_json(record(**fields), private=private))
    return document


def test_a_traceback_is_for_operators_and_in_no_list():
    failed: dict[str, Any] = {"error_type": "ValueError", "error_message": "why", "error_traceback": "TRACE"}
    assert shown(**failed, private=True)["error"] == {"type": "ValueError", "message": "why", "traceback": "TRACE"}
    assert shown(**failed, error_shown=True)["error"] == {"type": "ValueError", "message": "why"}
    assert shown(**failed)["error"] == {"type": "ValueError", "message": None}
    for private in (True, False):
        assert b"TRACE" not in runs_json([record(**failed)], None, private=private)


def test_a_run_is_shown_with_all_of_its_members():
    attempts = [Attempt(NOON, NOON + 0.1, "OSError"), Attempt(NOON + 0.15, NOON + 0.2)]
    document = shown(caller_kind="user", object_id=ADA, caller_name="Ada", steps=(Step(1, "fetch", True, attempts),))
    assert document == {
        "id": id_number(1),
        "workflow": "hello",
        "state": "Succeeded",
        "status": 200,
        "caller": {"kind": "user", "object_id": ADA, "client_id": None, "name": "Ada"},
        "client_address": "192.0.2.7",
        "started_at": "2026-01-01T12:00:00.000Z",
        "ended_at": "2026-01-01T12:00:00.250Z",
        "duration_ms": 250.0,
        "inputs": {"name": "Ada"},
        "outputs": "hello",
        "error": None,
        "parent_run_id": None,
        "resubmitted_from": None,
        "resubmitted_by": None,
        "cancelled_by": None,
        "durable": None,
        "via": None,
        "via_client": None,
        "agent": None,
        "trace_id": "0" * 31 + "1",
        "steps": [
            {
                "name": "fetch",
                "succeeded": True,
                "started_at": "2026-01-01T12:00:00.000Z",
                "ended_at": "2026-01-01T12:00:00.200Z",
                "attempts": [
                    {
                        "started_at": "2026-01-01T12:00:00.000Z",
                        "ended_at": "2026-01-01T12:00:00.100Z",
                        "error": "OSError",
                    },
                    {
                        "started_at": "2026-01-01T12:00:00.150Z",
                        "ended_at": "2026-01-01T12:00:00.200Z",
                        "error": None,
                    },
                ],
            }
        ],
        "calls": [],
    }


def test_what_is_not_there_yet_is_null():
    document = shown(state=State.RUNNING, status=None, ended_at=None, outputs=None, outputs_form=None)
    absent = ("status", "ended_at", "duration_ms", "outputs", "error")
    assert {name: document[name] for name in absent} == dict.fromkeys(absent)


@table(
    ("form", "text", "value", "note"),
    [
        (Form.JSON, '{"a": [1, 2.50]}', {"a": [1, 2.5]}, None),
        (Form.TEXT, 'plain "text"', 'plain "text"', None),
        (Form.BASE64, "AP8=", "AP8=", "base64"),
        (Form.CUT, '{"a": "xx', '{"a": "xx', "cut"),
        (Form.REDACTED, '{"password": "[redacted]"}', {"password": "[redacted]"}, "redacted"),
        (Form.REDACTED, "it is [redacted]", "it is [redacted]", "redacted"),
        (Form.SECURED, None, None, "secured"),
        (Form.NONE, None, None, None),
        (Form.JSON, "{not JSON", "{not JSON", None),
        (Form.JSON, "NaN", "NaN", None),
        (Form.JSON, "[" * 5000, "[" * 5000, None),
    ],
)
def test_a_body_is_shown_as_what_it_is(form: Form, text: str | None, value: Any, note: str | None):
    document = shown(inputs=text, inputs_form=form, outputs=text, outputs_form=form)
    assert (document["inputs"], document["outputs"]) == (value, value)
    assert (document.get("inputs_note"), document.get("outputs_note")) == (note, note)
    assert ("inputs_note" in document) is (note is not None)


def test_json_is_shown_as_it_was_sent():
    text = '{"n": 1.10, "n": 12345678901234567890123, "é": "\\ud83d\\ude00"}'
    assert f'"inputs":{text},'.encode() in run_json(record(inputs=text), private=False)


@pytest.mark.parametrize(
    ("private", "meant", "message"), [(False, False, None), (True, False, "why"), (False, True, "why")]
)
def test_the_message_of_an_error_is_for_operators_unless_its_author_meant_it_to_be_seen(
    private: bool, meant: bool, message: str | None
):
    fields: dict[str, Any] = {"error_type": "ValueError", "error_message": "why", "error_shown": meant}
    assert shown(private=private, **fields)["error"] == {"type": "ValueError", "message": message}
    (listed,) = json.loads(runs_json([record(**fields)], None, private=private))["runs"]
    assert listed["error"] == {"type": "ValueError", "message": message}


def test_lists_have_no_bodies_and_no_steps():
    page = json.loads(runs_json([record()], "more", private=False))
    assert page["next"] == "more"
    assert {"inputs", "outputs", "steps"}.isdisjoint(page["runs"][0])


def test_times_have_milliseconds_and_end_with_z():
    assert [when(moment) for moment in (0.0, NOON + 0.9999, None)] == [
        "1970-01-01T00:00:00.000Z",
        "2026-01-01T12:00:00.999Z",
        None,
    ]


def test_operators_see_the_headers_of_the_request():
    assert "headers" not in shown(request_headers='[["host", "a"]]')
    assert shown(request_headers='[["host", "a"]]', private=True)["headers"] == [["host", "a"]]
    assert shown(request_headers=None, private=True)["headers"] is None


def test_a_byte_order_mark_is_not_shown():
    assert shown(inputs='\ufeff{"a": 1}')["inputs"] == {"a": 1}
