"""Runs that outlive the call that started them: tasks, and the tool `get-run` for clients without tasks. Pure.

Source: the extension `io.modelcontextprotocol/tasks`, revision 2026-07-28. A task is a durable run with the
same id, and who may see the run may see the task. Postern asks a client for nothing, so no task is `input_required`.
"""

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from postern.access import Caller
from postern.authoring.tool import GET_RUN
from postern.journal.run import State
from postern.mcp.result import RUN_ID
from postern.triggers.reply import Answer
from postern.triggers.secure_transport import Scope

EXTENSION = "io.modelcontextprotocol/tasks"
TASK = "task"
"""The `resultType` of a call that became a task."""

WAIT = 45.0
"""Seconds that a call waits for a durable run: clients give up after 60."""

NOTHING: Mapping[str, Any] = {"type": "object", "properties": {}}

GET_RUN_TOOL: Mapping[str, Any] = {
    "name": GET_RUN,
    "title": "Result of a run",
    "description": (
        "Returns the result of a run that another tool has started and that had not ended then. Waits up to 45 "
        "seconds for its end. If it has not ended, it returns run_id and state again: call this tool again later."
    ),
    "inputSchema": {
        "type": "object",
        "properties": {"run_id": {"type": "string", "description": "The run_id that the other tool returned."}},
        "required": ["run_id"],
    },
    "annotations": {"readOnlyHint": True, "destructiveHint": False, "idempotentHint": True, "openWorldHint": False},
}
"""The reserved tool, as `tools/list` has it."""


@dataclass(frozen=True, slots=True)
class RunView:
    """A run as its caller sees it. Times are in Unix seconds. `waits` says in words what it waits for, and `again` are
    the seconds after which it makes sense to look again."""

    id: str
    state: State
    ended: bool
    created_at: float
    updated_at: float
    waits: str = ""
    again: int = 1


class Runs(Protocol):
    """The runs of the journal, with the access of the run API. Each method raises Problem `unknown-run` for a run that
    this caller may not see, and for one that there is not."""

    def view(self, run_id: str, scope: Scope, caller: Caller) -> Awaitable[RunView]:
        """The run as it is now."""

    async def until_ended(self, run_id: str, scope: Scope, caller: Caller, seconds: float) -> RunView:
        """The run when it has ended, or as it is after so many seconds."""

    def result(self, run_id: str, scope: Scope, caller: Caller) -> Awaitable[Answer]:
        """The reply of a run that has ended. Raises Problem `reply-not-kept`."""

    def cancel(self, run_id: str, scope: Scope, caller: Caller) -> Awaitable[None]:
        """Ask for the end of a run. Raises Problem `run-ended`."""


def task_of(view: RunView, ttl: float) -> dict[str, Any]:
    """The members that each task has. `ttl` are the seconds that its record is kept."""
    status = "working"
    if view.ended:
        status = "cancelled" if view.state is State.CANCELLED else "completed"
    return {
        "taskId": view.id,
        "status": status,
        **({"statusMessage": view.waits} if view.waits else {}),
        "createdAt": _when(view.created_at),
        "lastUpdatedAt": _when(view.updated_at),
        "ttlMs": round(ttl * 1000),
        "pollIntervalMs": view.again * 1000,
    }


def unended(view: RunView) -> dict[str, Any]:
    """The result of a call whose run goes on: what the model needs to look at it again."""
    found = {"run_id": view.id, "state": view.state.value}
    text = f"The run {view.id} has not ended (state {view.state.value}). Call the tool {GET_RUN} with its run_id later."
    return {
        "content": [{"type": "text", "text": text}],
        "structuredContent": found,
        "_meta": {RUN_ID: view.id},
    }


def _when(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
