"""The workflows that the `postern export` commands write."""

from typing import Annotated

import typer

from postern.catalog import Snapshot
from postern.cli.terminal import print_faults, stop
from postern.cli.workspace import Workspace

Partial = Annotated[bool, typer.Option("--partial", help="Leave out faulty workflows and write the others.")]


def whole_catalog(here: Workspace, *, partial: bool) -> Snapshot:
    """The workflows of the folder. Ends the command if a module is faulty, unless `partial`."""
    snapshot = here.load()
    print_faults(snapshot.faults)
    if snapshot.faults and not partial:
        stop("Nothing was written: fix the faulty modules, or give --partial to leave them out.")
    return snapshot
