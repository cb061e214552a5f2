"""What is observed of requests to triggers, by the audit log and the findings."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from postern.assembly.part import Part
from postern.security.observed import Observer


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedPart(Part):
    """Counts requests. Parts add their listeners to `observer` before the server starts."""

    observer: Observer


def observed_part() -> ObservedPart:
    """Counts are handed over while the server runs, and the last ones when it stops."""
    observer = Observer()

    @asynccontextmanager
    async def life() -> AsyncIterator[None]:
        yield
        observer.hand_over()

    return ObservedPart(observer=observer, life=life, tasks=(observer.run,))
