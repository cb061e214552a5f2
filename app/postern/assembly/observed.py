"""What the server notes in the audit log by itself: requests to triggers, the workflows that it serves, its settings at
the start, and secrets that it reads."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from postern.assembly.foundation import Foundation
from postern.assembly.part import Part
from postern.journal.audit_event import Kind
from postern.journal.reading.audit import last_start
from postern.journal.reading.readers import SERVER
from postern.security.audit.coalesced import Coalescer
from postern.security.audit.log import Note
from postern.security.audit.served import ServedWorkflows
from postern.security.observed import Observer
from postern.settings.shown import shown_settings
from postern.version import own_version


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedPart(Part):
    """Counts requests to triggers. Parts add their listeners to `observer` before the server starts."""

    observer: Observer


def observed_part(base: Foundation) -> ObservedPart:
    """Counts are handed over while the server runs, and the last ones when it stops. The audit log gets them too."""
    settings, note, journal, catalog = base.settings, base.note, base.journal, base.catalog
    coalescer = Coalescer(note)
    observer = Observer([coalescer.take])
    workflows = ServedWorkflows(
        settings.workflows, note, lambda: journal.read(partial(last_start, node=journal.node), SERVER)
    )
    catalog.listeners.append(workflows.changed)
    base.connections.connections.vault.noted = partial(_secret_read, note)

    @asynccontextmanager
    async def life() -> AsyncIterator[None]:
        workflows.begin(own_version(), shown_settings(settings), catalog.snapshot())
        yield
        observer.hand_over()
        coalescer.flush()

    return ObservedPart(observer=observer, life=life, tasks=(observer.run, coalescer.run, workflows.run))


def _secret_read(note: Note, name: str, version: str) -> None:
    note(Kind.SECRET_READ, fields={"secret": name, "version": version})
