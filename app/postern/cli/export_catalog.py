"""What the `postern export` commands share."""

from collections.abc import Iterable
from typing import Annotated

import typer

from postern.catalog import Snapshot
from postern.cli.catalog_output import print_faults
from postern.cli.terminal import plain, stop
from postern.cli.workspace import Workspace
from postern.openapi.conversion_loss import Loss

Partial = Annotated[bool, typer.Option("--partial", help="Leave out faulty workflows and write the others.")]


def whole_catalog(here: Workspace, *, partial: bool) -> Snapshot:
    """The workflows of the folder. Ends the command if a module is faulty, unless `partial`."""
    snapshot = here.load()
    print_faults(snapshot.faults)
    if snapshot.faults and not partial:
        stop("Nothing was written: fix the faulty modules, or give --partial to leave them out.")
    return snapshot


def grouped(losses: Iterable[Loss]) -> list[str]:
    """Each sentence once, with the places that it applies to."""
    places: dict[str, list[str]] = {}
    for loss in losses:
        places.setdefault(loss.what, []).append(loss.where)
    return [
        plain(what) + "".join(f"\n      at {plain(each)}" for each in where if each) for what, where in places.items()
    ]
