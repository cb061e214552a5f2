"""Notes in the audit log which workflows a server process serves: at its start, and with each change."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from postern.catalog import EMPTY, Snapshot
from postern.errors import Problem
from postern.journal.audit_event import Kind
from postern.journal.reading.audit import LastStart
from postern.security.audit.log import Note
from postern.security.audit.workflows import Served, changes, new_faults, served, served_then

RETRY_SECONDS = 5.0


class ServedWorkflows:
    """`folder` has the workflows. `last_start` reads what another server process served last, so that a change between
    two starts is noted too. It belongs to one event loop: `begin` is called at the start, `run` is a task, and
    `changed` gets each change of the folder."""

    def __init__(
        self,
        folder: Path,
        note: Note,
        last_start: Callable[[], Awaitable[LastStart | None]],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._folder = folder
        self._note = note
        self._last_start = last_start
        self._sleep = sleep
        self._at_start: Mapping[str, Served] | None = None

    def begin(self, version: str, settings: Mapping[str, Any], snapshot: Snapshot) -> None:
        """Note the start of the server process."""
        self._at_start = served(snapshot.triggers, self._folder)
        workflows = {name: {**each.code, "access": each.access} for name, each in self._at_start.items()}
        fields = {"version": version, "settings": settings, "workflows": workflows}
        self._note(Kind.SERVER_STARTED, fields=fields)
        self._note_faults(EMPTY, snapshot)

    async def run(self) -> None:
        """Note what changed since another server process last noted what it serves."""
        while True:
            try:
                last = await self._last_start()
            except Problem:
                await self._sleep(RETRY_SECONDS)
                continue
            if last is not None:
                self._note_changes(served_then(last.fields, last.later), self._at_start or {})
            return

    def changed(self, old: Snapshot, new: Snapshot) -> None:
        """Note a change of the folder. What is loaded before the start is part of its event."""
        if self._at_start is None:
            return
        self._note_changes(served(old.triggers, self._folder), served(new.triggers, self._folder))
        self._note_faults(old, new)

    def _note_changes(self, before: Mapping[str, Served], now: Mapping[str, Served]) -> None:
        for change in changes(before, now):
            self._note(change.kind, workflow=change.workflow, fields=change.fields)

    def _note_faults(self, before: Snapshot, now: Snapshot) -> None:
        for fault in new_faults(before, now, self._folder):
            self._note(Kind.FILE_FAULTY, fields=fault)
