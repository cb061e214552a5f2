"""A run that the server starts itself: by the clock, after the failure of another run, or for a finding.

It needs no admission: that the workflow is named in code or in `postern.toml` is its admission. Its caller has no
object id, no roles and no token, and so it acts for nobody (`access.principal`).
"""

from dataclasses import dataclass, field
from typing import Literal

from postern.access import Caller, StartedBy
from postern.authoring.request import Request
from postern.catalog import Trigger
from postern.journal.run import Run

JSON = "application/json"

_STARTED_BY = {
    "schedule": StartedBy.SCHEDULE,
    "failure": StartedBy.FAILURE,
    "finding": StartedBy.FINDING,
}


@dataclass(frozen=True, slots=True)
class ServerRun:
    """A run that is to be started, under its id. `started_by` decides for whom it may act."""

    id: str
    trigger: Trigger
    caller: Caller
    request: Request = field(repr=False)
    started_by: StartedBy

    def record(self, now: float) -> Run:
        """The run as it begins, for its record. `now` is in Unix seconds."""
        return Run(self.id, self.trigger.workflow, self.caller, self.request, now)


def server_run(
    run_id: str,
    trigger: Trigger,
    kind: Literal["schedule", "failure", "finding"],
    name: str,
    body: bytes = b"",
    headers: tuple[tuple[bytes, bytes], ...] = (),
) -> ServerRun:
    """A run of this workflow with a JSON body, if there is one. `kind` is that of its caller, whose `name` says which
    schedule, failure or finding starts it."""
    workflow = trigger.workflow
    kinds = ((b"content-type", JSON.encode()),) if body else ()
    request = Request(
        "POST" if "POST" in workflow.methods else workflow.methods[0],
        f"/triggers/{workflow.name}{workflow.path}",
        body=body,
        _raw_headers=(*kinds, *headers),
        content_type=JSON if body else "",
    )
    return ServerRun(run_id, trigger, Caller(kind, name=name), request, _STARTED_BY[kind])
