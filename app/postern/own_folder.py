"""Folders that Postern makes for keys and records. They tell git to ignore them, so that `git add .` takes neither."""

import os
from collections.abc import Iterable
from contextlib import suppress
from glob import escape
from pathlib import Path

IGNORE_FILE = ".gitignore"
TENANT_FOLDER = "local-tenant"


def make_folder(folder: Path, own: Iterable[str]) -> None:
    """Make the folder for its owner only if it does not exist, and let git ignore what Postern writes there. `own` are
    patterns of the names of Postern's files in it.

    If nothing else is in the folder, git ignores all of it. In a project's own folder, git ignores Postern's files
    only. An existing `.gitignore` stays as it is. Raises OSError if the folder cannot be made; a `.gitignore` that
    cannot be written is no error."""
    folder.mkdir(0o700, parents=True, exist_ok=True)
    with suppress(OSError):  # read-only by now, or another process was faster
        if os.path.lexists(folder / IGNORE_FILE):
            return
        names = list(own)
        if not folder.samefile(Path.cwd()) and all(_named(child, names) for child in folder.iterdir()):
            _write(folder / IGNORE_FILE, ["*"])
        elif any((above / ".git").exists() for above in (folder, *folder.parents)):
            _write(folder / IGNORE_FILE, [f"/{name}" for name in (IGNORE_FILE, *names)])


def names_of_database(path: Path) -> tuple[str, ...]:
    """Patterns of the names of a SQLite database: with its log, unfinished copies, and databases moved aside, and the
    same of the checkpoints of durable runs. The local tenant may be beside it."""
    name, checkpoints = escape(path.name), escape(beside(path, "durable").name)
    return f"{name}*", f".{name}*", f"{checkpoints}*", f".{checkpoints}*", TENANT_FOLDER


def beside(path: Path, what: str) -> Path:
    """The file beside a database that has a part of it: postern-durable.db beside postern.db."""
    return path.with_name(f"{path.stem}-{what}{path.suffix}")


def _named(child: Path, patterns: list[str]) -> bool:
    return any(child.match(pattern) for pattern in patterns)


def _write(path: Path, lines: list[str]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write("\n".join((*lines, "")))
