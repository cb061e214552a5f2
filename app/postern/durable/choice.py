"""Which engine runs a request: the durable one if the workflow says so, or if its caller prefers not to wait."""

from collections.abc import Callable, Collection, Coroutine, Mapping
from typing import Any

from postern.access import Anonymous, Caller, StartedBy
from postern.authoring.request import Request
from postern.authoring.stream_makers import makes_streams
from postern.authoring.workflow import Workflow
from postern.durable.acceptance import Acceptance
from postern.journal.run import Run
from postern.preferences import prefers_async
from postern.runs.idempotency import Key
from postern.runs.runner import Read, Runner
from postern.runs.underway import Late


class Choice:
    """Starts runs by one of two engines, with the same arguments as each of them. `may_wait` says of a workflow whether
    its caller's preference not to wait can be honoured."""

    def __init__(self, runner: Runner, acceptance: Acceptance, may_wait: Callable[[Workflow], bool]) -> None:
        self._inline = runner.start
        self._durable = acceptance.start
        self._may_wait = may_wait

    def start(
        self,
        workflow: Workflow,
        caller: Caller,
        request: Request,
        arguments: Mapping[str, Any] | Read,
        run_id: str,
        key: Key | None = None,
        late: Late | None = None,
        resubmitted_from: str = "",
        resubmitted_by: str = "",
        started_by: StartedBy = StartedBy.UNKNOWN,
    ) -> Coroutine[Any, Any, Run]:
        """Start a run: see Runner.start."""
        origin = resubmitted_from, resubmitted_by, started_by
        if workflow.durable or (request._prefer and self._prefers(workflow, request)):
            return self._durable(workflow, caller, request, arguments, run_id, key, late, *origin)
        return self._inline(workflow, caller, request, arguments, run_id, key, late, *origin)

    def of_request(
        self,
        workflow: Workflow,
        caller: Caller,
        request: Request,
        arguments: Mapping[str, Any] | Read,
        run_id: str,
        key: Key | None,
        late: Late | None,
    ) -> Coroutine[Any, Any, Run]:
        """Start the run of a request to its trigger. It is called at nearly every request."""
        if workflow.durable or (request._prefer and self._prefers(workflow, request)):
            return self._durable(workflow, caller, request, arguments, run_id, key, late, "", "", StartedBy.REQUEST)
        return self._inline(workflow, caller, request, arguments, run_id, key, late, "", "", StartedBy.REQUEST)

    def _prefers(self, workflow: Workflow, request: Request) -> bool:
        """Whether the caller's preference not to wait is honoured. A form that was read while it arrived is kept
        nowhere, so a run could not read it again."""
        kept = request._form is None or bool(request.body)
        return kept and prefers_async(request._prefer) and self._may_wait(workflow)


def may_be_durable(workflow: Workflow, *, sealed: bool, for_callers: Collection[str]) -> bool:
    """Whether a caller's preference not to wait can be honoured: the run has a record, nothing of a secured one would
    lie in the database unsealed, and it cannot act on behalf of its caller, whose token is not kept. `for_callers` are
    the entries that do so, as `connections.graph`. All runs of a singleton or of a concurrency key are of one engine:
    the two do not wait for each other. What a stream sends is not kept. Pure."""
    if workflow.stateless or workflow.keyed or (workflow.secures and not sealed):
        return False
    if makes_streams(workflow.function):
        return False
    access = workflow.access
    if isinstance(access, Anonymous) or access.apps:
        return True
    uses = workflow.connections
    return not any(
        uses is None or table == "triggers" or name in uses
        for table, _, name in (entry.partition(".") for entry in for_callers)
    )
