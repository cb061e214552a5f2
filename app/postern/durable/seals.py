"""Seals what the database keeps of durable runs."""

from typing import Protocol


class Seals(Protocol):
    """Seals and opens the texts of a run. `column` says which one it is: a text opens in its own place only."""

    async def seal(self, run_id: str, column: str, text: str) -> tuple[str, str | None]:
        """The text to keep, and the version of the key; None if there is no key, and it is kept as it is."""

    async def open(self, run_id: str, column: str, kept: str, key_version: str | None) -> str:
        """The text. Raises CannotOpen, and ConnectionFault if the vault is unavailable."""


class NoSeal:
    """Without POSTERN_DURABLE_KEY_NAME, texts are kept as they are."""

    async def seal(self, run_id: str, column: str, text: str) -> tuple[str, str | None]:
        """The text itself."""
        return text, None

    async def open(self, run_id: str, column: str, kept: str, key_version: str | None) -> str:
        """The text itself."""
        return kept
