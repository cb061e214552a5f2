"""The journal: the database of the settings, and how long records stay in it."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import Connection

from postern.api.health import journal_works
from postern.api.metrics import journal_metrics, storage_metrics
from postern.assembly.part import Part
from postern.ids import id_at
from postern.journal.audit_event import Kind
from postern.journal.database.engine import check_database
from postern.journal.journal import Journal
from postern.journal.reading.readers import SERVER
from postern.journal.retention import BATCH, Retention
from postern.journal.run_logs import delete_lone_lines
from postern.journal.sessions import ends_of
from postern.journal.storage import SUMS_SECONDS, Growth, Storage
from postern.journal.writing.writer_process import StartWriter
from postern.security.audit.log import Note
from postern.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalPart(Part):
    """The journal that records runs, and what deletes old records."""

    journal: Journal
    retention: Retention


def journal_part(
    settings: Settings, deleted: Callable[[Mapping[str, int]], object], start_writer: StartWriter | None = None
) -> JournalPart:
    """Old records, and what is too much, are deleted while the server runs; `deleted` is called with how many. Raises
    DatabaseFault if the database can never be used."""
    readable = check_database(settings.database_url)
    growth = Growth(settings.database_max_bytes)
    journal = Journal(settings.database_url, growth=growth, readable=readable, start_writer=start_writer)
    read_sums = partial(journal.read, caller=SERVER, seconds=SUMS_SECONDS)
    retention = Retention(journal.write, settings.retention_days, ends=ends_of(settings), deleted=deleted)
    retention.also["run_logs"] = lambda before: journal.write(
        partial(delete_lone_lines, before_id=id_at(before), limit=BATCH)
    )
    storage = Storage(settings.database_url, growth, read_sums, journal.write, report=deleted)

    @asynccontextmanager
    async def life() -> AsyncIterator[None]:
        await journal.start()
        try:
            yield
            await journal.aclose()
        finally:
            journal.abandon()  # if the server ends at once: the journal's socket would keep the event loop alive

    async def read_when_opened(query: Callable[[Connection], Any]) -> Any:
        await journal.opened()  # else a server is ready before it can record
        return await journal.read(query)

    return JournalPart(
        journal=journal,
        retention=retention,
        life=life,
        tasks=(retention.run, storage.run),
        checks={"journal": journal_works(lambda: journal.available, read_when_opened)},
        metrics=(journal_metrics(journal), storage_metrics(lambda: storage.found)),
    )


def records_deleted(note: Note) -> Callable[[Mapping[str, int]], None]:
    """Notes how many records of each kind were deleted, where there were any."""

    def deleted(gone: Mapping[str, int]) -> None:
        note(Kind.RETENTION, fields={"deleted": {name: count for name, count in gone.items() if count}, "pruned": {}})

    return deleted
