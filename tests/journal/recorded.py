"""Rows of runs for tests that read the journal."""

from typing import Any

from sqlalchemy import Connection, insert

from postern.ids import id_at
from postern.journal.schema import runs

TENANT = "e2fc6e45-07a1-47e5-a6c7-2a3740ea3a7a"
NOON = 1_767_268_800.0
"""12:00 on the first of January 2026, in UTC."""


def id_number(number: int, at: float = NOON) -> str:
    """An id of ours; those of higher numbers are later."""
    return f"{id_at(at + number)[:-12]}{number:012x}"


def run_row(number: int, **more: Any) -> dict[str, Any]:
    """The row of a run that an anonymous caller started `number` seconds after NOON."""
    row: dict[str, Any] = {
        "id": id_number(number),
        "workflow": "hello",
        "state": "Succeeded",
        "status": 200,
        "caller_kind": "user" if more.get("object_id") else "anonymous",
        "object_id": None,
        "tenant_id": TENANT if more.get("object_id") else None,
        "client_id": None,
        "caller_name": None,
        "client_address": "192.0.2.7",
        "started_at": NOON + number,
        "ended_at": NOON + number + 0.25,
        "request": None,
        "request_headers": "[]",
        "inputs": '{"name": "Ada"}',
        "inputs_form": "json",
        "outputs": '"hello"',
        "outputs_form": "json",
        "reply_headers": None,
        "error_type": None,
        "error_message": None,
        "error_shown": None,
        "error_traceback": None,
        "parent_run_id": None,
        "resubmitted_from": None,
        "trace_id": f"{number:032x}",
        "node": "here",
        "cancel_requested_at": None,
        "cancelled_by": None,
        "resubmitted_by": None,
    }
    return row | more


def put(connection: Connection, *rows: dict[str, Any]) -> None:
    """Record runs."""
    if rows:
        connection.execute(insert(runs), list(rows))


def run_at(number: int, at: float, took: float | None = 0.25, **more: Any) -> dict[str, Any]:
    """A run that began `at` seconds after NOON."""
    times = {"started_at": NOON + at, "ended_at": None if took is None else NOON + at + took}
    return run_row(number, **more, **times) | {"id": f"{id_at(NOON + at)[:-12]}{number:012x}"}


def refusal_at(number: int, at: float, **more: Any) -> dict[str, Any]:
    """The row of a rejected request that came `at` seconds after NOON."""
    row: dict[str, Any] = {
        "id": f"{id_at(NOON + at)[:-12]}{number:012x}",
        "reason": "signature",
        "code": "unauthenticated",
        "status": 401,
        "workflow": "payroll",
        "client_address": "192.0.2.7",
        "first_at": NOON + at,
        "last_at": NOON + at + 5,
        "count": 1,
        "request_ids": "x",
        "claimed": None,
        "checks": "[]",
    }
    return row | more
