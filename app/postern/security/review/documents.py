"""The access review as JSON and CSV, and what changed between two of them. Pure."""

import csv
import io
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from postern.security.review.review import Review, Row

VERSION = 1
COLUMNS = (
    *("workflow", "who", "name", "object_id", "tenant_id", "why", "conditions"),
    *("first_used_at", "last_used_at", "uses", "marks"),
)
_COMPARED = ("why", "conditions", "marks")
_OF_DIRECTORY = frozenset({"unknown", "disabled", "guest"})
"""Marks that depend on whether the directory could be asked."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class NotAReview(ValueError):
    """A document that is not an access review as JSON. The message says why."""


def review_json(review: Review) -> dict[str, Any]:
    """The document. Times are RFC 3339. Names are a contract."""
    return {
        "version": VERSION,
        "at": _moment(review.at),
        "known_since": _moment(review.known_since),
        "directory": "ok" if not review.directory else review.directory,
        "unexpected": list(review.unexpected),
        "rows": [row_json(row) for row in review.rows],
    }


def row_json(row: Row) -> dict[str, Any]:
    """One row. `workflow` is null for what operators may do."""
    return {
        "workflow": row.workflow or None,
        "who": row.who,
        "name": row.name,
        "object_id": row.object_id,
        "tenant_id": row.tenant_id,
        "why": row.why,
        "conditions": list(row.conditions),
        "first_used_at": _moment(row.first_used),
        "last_used_at": _moment(row.last_used),
        "uses": row.uses,
        "marks": list(row.marks),
    }


def review_csv(review: Review) -> str:
    """The rows as CSV (RFC 4180)."""
    written = io.StringIO(newline="")
    writer = csv.writer(written, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for row in review.rows:
        fields = row_json(row)
        writer.writerow([_cell(fields[column]) for column in COLUMNS])
    return written.getvalue()


def _cell(value: Any) -> str:
    """A cell that no spreadsheet takes for a formula (OWASP: CSV injection). Such a text gets an apostrophe, which
    spreadsheets do not show."""
    text = "" if value is None else "; ".join(value) if isinstance(value, list) else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def changes(earlier: object, now: Mapping[str, Any]) -> dict[str, list[Any]]:
    """What was added, removed and changed since an earlier document: rows of who may call what, by why, conditions and
    marks. Raises NotAReview."""
    before, same = _rows_of(earlier), now["directory"] == "ok"
    asked_then = isinstance(earlier, Mapping) and earlier.get("directory") == "ok"
    ignored = frozenset() if same and asked_then else _OF_DIRECTORY
    after = {_key(row): row for row in now["rows"]}
    return {
        "added": [row for key, row in after.items() if key not in before],
        "removed": [row for key, row in before.items() if key not in after],
        "changed": [
            {"before": before[key], "after": row}
            for key, row in after.items()
            if key in before and _compared(before[key], ignored) != _compared(row, ignored)
        ],
    }


def _rows_of(document: object) -> dict[tuple[str, ...], dict[str, Any]]:
    if not isinstance(document, Mapping) or document.get("version") != VERSION:
        raise NotAReview(f"it is not the JSON of an access review of version {VERSION}")
    rows = document.get("rows")
    if not isinstance(rows, list) or not all(_is_row(row) for row in rows):
        raise NotAReview("its rows are not those of an access review")
    return {_key(row): row for row in rows}


def _is_row(row: object) -> bool:
    if not isinstance(row, dict) or not row.keys() >= set(COLUMNS):
        return False
    texts = all(isinstance(row[name], str) for name in ("who", "name", "object_id", "tenant_id", "why"))
    lists = all(isinstance(row[name], list) and all(isinstance(each, str) for each in row[name]) for name in _LISTS)
    return texts and lists and isinstance(row["workflow"], str | None)


_LISTS = ("conditions", "marks")


def _key(row: Mapping[str, Any]) -> tuple[str, ...]:
    """What makes two rows the same one. Whether a caller is a person or an application is of the directory."""
    who = "caller" if row["who"] in ("person", "application") else row["who"]
    named = row["name"] if who == "sender" else ""
    return row["workflow"] or "", who, row["tenant_id"], row["object_id"], named


def _compared(row: Mapping[str, Any], ignored: Iterable[str]) -> list[Any]:
    left = [mark for mark in row["marks"] if mark not in ignored]
    return [left if name == "marks" else row[name] for name in _COMPARED]


def _moment(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
