"""The fourth step where it is more than a small body of JSON: parameters, forms, large bodies, and types that run the
author's code."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from structlog.typing import FilteringBoundLogger

from postern.access import Caller
from postern.authoring.request import Request
from postern.authoring.workflow import Workflow
from postern.catalog import Trigger
from postern.runs.runner import Read
from postern.triggers.form_body import Upload
from postern.triggers.large_bodies import LARGE, LargeBodies
from postern.triggers.read import arguments
from postern.triggers.requested import holder_in
from postern.triggers.secure_transport import Scope

Arguments = Mapping[str, Any] | Read


@dataclass(frozen=True, slots=True)
class ArgumentReader:
    """Reads the arguments of workflows. `still` is called after a body that took its time, see Pipeline."""

    large_bodies: LargeBodies
    log: FilteringBoundLogger
    still: Callable[[Caller], None]

    async def read(
        self,
        trigger: Trigger,
        caller: Caller,
        scope: Scope,
        request: Request,
        body: bytes,
        content_type: bytes | None,
        upload: Upload | None,
        request_id: str,
    ) -> Arguments:
        """The arguments, or a function that returns them, where the author's code takes part in it: it is called in a
        thread. Raises Problem, and Refused if the caller's access has ended meanwhile."""
        workflow = trigger.workflow
        read = partial(arguments, workflow, body, content_type, request.path_parameters)
        if workflow.parameters or workflow.form is not None:
            sent = request._form = upload.form_in(workflow, content_type) if upload is not None else None
            read = partial(read, scope["query_string"], scope["headers"], sent)
        if workflow.reads_in_thread:
            return self.large_bodies.in_thread(read) if len(body) > LARGE else read
        given = read() if len(body) <= LARGE else await self._read_large(read, trigger, caller, scope, len(body))
        note_left_out(self.log, workflow, given, body, request_id)
        return given

    async def _read_large(
        self, read: Callable[[], dict[str, Any]], trigger: Trigger, caller: Caller, scope: Scope, size: int
    ) -> dict[str, Any]:
        """Read a large body in the turn of its caller, which may take a while to come."""
        given = await self.large_bodies.read(read, trigger.workflow.name, holder_in(scope, caller), size)
        self.still(caller)
        return given


def note_left_out(
    log: FilteringBoundLogger, workflow: Workflow, given: Mapping[str, Any], body: bytes, request_id: str
) -> None:
    """Log a body that is no argument, although the function has a parameter for it: it is no JSON, and the parameter's
    default stands for it."""
    if body and workflow.body is not None and workflow.body.name not in given:
        log.info("body-not-parsed", request_id=request_id, workflow=workflow.name, bytes=len(body))
