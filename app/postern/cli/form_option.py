"""The options --form and --header of `postern call`."""

from typing import Annotated, Any

import typer

from postern.cli.api_client import read_file
from postern.cli.terminal import stop

FormFields = Annotated[
    list[str] | None,
    typer.Option(
        "--form", "-F", help="A field of a form, NAME=VALUE; NAME=@FILE sends a file. Again for each field and file."
    ),
]
HeaderFields = Annotated[
    list[str] | None, typer.Option("--header", "-H", help='A header field, "NAME: VALUE". Again for each one.')
]

_OWN = ("authorization", "content-type", "content-length", "host", "transfer-encoding")


def sent_form(fields: list[str] | None, data: str | None) -> list[tuple[str, Any]] | None:
    """The parts of a form; None if it is none. Exits with 2 if a field or a file cannot be read."""
    if not fields:
        return None
    if data is not None:
        stop("--form and --data are two bodies: give one of them.", 2)
    return [_part(each) for each in fields]


def sent_headers(fields: list[str] | None) -> dict[str, str]:
    """The header fields. Exits with 2 if one is not valid, or one that the command sends itself."""
    found = {}
    for field in fields or []:
        name, colon, value = field.partition(":")
        if not colon or not name.strip() or not name.strip().isascii() or not field.isprintable():
            stop('--header: write "NAME: VALUE".', 2)
        if name.strip().lower() in _OWN:
            stop(f"--header {name.strip()}: the command sends this field itself. --token-file sends a token.", 2)
        found[name.strip()] = value.strip()
    return found


def _part(field: str) -> tuple[str, Any]:
    name, equals, value = field.partition("=")
    if not equals or not name:
        stop(f"--form {field}: write NAME=VALUE, or NAME=@FILE for a file.", 2)
    if value.startswith("@"):
        filename = value[1:].replace("\\", "/").rpartition("/")[2]
        return name, (filename, read_file("--form", value[1:]))
    return name, (None, value)
