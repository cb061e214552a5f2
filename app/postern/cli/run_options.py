"""Arguments that several commands about runs have."""

from typing import Annotated

import typer

from postern.access import KINDS
from postern.journal.reading.filters import VIAS
from postern.journal.run import State

RunId = Annotated[str, typer.Argument(metavar="ID", help="The run's id, the X-Run-Id of its reply.")]
Workflow = Annotated[str | None, typer.Option("--workflow", "-w", metavar="NAME", help="Only this workflow.")]
Caller = Annotated[
    str | None,
    typer.Option(metavar="WHO", help="Only this caller: an object id, anonymous, or a name in the table people."),
]
Kind = Annotated[
    str | None,
    typer.Option(metavar="KIND", help=f"Only runs that were started by this kind of caller: {', '.join(KINDS)}."),
]
Via = Annotated[str | None, typer.Option(metavar="WAY", help=f"Only those that came through this: {', '.join(VIAS)}.")]
InState = Annotated[
    State | None,
    typer.Option(case_sensitive=False, metavar="STATE", help=f"Only this state: {', '.join(State)}."),
]
WithText = Annotated[str | None, typer.Option(help="Only with this text in the record.")]
Parent = Annotated[str | None, typer.Option(metavar="ID", help="Only called by this run.")]
