"""`postern export`: the workflows of the folder as documents that other programs read."""

from pathlib import Path
from typing import Annotated

import typer
from pydantic_core import to_json

from app.catalog import Snapshot
from app.cli.console import err, print_faults, stop
from app.cli.installation import Installation, installation

commands = typer.Typer(
    help="Write what the triggers take and give, for other programs: openapi, connector.", no_args_is_help=True
)

Output = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write to this file; else to standard output.")
]
Partial = Annotated[
    bool, typer.Option("--partial", help="Write what can be served although some workflows are faulty.")
]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    from app.cli import connector  # which uses what is below

    connector.add_to(commands)
    app.add_typer(commands, name="export")


@commands.command()
def openapi(
    output: Output = None,
    indent: Annotated[int, typer.Option(min=0, max=8, help="Spaces for each level; 0 writes a single line.")] = 2,
    partial: Partial = False,
) -> None:
    """Write the OpenAPI 3.1 document of all workflows. Needs no running server and no network.

    With a faulty workflow nothing is written, and the exit code is 1, unless --partial is given.
    """
    from app.main import described
    from app.openapi.document import openapi_document

    here = installation()
    snapshot = whole_catalog(here, partial=partial)
    document = openapi_document(snapshot.triggers, described(here.settings, here.server_url))
    write(to_json(document, indent=indent or None, inf_nan_mode="null") + b"\n", output)


def whole_catalog(here: Installation, *, partial: bool) -> Snapshot:
    """The workflows of the folder. Ends the command where one is faulty, or some that are served are older than their
    files, unless `partial`."""
    snapshot = here.load()
    print_faults(snapshot.faults)
    if snapshot.faults and not partial:
        stop("Nothing was written: mend the faulty modules, or say --partial to leave them out.")
    return snapshot


def write(content: bytes, output: Path | None) -> None:
    """Write to a file or to standard output, as the option says."""
    if output is None:
        typer.echo(content, nl=False)
        return
    try:
        output.write_bytes(content)
    except OSError as error:
        stop(f"{output} cannot be written: {error.strerror}.")
    err.print(f"Wrote {output}.", markup=False, highlight=False, soft_wrap=True)
