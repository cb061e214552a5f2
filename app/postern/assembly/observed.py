"""What the server notes in the audit log by itself: requests to triggers, the workflows that it serves, its settings at
the start, and secrets that it reads."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from postern.assembly.catalog import CatalogPart
from postern.assembly.connections import ConnectionsPart
from postern.assembly.part import Part
from postern.journal.audit_event import Kind
from postern.journal.journal import Journal
from postern.journal.reading.audit import last_start
from postern.journal.reading.readers import SERVER
from postern.security.audit.coalesced import Coalescer
from postern.security.audit.log import Note
from postern.security.audit.served import ServedWorkflows
from postern.security.observed import Observer
from postern.settings import Settings
from postern.settings.shown import shown_settings
from postern.version import own_version


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedPart(Part):
    """Counts requests to triggers. Parts add their listeners to `observer` before the server starts."""

    observer: Observer


def observed_part(
    settings: Settings, note: Note, journal: Journal, catalog: CatalogPart, connections: ConnectionsPart
) -> ObservedPart:
    """Counts are handed over while the server runs, and the last ones when it stops. The audit log gets them too."""
    coalescer = Coalescer(note)
    observer = Observer([coalescer.take])
    workflows = ServedWorkflows(
        settings.workflows, note, lambda: journal.read(partial(last_start, node=journal.node), SERVER)
    )
    catalog.listeners.append(workflows.changed)
    connections.connections.vault.noted = partial(_secret_read, note)

    @asynccontextmanager
    async def life() -> AsyncIterator[None]:
        workflows.begin(own_version(), shown_settings(settings), catalog.snapshot())
        yield
        observer.hand_over()
        coalescer.flush()

    return ObservedPart(observer=observer, life=life, tasks=(observer.run, coalescer.run, workflows.run))


def _secret_read(note: Note, name: str, version: str) -> None:
    note(Kind.SECRET_READ, fields={"secret": name, "version": version})


def records_deleted(note: Note) -> Callable[[Mapping[str, int]], None]:
    """Notes how many records of each kind were deleted, where there were any."""

    def deleted(gone: Mapping[str, int]) -> None:
        note(Kind.RETENTION, fields={"deleted": {name: count for name, count in gone.items() if count}, "pruned": {}})

    return deleted
