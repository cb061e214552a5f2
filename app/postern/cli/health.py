"""`postern health`: whether the server of this machine is well. `postern/__main__.py` has a shorter way to the same."""

from typing import Annotated

import typer

from postern.cli.health_probe import health as ask


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(health)


def health(
    ready: Annotated[
        bool, typer.Option("--ready", help="Ask whether it can do its work, not only whether it lives.")
    ] = (False),
) -> None:
    """Ask the server of this machine whether it is well: exit code 0 or 1. For the health check of a container.

    Of the settings it needs POSTERN_HOST and POSTERN_PORT only."""
    well, line = ask(ready=ready)
    typer.echo(line)
    raise typer.Exit(0 if well else 1)
