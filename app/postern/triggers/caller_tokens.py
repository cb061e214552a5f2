"""Hands the caller's own token to the run, for connections on behalf of the caller. Only an installation with such a
connection has this before its runner.

The token is taken out of the request: no workflow's object leads to it.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager

from postern.access import Access, Caller
from postern.authoring.request import Request
from postern.authoring.workflow import Workflow
from postern.connections.on_behalf_of.caller_token import CallerToken
from postern.identity.bearer import bearer_token
from postern.journal.run import Run
from postern.runs.idempotency import Key
from postern.runs.underway import Late
from postern.triggers.pipeline import Arguments, Start

Keeping = Callable[[str, Access, CallerToken], AbstractContextManager[None]]


def with_caller_tokens(start: Start, keeping: Keeping) -> Start:
    """A function that starts a run like `start`. While the run of a person is in progress, `keeping` holds the token
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
        with keeping(run_id, workflow.access, _taken(request)):
            return await start(workflow, caller, request, arguments, run_id, key, late)

    return started


def _taken(request: Request) -> CallerToken:
    """The token of a request whose caller is identified. The request has it no longer."""
    headers = request._raw_headers
    request._raw_headers = [field for field in headers if field[0] != b"authorization"]
    return CallerToken(bearer_token(headers))
