"""`postern audit verify` and `postern audit export`, which read the database, or a file that was exported."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import time
from typing import Annotated, Any, TypeVar

import typer
from sqlalchemy import Connection

from postern.cli.api_client import Json
from postern.cli.open_database import database_url, opened, reported_faults
from postern.cli.terminal import err, fail, plain, print_json, stop
from postern.errors import DatabaseFault
from postern.journal.database.contents import shown, sqlite_path, tables
from postern.journal.database.sqlite_copies import new_file
from postern.journal.reading.audit_lines import audit_lines, count
from postern.journal.security_tables import audit_events
from postern.security.audit.export import exported
from postern.security.audit.verifier import (
    Line,
    Report,
    Verifier,
    checkpoints_in,
    moment,
    public_key,
    verify_export,
    written,
)

SHOW_EVERY = 5_000
"""Lines after which the progress is shown again."""

T = TypeVar("T")


def verify(
    keys: Annotated[
        list[Path] | None,
        typer.Option("--public-key", metavar="FILE", help="A public key in PEM. Repeat it for former keys."),
    ] = None,
    kept: Annotated[
        list[Path] | None,
        typer.Option("--checkpoints", metavar="FILE", help="Checkpoints kept elsewhere: an audit file, or a log."),
    ] = None,
    unsigned_before: Annotated[
        str | None, typer.Option(metavar="TIME", help="The time since when checkpoints are signed, such as 2026-01-31.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option(metavar="EXPORT", help="An exported file, instead of the database.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Verify the audit log: whether an event was changed, removed, inserted or reordered. Exit code 1 if one was, 2 if
    it could not be verified.

    Without --public-key no signature is checked: anyone who can write the database can write the log. Without
    --checkpoints a removed end does not show. Get the key from `postern audit key`, and keep checkpoints where nobody
    can write who can write the database.
    """
    verifier = _verifier(keys or [], unsigned_before)
    lines = [line for path in kept or [] for line in _checkpoints(path)]  # before the database, which has them all
    report = _verify_file(file, verifier, lines) if file is not None else _verify_database(verifier, lines)
    _say(report, as_json=as_json)
    raise typer.Exit(0 if report.verified else 1)


def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write, readable by its owner only.")],
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it exists.")] = False,
) -> None:
    """Export the audit log as JSON lines, with the bodies exactly as they were hashed, and the checkpoints. `postern
    audit verify --file`, or the verifier alone, verifies it."""
    url, place = database_url(), file.absolute()
    if place.exists() and not force:
        stop(f"{file} already exists: name another file, or replace it with --force.", 2)
    if not place.parent.is_dir() or place.is_dir():
        stop(f"{file}: name a file in a folder that exists.", 2)
    with reported_faults(url), _log(url) as (connection, total), new_file(place) as made:
        lines = _with_progress(audit_lines(connection, columns=False), total, "Exporting")
        with made.open("wb") as to:
            to.writelines(exported(lines, time()))
        made.replace(place)
    size = place.stat().st_size / 1024**2
    text = f"{file}: {size:,.1f} MiB. It names callers and addresses: keep it safe."
    err.print(plain(text), markup=False, highlight=False, soft_wrap=True)


def _verifier(keys: list[Path], unsigned_before: str | None) -> Verifier:
    try:
        since = moment(unsigned_before) if unsigned_before else 0.0
    except ValueError:
        stop(f"--unsigned-before {unsigned_before}: not a time such as 2026-01-31T10:00:00Z.", 2)
    return Verifier([_public_key(path) for path in keys], since)


def _public_key(path: Path) -> Any:
    pem = _read(path, "--public-key")
    try:
        return public_key(pem)
    except (ValueError, TypeError):
        stop(f"--public-key {path}: not an Ed25519 public key in PEM, as `postern audit key` prints it.", 2)


def _checkpoints(path: Path) -> list[Line]:
    found = list(checkpoints_in(_read(path, "--checkpoints").decode("utf-8", "replace").splitlines()))
    if not found:
        stop(f"--checkpoints {path}: there is no checkpoint in it.", 2)
    return found


def _read(path: Path, option: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        stop(f"{option} {path}: {error.strerror}.", 2)


def _verify_file(file: Path, verifier: Verifier, kept: list[Line]) -> Report:
    try:
        with file.open("rb") as raw:
            return verify_export(_with_progress(raw, 0, "Verifying"), verifier, kept)
    except OSError as error:
        stop(f"--file {file}: {error.strerror}.", 2)


def _verify_database(verifier: Verifier, kept: list[Line]) -> Report:
    url = database_url()
    with reported_faults(url, unavailable=2), _log(url) as (connection, total):
        for line in kept:
            verifier.kept_elsewhere(line)
        for line in _with_progress(audit_lines(connection, columns=True), total, "Verifying"):
            verifier.take(line)
    return verifier.finish()


@contextmanager
def _log(url: str) -> Iterator[tuple[Connection, int]]:
    """The database as it is at one moment, and about how many lines its log has."""
    with opened(url) as engine:
        seen = engine if sqlite_path(url) is not None else engine.execution_options(isolation_level="REPEATABLE READ")
        with seen.begin() as connection:
            if sqlite_path(url) is not None:  # of texts that are not UTF-8, the verifier says where they are
                driver: Any = connection.connection.driver_connection
                driver.text_factory = partial(str, encoding="utf-8", errors="backslashreplace")
            if audit_events.name not in tables(connection):
                raise DatabaseFault(
                    f"POSTERN_DATABASE_URL, {shown(url)}: it has no audit log yet. A server makes it when it starts"
                )
            yield connection, count(connection)


def _with_progress(lines: Iterable[T], total: int, what: str) -> Iterator[T]:
    with err.status(f"{what} …") as status:
        for number, line in enumerate(lines):
            if number % SHOW_EVERY == 0:
                status.update(f"{what} … {number:,}{f' of {total:,}' if total else ''} lines")
            yield line


def _say(report: Report, *, as_json: bool) -> None:
    if as_json:
        found = {"verified": report.verified, "problems": report.problems, "notes": report.notes}
        print_json({**found, "counts": report.counts, "valid_signatures": report.signed})
        return
    *lines, verdict = written(report)
    for line in lines:
        err.print(plain(line), markup=False, highlight=False, soft_wrap=True)
    if report.verified:
        typer.echo(plain(verdict))
    else:
        fail(plain(verdict))
