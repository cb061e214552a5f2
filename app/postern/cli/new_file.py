"""Files that commands write for an author."""

from pathlib import Path

import typer

from postern.cli.terminal import fail


def write_new(path: Path, text: str) -> None:
    """Write a file that is not there yet, and its folder. Otherwise the command ends with an error: nothing of an
    author's is overwritten."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        fail(f"{path} already exists; not overwritten.")
        raise typer.Exit(1) from None
    except OSError as error:
        fail(f"{path} cannot be written: {error.strerror}.")
        raise typer.Exit(1) from None
