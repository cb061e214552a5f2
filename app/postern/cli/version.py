"""`postern --version`."""

from typing import Annotated

import typer

from postern.version import own_version


def add_to(app: typer.Typer) -> None:
    """Add the option."""
    app.callback(help=app.info.help, no_args_is_help=True)(options)


def print_version(chosen: bool) -> None:
    """Print the version and end the command, if the option was given."""
    if chosen:
        typer.echo(f"postern {own_version()}")
        raise typer.Exit


def options(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options of `postern` itself."""
