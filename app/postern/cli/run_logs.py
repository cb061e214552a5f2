"""`postern runs logs`: what the code of a run printed and logged."""

import asyncio
from typing import Annotated, Any

import typer
from rich.text import Text

from postern.cli.api_client import AsOperator, Json, Record, TokenFile, connected_api, record_id, token_source
from postern.cli.follow import INTERVAL
from postern.cli.records import ENDED
from postern.cli.terminal import err, out, plain, print_json, stop
from postern.cli.time_arguments import to_the_millisecond
from postern.cli.workspace import Workspace, workspace

STYLES = {"warning": "yellow", "error": "red", "critical": "red"}


def logs(
    run_id: Annotated[str, typer.Argument(metavar="ID", help="The run's id, the X-Run-Id of its reply.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Show further lines until the run has ended.")] = False,
    as_json: Json = False,
    who: AsOperator = None,
    token_file: TokenFile = None,
) -> None:
    """Show what the code of a run printed and logged. For operators.

    Ctrl-C ends --follow, and the run goes on.
    """
    if follow and as_json:
        stop("--follow shows text: leave out --json.", 2)
    try:
        asyncio.run(_show(workspace(), who, token_file, record_id(run_id), follow=follow, as_json=as_json))
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


async def _show(
    here: Workspace, who: str | None, token_file: str | None, run_id: str, *, follow: bool, as_json: bool
) -> None:
    async with connected_api(here, token_source(here, who, token_file)) as api:
        if as_json:
            print_json(await api.get(f"/runs/{run_id}/logs"))
            return
        shown, log = 0, dict[str, Any]()
        while True:
            log = await api.get(f"/runs/{run_id}/logs")
            for line in log["lines"][shown:]:
                out.print(line_of(line), soft_wrap=True)
            out.file.flush()
            shown = len(log["lines"])
            if not follow or log.get("state") in ENDED:
                break
            await asyncio.sleep(INTERVAL)
    if words := not_shown(log):
        err.print(words, markup=False, highlight=False, soft_wrap=True)


def line_of(line: Record) -> Text:
    """A line with its time, and a level and a logger if it has them."""
    level = plain(line.get("level") or "")
    text = Text(f"{to_the_millisecond(line.get('at'))}  ", "dim")
    source = f"{level} {plain(line['logger'])}".rstrip() if line.get("logger") else plain(line.get("source"))
    text.append(f"{source:<10}  ", STYLES.get(level, "dim"))
    text.append(plain(line.get("text")), "")
    return text


def not_shown(log: Record) -> str:
    """What is to be said of lines that are not there; "" if nothing is."""
    if secured := log.get("secured"):
        return f"{secured:,} lines are not recorded: the workflow has secure_inputs or secure_outputs."
    if left_out := log.get("left_out"):
        return f"{left_out:,} more lines are not recorded: a run keeps the first 1,000 lines and 64 KiB."
    return "" if log.get("lines") else "The run has printed and logged nothing."
