"""The names of the migrations, and which tables this program can use. Pure.

A name such as `0003_for_0002` means: the tables of migration 0003 can be used by programs that know migrations up to
0002 or later. The database holds the name as Alembic's version, so an older program reads there whether newer tables
are compatible. Tables whose name has no `_for_` are compatible only with programs that know them.
"""

import re

MIGRATIONS = (
    "0001",
    "0002",
    "0003_for_0002",
    "0004_for_0002",
    "0005_for_0002",
    "0006_for_0002",
    "0007_for_0002",
    "0008_for_0002",
    "0009_for_0002",
    "0010_for_0002",
    "0011_for_0002",
    "0012_for_0002",
    "0013_for_0002",
    "0014_for_0002",
    "0015_for_0002",
    "0016_for_0002",
    "0017_for_0002",
)
"""All migrations, oldest first."""
HEAD = MIGRATIONS[-1]
"""A database with this migration needs no further check, so Alembic need not be imported."""

_NAME = re.compile(r"([0-9]{4})(?:_for_([0-9]{4}))?")


def numbers(revision: str) -> tuple[str, str]:
    """The migration's own number, and that of the oldest one whose programs can use its tables. Raises ValueError if it
    is not the name of a migration."""
    found = _NAME.fullmatch(revision)
    if found is None:
        raise ValueError(revision)
    return found[1], found[2] or found[1]


def is_newer(found: str, head: str = HEAD) -> bool:
    """Whether these tables are a newer program's and can be used unchanged by one that knows migrations up to
    `head`."""
    try:
        number, since = numbers(found)
    except ValueError:
        return False
    known = numbers(head)[0]
    return since <= known < number
