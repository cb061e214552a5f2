"""Records as JSON. Pure. Bodies that are JSON are included as they were sent."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from math import isfinite
from types import MappingProxyType
from typing import Any

from pydantic_core import to_json

from postern.access import Policy
from postern.authoring.schedule import NEXT_TIMES
from postern.authoring.workflow import Workflow
from postern.catalog import Snapshot, Trigger
from postern.catalog.snapshot import Fault, tool_methods
from postern.journal.approvals import Approval
from postern.journal.body_form import Form
from postern.journal.reading.call_tree import Branch, Tree
from postern.journal.reading.durable_parts import ApprovalRecord, DurableParts, SignalRecord
from postern.journal.reading.records import CallRecord, DurableState, RefusalRecord, RunRecord
from postern.journal.run import State, Step
from postern.json_parser import parse
from postern.trace import trace_id_of

NOTED = frozenset({Form.BASE64, Form.CUT, Form.SECURED, Form.REDACTED})
"""Forms of a body that is not shown as it was sent: `inputs_note` or `outputs_note` names the form."""
NULL = b"null"
_OF_A_STREAM = re.compile(r'\{"bytes":\d+,"ended":"[a-z-]+"\}')
"""What is recorded of a reply that was sent while its run went on (`runs.streaming`)."""


def run_json(record: RunRecord, *, private: bool, acts: bool = True, parts: DurableParts | None = None) -> bytes:
    """The whole record of a run. `private` is for operators: it shows the request's headers, the messages of errors
    that the author does not show to callers, their tracebacks, and the ids of called runs whose id alone gives access.
    `acts` shows who cancelled or resubmitted it, sent signals to it, and decided. `parts` are those of a durable
    run."""
    summary = _summary(record, private=private, acts=acts)
    if private and record.error_traceback:
        summary["error"]["traceback"] = record.error_traceback
    members = {name: to_json(value) for name, value in summary.items()}
    members["inputs"] = _body(record.inputs, record.inputs_form)
    members["outputs"] = _body(record.outputs, record.outputs_form)
    if private:
        members["headers"] = (record.request_headers or "null").encode()
    if record.inputs_form in NOTED:
        members["inputs_note"] = to_json(record.inputs_form)
    if record.outputs_form in NOTED:
        members["outputs_note"] = to_json(record.outputs_form)
    members["steps"] = to_json([_step(step) for step in record.steps])
    members["calls"] = to_json([_call(call, shown=private) for call in record.calls])
    if parts is not None:
        members["signals"] = to_json([_signal(signal, acts=acts) for signal in parts.signals])
        members["approvals"] = to_json([_approval(approval, acts=acts) for approval in parts.approvals])
    return b"{" + b",".join(b'"%b":%b' % (name.encode(), value) for name, value in members.items()) + b"}"


def tree_json(tree: Tree, may_see: Callable[[RunRecord], bool]) -> bytes:
    """A run and the tree of its calls. Runs that `may_see` forbids show only the name and status of the call."""
    document = _node(tree.root, tree, may_see)
    return to_json({**document, "truncated": True} if tree.truncated else document)


def runs_json(
    records: Iterable[RunRecord],
    cursor: str | None,
    *,
    private: bool,
    more: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> bytes:
    """A page of runs, without their large fields. `more` are further members, by the ids of the runs."""
    shown = [{**_summary(record, private=private), **more.get(record.id, {})} for record in records]
    return to_json({"runs": shown, "next": cursor})


def state_json(record: RunRecord) -> bytes:
    """The state of a run that has no reply yet."""
    return to_json({"id": record.id, "state": record.state.value})


def refusals_json(records: Iterable[RefusalRecord], cursor: str | None) -> bytes:
    """A page of refusals."""
    return to_json({"refusals": [_refusal(record) for record in records], "next": cursor}, serialize_unknown=True)


def workflows_json(snapshot: Snapshot, *, seals_runs: bool = False, now: float = 0.0) -> bytes:
    """All served workflows by name, and the faulty files. `now` is for the next times of schedules."""
    triggers = [_workflow(snapshot.triggers[name], now, seals_runs=seals_runs) for name in sorted(snapshot.triggers)]
    return to_json({"workflows": triggers, "faults": [fault_json(fault) for fault in snapshot.faults], "next": None})


def when(moment: float | None) -> str | None:
    """A time in UTC with milliseconds (RFC 3339)."""
    if moment is None:
        return None
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def approval_json(approval: Approval) -> dict[str, Any]:
    """An approval with its decision, for the person who decided."""
    by = json.loads(approval.decided_by) if approval.decided_by else None
    return {
        "run_id": approval.run_id,
        **_approval(
            ApprovalRecord(
                name=approval.name,
                state=approval.state.value,
                since=approval.since,
                until=approval.until,
                decided_at=approval.decided_at,
                decided_by=by,
                comment=approval.comment,
                elsewhere=approval.elsewhere,
            ),
            acts=True,
        ),
    }


def _summary(record: RunRecord, *, private: bool, acts: bool = True) -> dict[str, Any]:
    ended = record.ended_at
    error = None
    if record.error_type:
        error = {"type": record.error_type, "message": None}
        if private or record.error_shown:
            error["message"] = record.error_message
    return {
        "id": record.id,
        "workflow": record.workflow,
        "state": record.state.value,
        "status": record.status,
        "caller": {
            "kind": record.caller_kind,
            "object_id": record.object_id or None,
            "client_id": record.client_id or None,
            "name": record.caller_name or None,
        },
        "client_address": record.client_address,
        "started_at": when(record.started_at),
        "ended_at": when(ended),
        "duration_ms": round((ended - record.started_at) * 1000, 3) if ended is not None else None,
        "error": error,
        "parent_run_id": record.parent_run_id or None,
        "resubmitted_from": record.resubmitted_from or None,
        "resubmitted_by": record.resubmitted_by if acts else None,
        "cancelled_by": record.cancelled_by if acts and _may_be_cancelled(record) else None,
        "trace_id": record.trace_id or trace_id_of(record.id),
        "durable": durable_json(record.durable),
        "via": record.via,
        "via_client": record.via_client,
        "agent": record.agent,
    }


def durable_json(state: DurableState | None) -> dict[str, Any] | None:
    """Where a durable run is, and what wakes it; None for an inline run."""
    if state is None:
        return None
    return {
        "phase": state.phase.value,
        "reason": state.reason,
        "waits_for": state.waits_for,
        "wakes_at": when(state.wakes_at),
        "attempt": state.attempt,
        "deaths": state.deaths,
        "resumed": state.resumed,
    }


def _may_be_cancelled(record: RunRecord) -> bool:
    """A run that ended in another way has only been requested to be cancelled."""
    return record.state is State.CANCELLED or not record.ended


def _body(text: str | None, form: Form | None) -> bytes:
    """A body as JSON: unchanged if it is JSON, otherwise a string. Of a stream there is how much was sent, as JSON."""
    if text is None:
        return NULL
    if form is Form.CUT and _OF_A_STREAM.fullmatch(text):
        return text.encode()
    if form in (Form.JSON, Form.REDACTED):  # its sender declared it as JSON, or it was redacted in its own form
        try:
            text = text.removeprefix("\ufeff")
            parse(text)
        except ValueError:
            pass
        else:
            return text.encode()
    return to_json(text)


def _step(step: Step) -> dict[str, Any]:
    attempts = [
        {"started_at": when(each.started_at), "ended_at": when(each.ended_at), "error": each.error or None}
        for each in step.attempts
    ]
    began = when(min((each.started_at for each in step.attempts), default=None))
    ended = when(max((each.ended_at for each in step.attempts), default=None))
    return {
        "name": step.name,
        "succeeded": step.succeeded,
        "started_at": began,
        "ended_at": ended,
        "attempts": attempts,
    }


def _signal(signal: SignalRecord, *, acts: bool) -> dict[str, Any]:
    """A signal without its body."""
    by = signal.sent_by if acts else None
    return {"name": signal.name, "sent_at": when(signal.sent_at), "sent_by": by, "taken": signal.taken}


def _approval(approval: ApprovalRecord, *, acts: bool) -> dict[str, Any]:
    """An approval without what the approver sees."""
    return {
        "name": approval.name,
        "state": approval.state,
        "since": when(approval.since),
        "until": when(approval.until),
        "decided_at": when(approval.decided_at),
        "decided_by": approval.decided_by if acts else None,
        "comment": (approval.comment or None) if acts else None,
        "begun_elsewhere": approval.elsewhere,
    }


def _call(call: CallRecord, *, shown: bool) -> dict[str, Any]:
    return {
        "name": call.name,
        "run_id": call.run_id if shown or call.guarded else None,
        "url": call.url,
        "status": call.status,
        "started_at": when(call.started_at),
        "ended_at": when(call.ended_at),
        "error": call.error,
        "gateway": call.gateway,
        "agent": call.agent,
        "requests": call.requests,
    }


def _node(record: RunRecord, tree: Tree, may_see: Callable[[RunRecord], bool]) -> dict[str, Any]:
    summary = _summary(record, private=False)
    shown = {name: summary[name] for name in ("id", "workflow", "state", "started_at", "duration_ms")}
    return shown | {"calls": [_branch(branch, tree, may_see) for branch in tree.branches.get(record.id, ())]}


def _branch(branch: Branch, tree: Tree, may_see: Callable[[RunRecord], bool]) -> dict[str, Any]:
    call, run = branch.call, branch.run
    shown: dict[str, Any] = {"name": "", "status": None}
    if run is not None:
        shown = {"name": run.workflow, "status": run.status}
    if call is not None:
        shown = {"name": call.name, "status": call.status}
        shown |= {"error": call.error} if call.error else {}
        shown |= {"url": call.url} if call.url else {}
    if run is not None and may_see(run):
        shown["run"] = _node(run, tree, may_see)
    return shown


def _refusal(record: RefusalRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "reason": record.reason,
        "code": record.code,
        "status": record.status,
        "workflow": record.workflow or None,
        "client_address": record.client_address,
        "first_at": when(record.first_at),
        "last_at": when(record.last_at),
        "count": record.count,
        "claimed": record.claimed,
        "checks": record.checks,
        "request_ids": record.request_ids,
        "via": record.via,
        "via_client": record.via_client,
    }


def people_json(policy: Policy) -> list[dict[str, str | None]] | None:
    """Whom the list of a policy names, with object ids; None without a list. For operators only."""
    return None if policy.people is None else [person._asdict() for person in policy.people]


def uses_json(trigger: Trigger) -> dict[str, Any]:
    """The connections and secrets of a workflow. Without `declared`, they are what was seen in its file."""
    uses = trigger.uses
    return {
        "connections": {"names": uses.connections.names, "declared": uses.connections.declared},
        "secrets": {"names": uses.secrets.names, "declared": uses.secrets.declared},
    }


def schedule_json(workflow: Workflow, now: float) -> dict[str, Any] | None:
    """When a workflow starts by the clock, with the next times in its zone; None without a schedule."""
    schedule = workflow.schedule
    if schedule is None:
        return None
    return {
        "expression": schedule.expression,
        "timezone": schedule.timezone,
        "missed": schedule.missed,
        "next": [at.isoformat(timespec="seconds") for at in schedule.next_times(now, NEXT_TIMES)],
    }


def _workflow(trigger: Trigger, now: float, *, seals_runs: bool) -> dict[str, Any]:
    workflow = trigger.workflow
    return {
        "name": workflow.name,
        "description": workflow.description,
        "methods": workflow.methods,
        "url": f"/triggers/{workflow.name}{workflow.path}",
        "access": trigger.policy.mode,
        "people": people_json(trigger.policy),
        "timeout": workflow.timeout if isfinite(workflow.timeout) else None,
        "durable": workflow.durable,
        "schedule": schedule_json(workflow, now),
        "on_failure": workflow.on_failure or None,
        "tools": [*tool_methods(workflow)],
        "stateless": workflow.stateless,
        "bodies_unsealed": workflow.durable and not seals_runs,
        "secure_inputs": workflow.secure_inputs,
        "secure_outputs": workflow.secure_outputs,
        "max_concurrency": workflow.max_concurrency,
        "concurrency_key": workflow.concurrency_key is not None,
        "singleton": workflow.singleton,
        "max_body_bytes": workflow.max_body_bytes,
        "max_elements": workflow.max_elements,
        **uses_json(trigger),
        "file": str(trigger.file),
        "line": workflow.line,
    }


def fault_json(fault: Fault) -> dict[str, Any]:
    """A file that cannot be served as it is written."""
    return {
        "file": str(fault.file),
        "line": fault.line,
        "cause": fault.cause,
        "fix": fault.fix,
        "still_serving": fault.still_serving,
    }
