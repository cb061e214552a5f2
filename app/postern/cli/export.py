"""`postern export`: the workflows of the folder as documents that other programs read."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from pydantic_core import to_json

from postern.cli import connector
from postern.cli.export_catalog import Partial, grouped, whole_catalog
from postern.cli.terminal import err, plain, stop
from postern.cli.workspace import workspace

commands = typer.Typer(help="Describe the triggers for other programs: openapi, connector.", no_args_is_help=True)

Output = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write to this file. Default: standard output.")
]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    connector.add_to(commands)
    app.add_typer(commands, name="export")


class Version(StrEnum):
    """A version of OpenAPI."""

    V31 = "3.1"
    V30 = "3.0"


@commands.command()
def openapi(
    output: Output = None,
    indent: Annotated[int, typer.Option(min=0, max=8, help="Spaces per level; 0 writes a single line.")] = 2,
    version: Annotated[
        Version, typer.Option("--openapi", help="The version of OpenAPI; 3.0 for Azure API Management.")
    ] = Version.V31,
    partial: Partial = False,
) -> None:
    """Write the OpenAPI document of all workflows. Needs no running server and no network.

    In version 3.0 some rules of schemas cannot be expressed: standard error lists them.

    If a workflow is faulty, nothing is written and the exit code is 1, unless --partial is given.
    """
    from postern.assembly import installation_of
    from postern.openapi.document import openapi_document

    here = workspace()
    snapshot = whole_catalog(here, partial=partial)
    document = openapi_document(snapshot.triggers, installation_of(here.settings, here.server_url))
    if version is Version.V30:
        from postern.openapi.openapi30 import openapi30_of

        document, losses = openapi30_of(document)
        for line in grouped(losses):
            err.print(f"Not expressed in OpenAPI 3.0: {line}", markup=False, highlight=False, soft_wrap=True)
    write(to_json(document, indent=indent or None, inf_nan_mode="null") + b"\n", output)


def write(content: bytes, output: Path | None) -> None:
    """Write a JSON document to the file, or to standard output if there is none. Hidden characters are written as
    JSON's escapes: a terminal may show it."""
    content = plain(content.decode(), lines=True).encode()
    if output is None:
        typer.echo(content, nl=False)
        return
    try:
        output.write_bytes(content)
    except OSError as error:
        stop(f"{output} cannot be written: {error.strerror}.")
    err.print(f"Wrote {output}.", markup=False, highlight=False, soft_wrap=True)
