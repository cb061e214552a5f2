"""The table `[people]` while the server runs. It is read again when `postern.toml` changes, so that a person who is
added or removed there needs no restart. All other settings do, and a line in the log says so."""

import tomllib
from collections.abc import Mapping
from typing import Any

import structlog
from pydantic import TypeAdapter

from postern.settings import Settings
from postern.settings.types import Guid, PersonName

log = structlog.get_logger("postern.settings")

_TABLE: TypeAdapter[dict[str, str]] = TypeAdapter(dict[PersonName, Guid], config={"hide_input_in_errors": True})


class CurrentPeople:
    """Called, it returns the names and object ids of now. A file that cannot be read changes nothing."""

    def __init__(self, settings: Settings) -> None:
        self._file = settings.config
        self._people: Mapping[str, str] = dict(settings.people)
        self._stamp = self._stamp_now()
        self._document = self._read()
        of_file = (self._document or {}).get("people", {})
        self._others = {name: found for name, found in settings.people.items() if name not in of_file}

    def __call__(self) -> Mapping[str, str]:
        """The people of now."""
        stamp = self._stamp_now()
        if stamp != self._stamp:
            self._stamp = stamp
            self._take(self._read())
        return self._people

    def _take(self, document: dict[str, Any] | None) -> None:
        try:
            people = _TABLE.validate_python(None if document is None else document.get("people", {}))
        except ValueError:
            log.error(  # noqa: TRY400 - the file's content may be anything
                "settings-not-read",
                file=str(self._file),
                fix="correct the file: `postern check` says what is wrong. The server goes on with what it has read",
            )
            return
        document = document or {}
        before, self._document = self._document or {}, document
        if people != before.get("people"):
            self._people = {**self._others, **people}
            log.info("people-changed", file=str(self._file), names=len(self._people))
        if _without_people(document) != _without_people(before):
            fix = "restart the server: of this file, only [people] takes effect while it runs"
            log.warning("settings-changed", file=str(self._file), fix=fix)

    def _read(self) -> dict[str, Any] | None:
        try:
            return tomllib.loads(self._file.read_text("utf-8-sig"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError):
            return None

    def _stamp_now(self) -> tuple[int, int, int] | None:
        try:
            found = self._file.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino


def _without_people(document: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name != "people"}
