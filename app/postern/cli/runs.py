"""`postern runs`: the records of runs, through the server's API."""

import asyncio
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from postern.cli import run_again
from postern.cli.api_client import (
    AsOperator,
    Data,
    Json,
    Limit,
    Listing,
    Record,
    Since,
    TokenFile,
    Until,
    connected_api,
    record_id,
    say_more,
    sent_data,
    token_source,
    wait_name_of,
)
from postern.cli.follow import Ended, follow_new, follow_run
from postern.cli.records import details, heading, line, tree
from postern.cli.run_logs import logs
from postern.cli.run_options import Caller, InState, Kind, Parent, RunId, Via, WithText, Workflow
from postern.cli.terminal import err, out, print_json, program, stop
from postern.cli.time_arguments import to_the_second, window
from postern.cli.workspace import Workspace, workspace
from postern.journal.run import State


class ListByDefault(TyperGroup):
    """`postern runs`, alone or with the options of list, runs list."""

    left_out = "list"

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Insert the subcommand that was left out."""
        if not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names):
            args = [self.left_out, *args]
        return super().parse_args(ctx, args)


commands = typer.Typer(
    cls=ListByDefault,
    help="Recorded runs: list, show, logs, cancel, resubmit, resume, signal, follow. Alone, same as list.",
    no_args_is_help=False,
)


commands.command()(logs)


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(commands, name="runs")


@commands.command(name="list")
def list_runs(
    workflow: Workflow = None,
    state: InState = None,
    caller: Caller = None,
    kind: Kind = None,
    via: Via = None,
    since: Since = None,
    until: Until = None,
    text: WithText = None,
    parent: Parent = None,
    limit: Limit = 20,
    as_json: Json = False,
    who: AsOperator = None,
    token_file: TokenFile = None,
) -> None:
    """List runs, newest first. Operators see all runs, other callers only their own."""
    here = workspace()
    query = {
        "workflow": workflow,
        "state": state.value if state else None,
        "caller": here.object_id(caller),
        "kind": kind,
        "via": via,
        **window(since, until),
        "text": text,
        "parent": parent and record_id(parent),
    }
    asyncio.run(_list(here, who, token_file, query, limit, as_json=as_json))


@commands.command()
def show(
    run_id: RunId,
    chain: Annotated[bool, typer.Option("--tree", help="The run with the runs that it called, as a tree.")] = False,
    as_json: Json = False,
    who: AsOperator = None,
    token_file: TokenFile = None,
) -> None:
    """Show a run's record with its inputs, outputs, error, steps and calls."""
    path = f"{record_id(run_id)}/tree" if chain else record_id(run_id)
    run = asyncio.run(_get(workspace(), who, token_file, path))
    if chain and not as_json:
        out.print(tree(run), soft_wrap=True)
    else:
        _print(run, as_json=as_json)


