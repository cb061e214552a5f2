"""Health checks: `/healthz` says that the process is alive, `/readyz` whether it can do its work."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from contextvars import Context
from pathlib import Path
from typing import Any

import anyio.to_thread
import structlog
from anyio import CapacityLimiter
from sqlalchemy import Connection, select
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from postern.errors import Problem

Check = Callable[[], Awaitable[str]]
"""Returns why something does not work, for the log; "" if it works. An exception counts as a failure too."""

PATIENCE = 3.0
"""Seconds that a check may take."""

NO_STORE = {"Cache-Control": "no-store"}

log = structlog.get_logger("postern.health")


async def healthz(_: Request) -> Response:
    """Report that the process is alive, and nothing else."""
    return JSONResponse({"status": "ok"}, headers=NO_STORE)


class Readiness:
    """Whether the server can do its work, by a table of named checks. The response says which checks fail, not why; the
    reason is logged when it changes. Concurrent requests share one run of each check. It belongs to one event loop."""

    def __init__(self, checks: Mapping[str, Check], *, patience: float = PATIENCE) -> None:
        self._checks = checks
        self._patience = patience
        self._failing: set[str] = set()
        self._stopping = False
        self._flight: asyncio.Task[dict[str, str]] | None = None

    def stop(self) -> None:
        """Report from now on that the server is not ready, so that no new requests are sent to it."""
        self._stopping = True

    async def answer(self, _: Request) -> Response:
        """Respond to `/readyz`: 200 or 503."""
        reasons = await self.reasons()
        ready = not any(reasons.values()) and not self._stopping
        document = {
            "status": "ready" if ready else "not-ready",
            "checks": {name: "failing" if reason else "ok" for name, reason in reasons.items()},
        }
        return JSONResponse(document, 200 if ready else 503, headers=NO_STORE)

    async def reasons(self) -> Mapping[str, str]:
        """Why each check fails, for operators; "" if it passes."""
        if self._flight is None or self._flight.done():
            # In a separate context, so that its log lines name no request.
            self._flight = asyncio.get_running_loop().create_task(self._look(), context=Context())
        return await asyncio.shield(self._flight)

    async def _look(self) -> dict[str, str]:
        reasons = await asyncio.gather(*(self._reason(check) for check in self._checks.values()))
        found = dict(zip(self._checks, reasons, strict=True))
        for name, reason in found.items():
            if reason and name not in self._failing:
                log.warning("check-failing", check=name, reason=reason)
                self._failing.add(name)
            elif not reason and name in self._failing:
                log.info("check-ok", check=name)
                self._failing.discard(name)
        return found

    async def _reason(self, check: Check) -> str:
        try:
            async with asyncio.timeout(self._patience):
                return await check()
        except TimeoutError:
            return f"no answer within {self._patience:g} s"
        except Problem as error:
            return error.reason or error.code
        except Exception as error:  # any exception means that it does not work
            return type(error).__name__


def keys_usable(ready: Callable[[], bool], errors: Callable[[], Mapping[str, str]]) -> Check:
    """Whether tokens of every tenant can be checked; `errors` says by tenant why its keys could not be fetched."""

    async def check() -> str:
        if ready():
            return ""
        return "; ".join(f"{tenant}: {why}" for tenant, why in errors().items()) or "no usable signing keys yet"

    return check


def journal_works(
    available: Callable[[], bool], read: Callable[[Callable[[Connection], Any]], Awaitable[Any]]
) -> Check:
    """Whether runs can be recorded: the writer's last commit succeeded, and a trivial read works. If nothing can be
    written, that is reported at once."""

    async def check() -> str:
        if available():
            await read(lambda connection: connection.execute(select(1)).scalar())
        return "" if available() else "the last commit failed"

    return check


def folder_readable(folder: Path) -> Check:
    """Whether the folder of workflows, which was loaded at the start, can still be listed."""
    limiter = CapacityLimiter(1)  # a file system that hangs takes one thread and no more

    async def check() -> str:
        try:
            await anyio.to_thread.run_sync(os.listdir, folder, abandon_on_cancel=True, limiter=limiter)
        except OSError as error:
            return f"{folder}: {error.strerror}"
        return ""

    return check
