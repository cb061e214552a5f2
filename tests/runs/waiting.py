"""A workflow that runs until a test lets it end, and what runs it with a journal."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog

from postern import workflow
from postern.authoring.context import Services
from postern.journal.journal import Journal
from postern.runs.idempotency import Key
from postern.runs.runner import Runner

KEY = Key("scope", "fingerprint")


class Gate:
    """The event that the workflow waits for, new in each test's event loop."""

    event: asyncio.Event


@workflow
async def waits(ctx) -> int:
    await Gate.event.wait()
    return 7


@asynccontextmanager
async def opened(url: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Journal]:
    """A journal, in a working directory without modules: its writer imports nothing from there."""
    Gate.event = asyncio.Event()
    monkeypatch.chdir(folder)
    journal = Journal(url)
    await journal.open()
    yield journal
    await journal.aclose()


def runner_of(journal: Journal) -> Runner:
    """A runner whose workflows use no service."""
    services: Any = Services(None, None, structlog.get_logger())  # type: ignore[arg-type]
    return Runner(services, journal, lambda run: None)
