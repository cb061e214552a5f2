"""Runs: the runner, its steps and calls, and the server processes that share the journal."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from postern.api.figures import Collect
from postern.api.metrics import blocked_loop_metrics, node_metrics, request_metrics, thread_metrics
from postern.assembly.foundation import Foundation
from postern.assembly.part import Part
from postern.authoring.context import Services
from postern.catalog import Trigger
from postern.connections.calls.calls import Calls
from postern.connections.noted_requests import NotedRequests
from postern.connections.on_behalf_of.callers import Callers
from postern.errors import Problem
from postern.journal.journal import Journal
from postern.journal.run import Run, State
from postern.journal.secured import url_shown
from postern.journal.server_processes import BEAT_EVERY, ServerProcesses
from postern.logs import BEGUN, author_log, taking, write_later
from postern.redaction import without_secret_values
from postern.runs.blocked_loop import BlockedLoop
from postern.runs.concurrency import Mark, plain_mark
from postern.runs.ended_line import ended_line
from postern.runs.executor import LEFT_BEHIND, SharedExecutor
from postern.runs.origin import holder
from postern.runs.run_lines import RunLines
from postern.runs.runner import Runner
from postern.runs.steps import Steps
from postern.runs.threads import Threads
from postern.trace import RUN
from postern.triggers.request_counts import RequestCounts

Find = Callable[[str], Run | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsPart(Part):
    """Runs workflows. `requests` counts the outcomes of requests to triggers. `services`, `steps`, `calls`, `threads`,
    `ended`, `processes` and `lines` are for another engine beside the runner, which adds itself to `elsewhere`. Each of
    `failed` is called with the id of a run that has not succeeded and whose workflow has `on_failure`."""

    runner: Runner
    requests: RequestCounts
    services: Services
    steps: Steps
    calls: Calls
    threads: Threads
    ended: Callable[[Run], None]
    failed: list[Callable[[str], object]]
    elsewhere: list["Elsewhere"]
    processes: ServerProcesses
    lines: RunLines


class Elsewhere(Protocol):
    """Runs of this process that another engine runs."""

    def find(self, run_id: str) -> Run | None:
        """A run that has not ended."""

    def left(self, run_id: str) -> float:
        """The seconds until it times out; 0 if it is not here."""

    @property
    def idle(self) -> bool:
        """Whether nothing executes there, so that the server process may end."""


def runs_part(
    base: Foundation, *, for_author: bool = False, pages: str = "", beat_every: float = BEAT_EVERY
) -> RunsPart:
    """The runner accepts runs until the server process closes. `for_author` logs failures with their tracebacks.
    `pages` is the address of the pages for people, "" if there are none. The token of a caller whose run has ended is
    forgotten. The server process beats each `beat_every` seconds."""
    settings, journal, log, triggers = base.settings, base.journal, base.log, base.catalog.triggers
    connections, callers = base.connections.connections, base.connections.callers
    threads, of_steps = Threads("workflow"), Threads("step")

    elsewhere: list[Elsewhere] = []
    failed: list[Callable[[str], object]] = []

    def left(run_id: str) -> float:
        return runner.left(run_id) or max((engine.left(run_id) for engine in elsewhere), default=0.0)

    def find(run_id: str) -> Run | None:
        return runner.underway(run_id) or next(filter(None, (engine.find(run_id) for engine in elsewhere)), None)

    def idle() -> bool:
        return runner.running == 0 and all(engine.idle for engine in elsewhere)

    wait = base.outside.sleep
    steps = Steps(note=journal.note_step, sleep=wait, threads=of_steps, left=left, home=connections.home)
    calls = Calls(settings, triggers, connections.open, journal.note_call, sleep=wait, left=left, home=connections.home)
    requests = RequestCounts(served=triggers)
    services = Services(connections.secret, connections.of_run, author_log("postern"), steps.run, calls.call)
    lines = RunLines(find, journal)
    counted = _show_failures(requests, lines, log, failed) if for_author else _count_and_log(requests, lines, failed)
    connections.requests = NotedRequests(journal.note_call, lambda run_id: find(run_id) is not None)
    ended = _forgets(connections.requests, callers, counted)
    runner = Runner(services, journal, ended, threads=threads, pages=pages, mark=_mark(base))
    processes = _processes(journal, runner, beat_every)
    connections.in_progress = lambda run_id: find(run_id) is not None
    connections.divide_by(lambda run_id: _caller_of(find, run_id))
    blocked = BlockedLoop(settings.workflows, lambda file: _names_in(file, triggers()))

    closes = (runner.drain, runner.close, steps.close, calls.close)
    return RunsPart(
        runner=runner,
        requests=requests,
        services=services,
        steps=steps,
        calls=calls,
        threads=threads,
        ended=ended,
        failed=failed,
        elsewhere=elsewhere,
        processes=processes,
        lines=lines,
        life=_life(find, blocked, lines, closes, processes),
        tasks=(processes.run,),
        metrics=(
            _request_metrics(requests, runner),
            _thread_metrics(requests, threads, of_steps),
            blocked_loop_metrics(lambda: dict(blocked.counts)),
            node_metrics(lambda: len(processes.known)),
        ),
        state={"idle": idle, "closing": runner.drain},
    )


def _life(
    find: Find,
    blocked: BlockedLoop,
    lines: RunLines,
    closes: Iterable[Callable[[], object]],
    processes: ServerProcesses,
) -> Callable[[], AbstractAsyncContextManager[None]]:
    """What runs need while the server runs. At its end they are closed in this order."""

    @asynccontextmanager
    async def life() -> AsyncIterator[None]:
        asyncio.get_running_loop().set_default_executor(SharedExecutor(lambda: _holder_of(find)))
        lines.open()
        async with blocked.watching():
            with taking(lines.take):
                yield
        for close in closes:
            close()
        with suppress(Problem):
            await processes.leave()

    return life


def _processes(journal: Journal, runner: Runner, beat_every: float) -> ServerProcesses:
    """This process among those that share the journal."""
    return ServerProcesses(
        *(journal.node, journal.read, journal.write),
        cancel=runner.begin_cancel,
        running=lambda: runner.running,
        beat_every=beat_every,
    )


def _holder_of(find: Find) -> tuple[str, str] | None:
    """The workflow and the caller of the run that is in progress here, or has left this task behind. None for the
    server itself."""
    known = RUN.get()
    if known is None:
        return None
    run = find(known[0])
    return (run.workflow.name, holder(run)) if run is not None else LEFT_BEHIND


def _caller_of(find: Find, run_id: str) -> str:
    """The caller of a run; one for all runs that have ended and left tasks behind."""
    run = find(run_id)
    return holder(run) if run is not None else " ".join(LEFT_BEHIND)


def _request_metrics(requests: RequestCounts, runner: Runner) -> Collect:
    return request_metrics(requests, lambda: runner.room.running_by_workflow, lambda: runner.room.abandoned_by_workflow)


def _mark(base: Foundation) -> Mark:
    """What makes digests of the concurrency keys of secured workflows."""
    if not base.settings.durable_key_name:
        return plain_mark
    from postern.assembly.durable_seals import seals_of

    return seals_of(base).mark


def _thread_metrics(requests: RequestCounts, threads: Threads, of_steps: Threads) -> Collect:
    return thread_metrics(
        requests, lambda: _both(threads.busy, of_steps.busy), lambda: _both(threads.waiting, of_steps.waiting)
    )


def _both(workflows: Mapping[str, int], steps: Mapping[str, int]) -> Counter[str]:
    return Counter(workflows) + Counter(steps)


def _names_in(file: str, triggers: Mapping[str, Trigger]) -> list[str]:
    return sorted(name for name, trigger in triggers.items() if str(trigger.file) == file)


def _forgets(requests: NotedRequests, callers: Callers | None, ended: Callable[[Run], None]) -> Callable[[Run], None]:
    """The same, and the run's caller and what it sent are forgotten: also if its code goes on."""

    def forgets(run: Run) -> None:
        if requests.runs:  # few runs send any
            requests.ended(run.id)
        if callers is not None:
            callers.ended(run.id)
        ended(run)

    return forgets


