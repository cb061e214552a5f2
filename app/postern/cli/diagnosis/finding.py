"""What a check found, and how checks are made: all at once, each for a limited time."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "failed"]

PATIENCE = 20.0
"""Seconds that a check may take."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found. `fix` says what to do, "" if it is ok. Neither has a secret."""

    state: State
    detail: str
    fix: str = ""


Check = Callable[[], Awaitable[list[Finding]]]
Progress = Callable[[int], None]


def ok(detail: str) -> list[Finding]:
    """It works."""
    return [Finding("ok", detail)]


def warning(detail: str, fix: str) -> list[Finding]:
    """It works, and may not do so for long, or not as well as it could."""
    return [Finding("warning", detail, fix)]


def failed(detail: str, fix: str) -> list[Finding]:
    """It does not work."""
    return [Finding("failed", detail, fix)]


async def run_checks(
    checks: Mapping[str, Check], progress: Progress = lambda _: None, patience: float = PATIENCE
) -> dict[str, list[Finding]]:
    """Make all checks at once. One that raises or takes too long has failed. `progress` is told how many are done."""
    done = 0

    async def one(check: Check) -> list[Finding]:
        nonlocal done
        try:
            async with asyncio.timeout(patience):
                return await check()
        except TimeoutError:
            return failed(f"there was no answer within {patience:g} s", "See whether its host can be reached from here")
        except Exception as error:  # any exception means that it does not work; its text may have a secret
            return failed(f"it could not be checked ({type(error).__name__})", "Look at the other checks first")
        finally:
            done += 1
            progress(done)

    found = await asyncio.gather(*map(one, checks.values()))
    return dict(zip(checks, found, strict=True))
