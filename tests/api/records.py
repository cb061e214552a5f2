"""Records of runs for tests that show them or decide about them."""

from typing import Any

from postern.journal.body_form import Form
from postern.journal.reading.records import RunRecord
from postern.journal.run import State
from tests.journal.recorded import NOON, TENANT, id_number

HERE = TENANT
OURS = "api://postern"
ADA = "ed1bf663-4183-4555-b113-3ed7e5cc901b"
LISA = "c33a0e11-b6a6-4ce1-b2e0-e5fbe1e362d2"


def record(**more: Any) -> RunRecord:
    """The record of a run that succeeded."""
    fields: dict[str, Any] = {
        "id": id_number(1),
        "workflow": "hello",
        "state": State.SUCCEEDED,
        "status": 200,
        "caller_kind": "anonymous",
        "object_id": None,
        "tenant_id": None,
        "client_id": None,
        "caller_name": None,
        "client_address": "192.0.2.7",
        "started_at": NOON,
        "ended_at": NOON + 0.25,
        "error_type": None,
        "error_message": None,
        "error_shown": False,
        "parent_run_id": None,
        "resubmitted_from": None,
        "trace_id": "0" * 31 + "1",
        "node": "here",
        "cancel_requested_at": None,
        "inputs": '{"name": "Ada"}',
        "inputs_form": Form.JSON,
        "outputs": '"hello"',
        "outputs_form": Form.JSON,
        "request_headers": "[]",
    }
    return RunRecord(**(fields | more))
