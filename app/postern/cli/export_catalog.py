"""The workflows that the `postern export` commands write."""

from typing import Annotated

import typer

from postern.catalog import Snapshot
from postern.cli.terminal import print_faults, stop
from postern.cli.workspace import Workspace

Partial = Annotated[
    bool, typer.Option("--partial", help="Write what can be served although some workflows are faulty.")
]


def whole_catalog(here: Workspace, *, partial: bool) -> Snapshot:
    """The workflows of the folder. Ends the command where one is faulty, or some that are served are older than their
    files, unless `partial`."""
    snapshot = here.load()
    print_faults(snapshot.faults)
    if snapshot.faults and not partial:
        stop("Nothing was written: mend the faulty modules, or say --partial to leave them out.")
    return snapshot
