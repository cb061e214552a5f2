"""A vault, a table and a clock for the tests of signed URLs."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from postern.errors import Problem, problem
from postern.journal.signed_urls import SignedUrl

KEY, OTHER = bytes(range(32)), bytes(range(32, 64))


class Clock:
    """A time that tests move."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@dataclass
class Vault:
    """Secrets by name, as `UrlKeys` reads them. What was read stays known until it is read fresh. `away` is why nothing
    can be read."""

    secrets: dict[str, str]
    known: dict[str, str | None] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    away: Problem | None = None

    async def __call__(self, name: str, *, fresh: bool) -> str | None:
        """The value."""
        if not fresh and self.known.get(name) is not None:
            return self.known[name]
        self.asked.append(name)
        if self.away is not None:
            raise self.away
        self.known[name] = self.secrets.get(name)
        return self.known[name]


AWAY = problem("signing-key-unavailable", reason="the vault is away")


@dataclass
class Table:
    """Rows of signed URLs, as `Links` reads them. `away` says that the journal does not answer."""

    rows: dict[tuple[str, str], SignedUrl] = field(default_factory=dict)
    reads: int = 0
    away: bool = False
    written: list[Any] = field(default_factory=list)

    async def read(self, query: Callable[[Connection], Any]) -> Any:
        """The row that the query is for."""
        self.reads += 1
        if self.away:
            raise problem("journal-unavailable")
        wanted = query.keywords  # type: ignore[attr-defined]
        return self.rows.get((wanted["workflow"], wanted["id"]))

    async def write(self, operation: Callable[[Connection], None]) -> None:
        """Keep the uses that the operation writes."""
        if self.away:
            raise problem("journal-unavailable")
        self.written += operation.keywords["uses"]  # type: ignore[attr-defined]


def row(workflow: str = "orders", id: str = "partner-x", **more: Any) -> SignedUrl:  # noqa: A002 the column's name
    return SignedUrl(workflow, id, "primary", None, (), "{}", 1.0, **more)
