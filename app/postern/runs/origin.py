"""What a run has of its request: who holds its thread, its trace, and the run that called it."""

from postern.journal.run import Run
from postern.runs.threads import holder_name


def holder(run: Run) -> str:
    """Who holds the thread of a run."""
    return holder_name(run.caller, run.request.client_address)


def with_origin(run: Run, resubmitted_from: str, resubmitted_by: str) -> Run:
    """The run with the trace and the parent run that its request named."""
    run.resubmitted_from, run.resubmitted_by = resubmitted_from, resubmitted_by
    request = run.request
    if request.trace is not None:
        run.trace_id = request.trace.trace_id
    if request.chain is not None:
        run.parent_run_id = request.chain.parent_run_id
    return run
