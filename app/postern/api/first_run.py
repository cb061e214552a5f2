"""For whom a resubmitted run may act: only for the person who started the first run, and with the same input. Pure.

Otherwise the grants of an operator who resubmits a run would serve the input of a stranger.
"""

import json
from collections.abc import Sequence

from postern.access import Caller, StartedBy
from postern.call_chain import DEPTH
from postern.journal.reading.records import RunRecord


def started_by(caller: Caller, record: RunRecord, lineage: Sequence[RunRecord]) -> StartedBy:
    """How the new run of `caller` is started. `record` has its input, edited or not. `lineage` are the runs that it
    comes from, the resubmitted one first: its last one is the first run, if all are recorded."""
    if not lineage or lineage[-1].resubmitted_from:
        return StartedBy.LOST
    first = lineage[-1]
    if not _is_person(first.caller_kind, first.tenant_id, first.object_id) or _was_called(first):
        return StartedBy.ANOTHER
    if (caller.kind, caller.tenant_id, caller.object_id) != (first.caller_kind, first.tenant_id, first.object_id):
        return StartedBy.ANOTHER
    return StartedBy.SAME_AGAIN if _input_of(record) == _input_of(first) else StartedBy.EDITED


def _is_person(kind: str, tenant_id: str | None, object_id: str | None) -> bool:
    return kind == "user" and bool(tenant_id) and bool(object_id)


def _was_called(record: RunRecord) -> bool:
    """Whether the run was a call of another one, here or elsewhere. What cannot be read may have been one."""
    if record.parent_run_id or record.request_headers is None:
        return True
    return any(name.lower() == DEPTH.lower() for name, _ in json.loads(record.request_headers))


def _input_of(record: RunRecord) -> tuple[object, ...]:
    """All that a workflow gets of a request."""
    return record.workflow, record.inputs, record.inputs_form, record.request, record.request_headers
