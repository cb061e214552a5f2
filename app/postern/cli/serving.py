"""What the commands that serve share: the options of the address, and the first read of the folder of workflows. It
knows nothing of the local tenant, so a server with a real one does not load that."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from postern.errors import UserFault

Host = Annotated[str | None, typer.Option(help="The address to listen on, in place of POSTERN_HOST.")]
Port = Annotated[
    int | None,
    typer.Option(min=0, max=65535, help="The port to listen on, in place of POSTERN_PORT; 0 takes any free one."),
]


class FolderFault(UserFault):
    """The folder of workflows cannot be read. The message says how to fix it."""


def use_address(host: str | None, port: int | None) -> None:
    """Set the address that the options give: for this process and its workers, in place of the settings."""
    for name, given in (("POSTERN_HOST", host), ("POSTERN_PORT", port)):
        if given is not None:
            os.environ[name] = str(given)


@contextmanager
def readable_folder() -> Iterator[None]:
    """Turn the errors of the first read of the folder of workflows into FolderFault."""
    try:
        yield
    except OSError as error:
        why = str(error) if error.strerror is None else f"{error.filename}: {error.strerror}"
        raise FolderFault(f"POSTERN_WORKFLOWS: {why}") from None
