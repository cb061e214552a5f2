"""Hands the caller's own token to the run, for connections on behalf of the caller. Only an installation with such a
connection has this before its runner.

The token is taken out of the request: no workflow's object leads to it.
"""

from postern.access import Caller
from postern.authoring.request import Request
from postern.authoring.workflow import Workflow
from postern.connections.on_behalf_of.caller_token import CallerToken
from postern.connections.on_behalf_of.callers import Callers
from postern.journal.run import Run
from postern.runs.idempotency import Key
from postern.runs.underway import Late
from postern.triggers.argument_reader import Arguments
from postern.triggers.pipeline import Start


def with_caller_tokens(start: Start, callers: Callers) -> Start:
    """A function that starts a run like `start`. While the run of a person is in progress, `callers` holds the token
    with which that person called."""

    async def started(
        workflow: Workflow,
        caller: Caller,
        request: Request,
        arguments: Arguments,
        run_id: str,
        key: Key | None,
        late: Late | None,
    ) -> Run:
        if caller.kind != "user":
            return await start(workflow, caller, request, arguments, run_id, key, late)
        callers.begins(run_id, workflow.access, caller, _taken(request))
        try:
            return await start(workflow, caller, request, arguments, run_id, key, late)
        finally:
            callers.ended(run_id)

    return started


def _taken(request: Request) -> CallerToken:
    """The token of a request whose caller is identified, so that there is one. The request has it no longer."""
    kept, token = [], b""
    for field in request._raw_headers:
        if field[0] == b"authorization":
            token = field[1]
        else:
            kept.append(field)
    request._raw_headers = kept
    return CallerToken(token.partition(b" ")[2].lstrip(b" ").decode("ascii"))
