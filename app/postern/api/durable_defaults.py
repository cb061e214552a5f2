"""What is in the place of durable runs where there are none."""

from typing import TypeVar

from postern.journal.run import Outcome

T = TypeVar("T")


async def no_reply(_: str) -> Outcome | None:
    """There are no durable runs."""
    return None


async def nothing_here(run_id: str, by: str, *, ended: bool) -> None:
    """This server process runs no durable runs."""


async def unsealed(_: object, decided: T) -> T:
    """What seals nothing."""
    return decided


async def as_it_is(_: str, __: str, kept: str, ___: str | None) -> str:
    """What opens what was never sealed."""
    return kept
