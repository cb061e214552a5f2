"""`postern health`: whether the server on this machine is healthy. `postern/__main__.py` runs the same probe with fewer
imports."""

from typing import Annotated

import typer

from postern.cli.health_probe import health as probe


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(health)


def health(
    ready: Annotated[
        bool, typer.Option("--ready", help="Check whether the server is ready, not only whether it is alive.")
    ] = (False),
) -> None:
    """Check whether the server on this machine is healthy: exit code 0 or 1. For the health check of a container.

    Of the settings it needs only POSTERN_HOST and POSTERN_PORT."""
    healthy, line = probe(ready=ready)
    typer.echo(line)
    raise typer.Exit(0 if healthy else 1)
