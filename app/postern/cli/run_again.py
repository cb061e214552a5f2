"""`postern runs resubmit` and `postern runs resume`: one run, or all that fit."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from pydantic_core import PydanticCustomError

from postern.cli.api_client import (
    AsOperator,
    Json,
    Record,
    Since,
    TokenFile,
    Until,
    connected_api,
    record_id,
    token_source,
)
from postern.cli.bulk import Action, Plan, Progress, carry_out, confirm, plan_of, report, show, tell_on_output
from postern.cli.follow import follow_run
from postern.cli.records import details
from postern.cli.run_options import Caller, InState, Kind, Parent, WithText, Workflow
from postern.cli.terminal import err, out, print_json, program, stop
from postern.cli.time_arguments import window
from postern.cli.workspace import Workspace, workspace
from postern.ids import new_id
from postern.journal.run import State
from postern.settings.security import Rate, rate

OptionalId = Annotated[
    str | None,
    typer.Argument(metavar="ID", help="The run's id, the X-Run-Id of its reply. Without: all runs that fit --state."),
]
BulkLimit = Annotated[
    int, typer.Option("--limit", min=1, max=100_000, help="With --state: the most runs, the newest ones.")
]
AtRate = Annotated[
    str, typer.Option("--rate", metavar="RATE", help="With --state: at most so many, such as 5/second or 100/minute.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="With --state: only show what would be done.")]
Yes = Annotated[bool, typer.Option("--yes", help="With --state: do not ask for confirmation.")]
FromStart = Annotated[bool, typer.Option("--from-start", help="Repeat all steps, also those that succeeded.")]


@dataclass(frozen=True)
class Wanted:
    """Which runs, and how: the options with a state in place of an id."""

    query: Mapping[str, str | None]
    limit: int
    rate: Rate
    dry_run: bool
    yes: bool
    as_json: bool
    again: bool = False


def add_to(commands: typer.Typer) -> None:
    """Add the two commands."""
    commands.command()(resubmit)
    commands.command()(resume)


def resubmit(
    run_id: OptionalId = None,
    state: InState = None,
    workflow: Workflow = None,
    caller: Caller = None,
    kind: Kind = None,
    since: Since = None,
    until: Until = None,
    text: WithText = None,
    parent: Parent = None,
    limit: BulkLimit = 100,
    at_rate: AtRate = "5/second",
    again: Annotated[
        bool, typer.Option("--again", help="With --state: also runs that were resubmitted already.")
    ] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
    who: AsOperator = None,
    token_file: TokenFile = None,
) -> None:
    """Start new runs with the same inputs and the current code: of the run ID, or of all runs that fit --state.

    With an ID, the command waits until the new run has ended, and shows it. Its id is printed when it starts. Ctrl-C
    ends the waiting, and the run goes on. The exit code is 0 if the run succeeded, else 1.

    With --state, the runs are shown by workflow, and the command asks before it starts new ones, the oldest first. Runs
    that were resubmitted already are left out, so the same command can be repeated. The exit code is 0 if all of them
    were started.
    """
    here = workspace()
    query = _query(here, state, workflow, caller, kind, since, until, text, parent)
    if _one(run_id, query, dry_run=dry_run, yes=yes, again=again) is not None:
        _show_one(here, who, token_file, record_id(str(run_id)), as_json=as_json)
        return
    wanted = Wanted(query, limit, _rate(at_rate), dry_run, yes, as_json, again)
    mark = new_id() if again else "once"
    headers = {"Prefer": "respond-async", "Idempotency-Key": f"postern-runs-resubmit-{mark}"}
    _bulk(here, who, token_file, wanted, Action("resubmit", "Resubmit", "resubmitted", lambda _: headers))


def resume(
    run_id: OptionalId = None,
    from_start: FromStart = False,
    state: InState = None,
    workflow: Workflow = None,
    caller: Caller = None,
    kind: Kind = None,
    since: Since = None,
    until: Until = None,
    text: WithText = None,
    parent: Parent = None,
    limit: BulkLimit = 100,
    at_rate: AtRate = "5/second",
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
    who: AsOperator = None,
    token_file: TokenFile = None,
) -> None:
    """Run durable runs again that failed, timed out, were cancelled or are parked, from the step that failed: the run
    ID, or all runs that fit --state.

    For operators. A run keeps its id and its request, and runs the current code. Calls of the steps that are repeated
    have new idempotency keys. Parked runs have the state Waiting. With --state, the runs are shown by workflow, and the
    command asks before it resumes them, the oldest first.
    """
    here = workspace()
    query = _query(here, state, workflow, caller, kind, since, until, text, parent)
    body: Record = {"from_start": from_start}
    if _one(run_id, query, dry_run=dry_run, yes=yes) is None:
        wanted = Wanted(query, limit, _rate(at_rate), dry_run, yes, as_json)
        _bulk(here, who, token_file, wanted, Action("resume", "Resume", "resumed", lambda _: {}, body))
        return
    found = record_id(str(run_id))
    run = asyncio.run(_post(here, who, token_file, f"/runs/{found}/resume", body))
    if as_json:
        print_json(run)
    err.print(
        f"Resumed. To wait for its end: {program()} runs follow {found}", markup=False, highlight=False, soft_wrap=True
    )


def _query(
    here: Workspace,
    state: State | None,
    workflow: str | None,
    caller: str | None,
    kind: str | None,
    since: str | None,
    until: str | None,
    text: str | None,
    parent: str | None,
) -> dict[str, str | None]:
    """The filters as the API takes them."""
    return {
        "workflow": workflow,
        "state": state.value if state else None,
        "caller": here.object_id(caller),
        "kind": kind,
        **window(since, until),
        "text": text,
        "parent": parent and record_id(parent),
    }


def _one(run_id: str | None, query: Mapping[str, str | None], **options: bool) -> str | None:
    """The run that is named, None if the filters choose. Exits with 2 if neither or both do."""
    given = any(query.values()) or any(options.values())
    if run_id is None and not query.get("state"):
        stop("which runs? Give the id of one, or a state: --state Failed --since 2h --workflow NAME.", 2)
    if run_id is not None and given:
        stop("the id of a run and the options for many exclude each other: leave one of them out.", 2)
    return run_id


def _rate(text: str) -> Rate:
    try:
        found = rate(text)
    except PydanticCustomError:
        stop(f"--rate {text}: not a rate. Write it like 5/second or 100/minute.", 2)
    if not found.requests:
        stop(f"--rate {text}: it must be more than 0.", 2)
    return found


def _bulk(here: Workspace, who: str | None, token_file: str | None, wanted: Wanted, action: Action) -> None:
    """Show the runs, ask, and do it. Exits with 1 if a run could not be, or if it did not come to the end."""
    token = token_source(here, who, token_file)
    plan = asyncio.run(_planned(here, token, wanted, action))
    show(plan, wanted.limit)
    if not plan.runs or wanted.dry_run:
        if wanted.as_json:
            _print_json(plan, Progress())
        elif not plan.runs:
            err.print("No matching runs." if not plan.already and not plan.cannot else "Nothing to do.")
        return
    confirm(plan, action, wanted.rate, yes=wanted.yes)
    progress, began = Progress(), datetime.now(UTC)
    tell = (lambda _: None) if wanted.as_json else tell_on_output
    try:
        asyncio.run(_carried_out(here, token, plan, action, wanted.rate, progress, tell))
    except KeyboardInterrupt:
        raise typer.Exit(1) from None
    finally:
        since = f"{began:%Y-%m-%dT%H:%M:%SZ}" if action.check == "resubmit" else ""
        report(plan, progress, action, again=wanted.again, since=since)
        if wanted.as_json:
            _print_json(plan, progress)
    if progress.failed:
        raise typer.Exit(1)


async def _planned(here: Workspace, token: Any, wanted: Wanted, action: Action) -> Plan:
    async with connected_api(here, token) as api:
        return await plan_of(api, wanted.query, wanted.limit, action, again=wanted.again)


async def _carried_out(here: Workspace, token: Any, *what: Any) -> None:
    async with connected_api(here, token) as api:
        await carry_out(api, *what)


async def _post(here: Workspace, who: str | None, token_file: str | None, path: str, body: Record) -> Record:
    async with connected_api(here, token_source(here, who, token_file)) as api:
        return (await api.request("POST", path, body=body))[1]


def _show_one(here: Workspace, who: str | None, token_file: str | None, run_id: str, *, as_json: bool) -> None:
    """Resubmit one run, wait for the end of the new one, and show it."""
    try:
        ended = asyncio.run(_resubmitted(here, who, token_file, run_id))
    except KeyboardInterrupt:
        raise typer.Exit(1) from None
    if as_json:
        print_json(ended)
    else:
        out.print(details(ended), soft_wrap=True)
    raise typer.Exit(0 if ended.get("state") == State.SUCCEEDED else 1)


async def _resubmitted(here: Workspace, who: str | None, token_file: str | None, run_id: str) -> Record:
    async with connected_api(here, token_source(here, who, token_file)) as api:
        _, run = await api.post(f"/runs/{run_id}/resubmit", prefer="respond-async")
        new = record_id(str(run.get("id")))
        err.print(f"Started the run {new}.", markup=False, highlight=False)
        return (await follow_run(api, new, None)).run


def _print_json(plan: Plan, progress: Progress) -> None:
    tried = progress.count
    print_json(
        {
            "done": [{"run": run.get("id"), "new_run": new.get("id")} for run, new in progress.done],
            "failed": [{"run": run.get("id"), "reason": why} for run, why in progress.failed],
            "left": [run.get("id") for run in plan.runs[tried:]],
            "already_resubmitted": plan.already,
            "left_out": [
                {"workflow": name, "reason": why, "runs": number} for (name, why), number in sorted(plan.cannot.items())
            ],
            "more": plan.more,
        }
    )
