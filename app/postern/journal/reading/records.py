"""Recorded runs and refusals, as the journal's queries return them. Times are Unix seconds."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row

from postern.journal.body_form import Form
from postern.journal.durable_runs import Phase
from postern.journal.run import Attempt, Run, State, Step
from postern.journal.writing.rows import COLUMNS, facts, run_row

UNENDED = frozenset({State.WAITING, State.RUNNING})
"""The states of a run that has not ended."""


NOT_SHOWN = frozenset({"search_text", "search_error", "kept_bytes"})
"""Columns of runs that only searches and `journal.storage` read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRecord:
    """A call of a run. Absent values are None. `run_id` is the run that it started, at `url` if that is on another
    server. `guarded` means that the id alone does not give access to that run. `gateway` and `agent` are those by which
    it was sent. `requests` is how many further requests by gateways it stands for."""

    number: int
    step: int | None
    name: str
    run_id: str | None = field(repr=False)
    url: str | None
    status: int | None
    started_at: float
    ended_at: float
    error: str | None
    guarded: bool
    gateway: str | None = None
    agent: str | None = None
    requests: int | None = None


@dataclass(frozen=True, slots=True)
class DurableState:
    """Where a durable run is: its `phase`, why it waits or is parked, the name of the signal or approval that it waits
    for, and when it goes on without one (Unix seconds). `attempt` is how often a server process took it, `deaths` how
    many of them died while its code ran, and `resumed` how often it was resumed."""

    phase: Phase
    reason: str | None
    waits_for: str | None
    wakes_at: float | None
    attempt: int
    deaths: int
    resumed: int = 0

    @property
    def parked(self) -> bool:
        """Whether it goes on only when something changes."""
        return self.phase is Phase.PARKED


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """A recorded run. Absent values are None. Lists omit the bodies, the request and its headers, the reply's headers,
    the steps and the calls; `inputs_form` and `outputs_form` are then None too. `cancelled_by` and `resubmitted_by`
    are the callers who did that, with the members of `caller` as it is shown. `cancelled_by` is set by the request to
    cancel, after which the run may still end in another way. `durable` is None for inline runs. `via` is through
    what it was started if not by a request to the trigger's URL, and `via_client` has the name and the version that the
    client gave itself, unverified. `agent` is that of the caller's token."""

    id: str
    workflow: str
    state: State
    status: int | None
    caller_kind: str
    object_id: str | None
    tenant_id: str | None
    client_id: str | None
    caller_name: str | None
    client_address: str
    started_at: float
    ended_at: float | None
    error_type: str | None
    error_message: str | None = field(repr=False)
    error_shown: bool
    parent_run_id: str | None
    resubmitted_from: str | None
    trace_id: str | None
    node: str
    cancel_requested_at: float | None
    cancelled_by: Mapping[str, Any] | None = None
    resubmitted_by: Mapping[str, Any] | None = None
    request: str | None = field(default=None, repr=False)
    request_headers: str | None = field(default=None, repr=False)
    inputs: str | None = field(default=None, repr=False)
    inputs_form: Form | None = None
    outputs: str | None = field(default=None, repr=False)
    outputs_form: Form | None = None
    reply_headers: str | None = field(default=None, repr=False)
    error_traceback: str | None = field(default=None, repr=False)
    steps: tuple[Step, ...] = ()
    calls: tuple[CallRecord, ...] = ()
    durable: DurableState | None = None
    via: str | None = None
    via_client: Mapping[str, Any] | None = None
    agent: Mapping[str, Any] | None = None

    @property
    def ended(self) -> bool:
        """Whether it has ended, including with an unknown outcome (Interrupted)."""
        return self.state not in UNENDED


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalRecord:
    """Rejected requests with one reason, from one address, for one workflow ("" if none was found). `claimed` is the
    identity in the token, `checks` are the token's checks, both as they are shown. `via` and `via_client` are as in a
    RunRecord."""

    id: str
    reason: str
    code: str
    status: int
    workflow: str
    client_address: str
    first_at: float
    last_at: float
    count: int
    request_ids: tuple[str, ...]
    claimed: Mapping[str, Any] | None
    checks: Sequence[Mapping[str, Any]]
    via: str | None = None
    via_client: Mapping[str, Any] | None = None


def run_record(row: Row[Any], steps: tuple[Step, ...] = (), calls: tuple[CallRecord, ...] = ()) -> RunRecord:
    """The record of a row of `runs`, with all of its columns or those of a list."""
    return _run_record(dict(row._mapping), steps, calls)


def underway_record(run: Run, node: str) -> RunRecord | None:
    """The record of a run of this process, as it will be written. None if its workflow is stateless."""
    if run.workflow.stateless:
        return None
    row = zip(COLUMNS, run_row(facts(run), node), strict=True)
    shown = {name: value for name, value in row if name not in NOT_SHOWN}
    return _run_record({**shown, "cancel_requested_at": None})


def _run_record(columns: dict[str, Any], steps: tuple[Step, ...] = (), calls: tuple[CallRecord, ...] = ()) -> RunRecord:
    columns["state"] = State(columns["state"])
    columns["error_shown"] = bool(columns["error_shown"])
    for name in ("cancelled_by", "resubmitted_by", "via_client", "agent"):
        columns[name] = json.loads(columns[name]) if columns[name] else None
    for name in ("inputs_form", "outputs_form"):
        if columns.get(name) is not None:
            columns[name] = Form(columns[name])
    return RunRecord(**columns, steps=steps, calls=calls)


def step_record(row: Row[Any]) -> Step:
    """The step of a row of `steps`."""
    attempts = [Attempt(*attempt) for attempt in json.loads(row.attempts)]
    return Step(row.number, row.name, bool(row.succeeded), attempts)


def call_record(row: Row[Any]) -> CallRecord:
    """The call of a row of `calls`, with `caller_kind` of the run that it started, None if that is not recorded here.
    The link to a run elsewhere names the run only if it is guarded."""
    guarded = (
        row.child_run_id in row.url if row.child_run_id and row.url else row.caller_kind not in (None, "anonymous")
    )
    return CallRecord(
        number=row.number,
        step=row.step,
        name=row.name,
        run_id=row.child_run_id,
        url=row.url,
        status=row.status,
        started_at=row.started_at,
        ended_at=row.ended_at,
        error=row.error_type,
        guarded=guarded,
        gateway=row.gateway,
        agent=row.agent,
        requests=row.requests,
    )


def refusal_record(row: Row[Any]) -> RefusalRecord:
    """The record of a row of `refusals`."""
    columns = dict(row._mapping)
    columns["request_ids"] = tuple(columns["request_ids"].split())
    columns["claimed"] = json.loads(columns["claimed"]) if columns["claimed"] else None
    columns["checks"] = json.loads(columns["checks"])
    columns["via_client"] = json.loads(columns["via_client"]) if columns["via_client"] else None
    return RefusalRecord(**columns)
