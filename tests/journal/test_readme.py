"""The journal's page names files that exist. Its rules for migrations are asserted in test_revisions.py."""

from pathlib import Path

import pytest

import postern.journal
from postern.journal.grants import HISTORY, LONGEST, LONGEST_TEXT
from postern.journal.idempotency_keys import KEY_BYTES
from postern.journal.invitations import KEPT_FOR as OF_INVITATIONS
from postern.journal.reading.queries import MOST_CANDIDATES
from postern.journal.reading.readers import OF_CALLERS, OF_SERVER, READ_SECONDS, SHARE
from postern.journal.reading.reading import LOCK_SECONDS
from postern.journal.refusal_windows import MOST_NEW
from postern.journal.refusals import MOST_ROWS
from postern.journal.storage import ANONYMOUS_PART, KEYS_PART, LOOK_EVERY, STEPS
from postern.journal.writing.queue import LARGE_BYTES, MAX_QUEUED, MAX_QUEUED_BYTES
from postern.journal.writing.request_headers import MAX_HEADER_BYTES
from postern.journal.writing.rows import MAX_KEPT_BYTES, MAX_MESSAGE, MAX_TRACEBACK
from postern.runs.idempotency import MAX_REPLY_BYTES
from tests.pages import missing_files
from tests.table import table

PAGE = Path(postern.journal.__file__).with_name("README.md").read_text(encoding="utf-8")


def test_the_files_that_it_names_are_there():
    assert missing_files(Path(postern.journal.__file__).parent) == []


def test_the_bounds_that_it_states_are_the_programs():
    assert (KEYS_PART, ANONYMOUS_PART, STEPS, LOOK_EVERY) == (8, 2, 64, 60.0)  # "an eighth", "half", "a 64th", "minute"
    assert OF_INVITATIONS == 4 * 3600  # "four hours"
    assert (OF_CALLERS, SHARE, OF_SERVER) == (3, 2, 1)  # "three at a time", "two", "a connection of their own"
    figures = [
        f"{MAX_KEPT_BYTES // 1024} KiB",
        f"{MAX_QUEUED:,} runs and {MAX_QUEUED_BYTES // 1024**2} MiB",
        f"headers {MAX_HEADER_BYTES // 1024} KiB",
        f"traceback {MAX_TRACEBACK:,} characters, message {MAX_MESSAGE:,}",
        f"{MAX_REPLY_BYTES // 1024**2} MiB",
        f"{MOST_ROWS:,} rows; {MOST_NEW} new ones",
        f"{MOST_CANDIDATES:,} rows, {READ_SECONDS:g} seconds",
        f"waits {LOCK_SECONDS:g} seconds for a lock",
        f"at {KEY_BYTES // 1024} KiB each",
        f"more than {LARGE_BYTES // 1024} KiB",
        f"sealed tokens {LONGEST['sealed'] // 1024} KiB, scopes {LONGEST['scopes'] // 1024} KiB",
        f"a challenge {LONGEST['claims'] // 1024} KiB, other texts {LONGEST_TEXT} characters, {HISTORY} events",
    ]
    text = " ".join(PAGE.split())
    assert [figure for figure in figures if figure not in text] == []


@pytest.mark.parametrize("event", ["records-deleted-early", "database-large"])
def test_what_is_logged_at_a_bound_is_on_the_pages(event: str):
    room = Path(postern.journal.__file__).parent
    assert f'"{event}"' in (room / "storage.py").read_text(encoding="utf-8")
    for page in (PAGE, (room.parent / "triggers" / "TROUBLESHOOTING.md").read_text(encoding="utf-8")):
        assert f"`{event}`" in page


@table(
    ("file", "said"),
    [
        ("database/sqlite_file.py", "is not a SQLite database"),
        ("database/sqlite_file.py", "was deleted or moved away"),
        ("database/sqlite_file.py", "is another file than the one that was opened"),
        ("database/sqlite_file.py", "was deleted, moved away or replaced"),
        ("database/sqlite_file.py", "a folder"),
        ("database/sqlite_file.py", "a pipe"),
        ("database/engine.py", "cannot be used"),
        ("writing/watched_writer.py", "journal-writer-died"),
        ("journal.py", "journal-write-failed"),
        ("journal.py", "journal-unavailable"),
        ("../cli/open_database.py", "database-exposed"),
    ],
)
def test_what_is_said_of_a_database_that_does_not_work_is_on_the_page_of_trouble(file: str, said: str):
    room = Path(postern.journal.__file__).parent
    assert said in (room / file).read_text(encoding="utf-8")
    assert said in " ".join((room.parent / "triggers" / "TROUBLESHOOTING.md").read_text(encoding="utf-8").split())