@commands.command()
def cancel(run_id: RunId, who: AsOperator = None, token_file: TokenFile = None) -> None:
    """Cancel a run that has not ended."""
    found = record_id(run_id)
    status, run = asyncio.run(_post(workspace(), who, token_file, f"/runs/{found}/cancel"))
    if status == 202:
        err.print(
            f"Cancellation was requested from the process that runs it. To wait for its end: {program()} runs follow "
            f"{found}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    else:
        _print(run)


run_again.add_to(commands)


@commands.command()
def signal(
    run_id: RunId,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The signal that the run waits for.")],
    data: Data = None,
    key: Annotated[
        str | None,
        typer.Option("--idempotency-key", metavar="KEY", help="With the same key again, the signal arrives once."),
    ] = None,
    who: AsOperator = None,
    token_file: TokenFile = None,
) -> None:
    """Send a signal to a durable run: to wake one that waits for it, or for later."""
    path = f"/runs/{record_id(run_id)}/signals/{wait_name_of(name)}"
    more = {"Idempotency-Key": key} if key is not None else {}
    sent = asyncio.run(_send(workspace(), who, token_file, path, sent_data(data), more))
    err.print(f"Sent at {to_the_second(sent.get('sent_at'))}.", markup=False, highlight=False)


@commands.command()
def follow(
    run_id: Annotated[
        str | None, typer.Argument(metavar="ID", help="The run to wait for. Default: show new runs.")
    ] = None,
    workflow: Workflow = None,
    caller: Caller = None,
    seconds: Annotated[
        float | None, typer.Option("--for", metavar="SECONDS", min=0, help="Stop after this time.")
    ] = None,
    who: AsOperator = None,
    token_file: TokenFile = None,
) -> None:
    """Show new runs as they are recorded, until Ctrl-C. With an id, wait until that run has ended and show it.

    New runs have one line each. With an id, the exit code is 0 if the run succeeded, and 1 if it did not or has not
    ended in time.
    """
    here = workspace()
    if run_id is not None and (workflow, caller) != (None, None):
        stop("--workflow and --caller are for new runs: leave them out with a run's id.", 2)
    try:
        if run_id is None:
            asyncio.run(_follow_new(here, who, token_file, workflow, here.object_id(caller), seconds))
            return
        ended = asyncio.run(_follow_run(here, who, token_file, record_id(run_id), seconds))
    except KeyboardInterrupt:
        raise typer.Exit(0 if run_id is None else 1) from None
    _print(ended.run)
    if not ended.in_time:
        stop(f"the run has not ended within {seconds:g} seconds.")
    raise typer.Exit(0 if ended.run.get("state") == State.SUCCEEDED else 1)


async def _list(
    here: Workspace,
    who: str | None,
    token_file: str | None,
    query: dict[str, str | None],
    limit: int,
    *,
    as_json: bool,
) -> None:
    runs: list[Record] = []
    async with connected_api(here, token_source(here, who, token_file)) as api:
        listing = Listing(api, "runs", query, limit, time="started_at")
        async for page in listing:
            if page and not runs and not as_json:
                out.print(heading(), soft_wrap=True)
            runs += page
            for run in [] if as_json else page:
                out.print(line(run), soft_wrap=True)
    if as_json:
        print_json({"runs": runs, "next": listing.next})
    elif not runs:
        err.print("No matching runs.")
    elif listing.next:
        say_more(limit)


async def _get(here: Workspace, who: str | None, token_file: str | None, path: str) -> Record:
    async with connected_api(here, token_source(here, who, token_file)) as api:
        return await api.get(f"/runs/{path}")


async def _post(
    here: Workspace, who: str | None, token_file: str | None, path: str, body: Record | None = None
) -> tuple[int, Record]:
    async with connected_api(here, token_source(here, who, token_file)) as api:
        return await api.request("POST", path, body=body)


async def _send(
    here: Workspace, who: str | None, token_file: str | None, path: str, body: bytes | None, more: dict[str, str]
) -> Record:
    async with connected_api(here, token_source(here, who, token_file)) as api:
        return (await api.request("POST", path, more=more, body=body))[1]


async def _follow_new(
    here: Workspace,
    who: str | None,
    token_file: str | None,
    workflow: str | None,
    caller: str | None,
    seconds: float | None,
) -> None:
    async with connected_api(here, token_source(here, who, token_file)) as api:
        await follow_new(api, {"workflow": workflow, "caller": caller}, seconds, _print_line)


async def _follow_run(
    here: Workspace, who: str | None, token_file: str | None, run_id: str, seconds: float | None
) -> Ended:
    async with connected_api(here, token_source(here, who, token_file)) as api:
        return await follow_run(api, run_id, seconds)


def _print(run: Record, *, as_json: bool = False) -> None:
    if as_json:
        print_json(run)
    else:
        out.print(details(run), soft_wrap=True)


def _print_line(run: Record) -> None:
    out.print(line(run), soft_wrap=True)
    out.file.flush()
