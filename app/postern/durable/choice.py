"""Which engine runs a request: the durable one if the workflow says so, or if its caller prefers not to wait."""

from collections.abc import Coroutine
from typing import Any

from postern.access import Caller
from postern.authoring.request import Request
from postern.authoring.workflow import Workflow
from postern.durable.acceptance import Acceptance
from postern.durable.preferences import prefers_async
from postern.journal.run import Run
from postern.runs.runner import Runner


class Choice:
    """Starts runs by one of two engines, with the same arguments as each of them."""

    def __init__(self, runner: Runner, acceptance: Acceptance) -> None:
        self._inline = runner.start
        self._durable = acceptance.start

    def start(
        self, workflow: Workflow, caller: Caller, request: Request, *arguments: Any, **more: Any
    ) -> Coroutine[Any, Any, Run]:
        """Start a run: see Runner.start."""
        if workflow.durable or (request._prefer and may_be_durable(workflow) and prefers_async(request._prefer)):
            return self._durable(workflow, caller, request, *arguments, **more)
        return self._inline(workflow, caller, request, *arguments, **more)


def may_be_durable(workflow: Workflow) -> bool:
    """Whether a caller's preference not to wait can be honoured."""
    return not workflow.stateless