def _count_and_log(
    requests: RequestCounts, lines: RunLines, failed: Iterable[Callable[[str], object]]
) -> Callable[[Run], None]:
    """A function that is called with each ended run. It counts the run, and logs one line unless the run is recorded
    and succeeded. What its code said is written. It calls `failed` as RunsPart says."""
    waiting = lines.waiting

    def ended(run: Run) -> None:
        if waiting or BEGUN:
            lines.ended(run)
        requests.ran(run)
        workflow = run.workflow
        if workflow.stateless or run.outcome.state is not State.SUCCEEDED:
            shape, values = ended_line(run)
            write_later(shape, run.ended_at, values)
            if workflow.on_failure:
                _tell(failed, run)

    return ended


def _tell(failed: Iterable[Callable[[str], object]], run: Run) -> None:
    if run.workflow.on_failure and run.outcome.state is not State.SUCCEEDED:
        for each in failed:
            each(run.id)


def _show_failures(
    requests: RequestCounts,
    lines: RunLines,
    log: FilteringBoundLogger,
    failed: Iterable[Callable[[str], object]],
) -> Callable[[Run], None]:
    """The same for the author on a laptop: an exception of a workflow is logged with its message, its traceback and
    the request that caused it. Requests have lines of their own there."""

    def ended(run: Run) -> None:
        lines.ended(run)
        requests.ran(run)
        _tell(failed, run)
        outcome = run.outcome
        if outcome.error_traceback:
            message = "" if run.workflow.secures else without_secret_values(outcome.error_message)
            log.error(
                "workflow-failed",
                workflow=run.workflow.name,
                run_id=run.id,
                method=run.request.method,
                url=url_shown(run.workflow, run.request.path),
                caller=run.caller.name or run.caller.kind,
                error=f"{outcome.error_type}: {message}" if message else outcome.error_type,
                exception=without_secret_values(outcome.error_traceback),
            )

    return ended
