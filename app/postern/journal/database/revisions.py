"""The migrations of the journal's tables by their names, and which tables this program can work on. Pure.

A name is `0003_for_0002`: the tables of migration 0003, on which programs work that know migrations up to 0002 or
later. It is kept in the database as Alembic's version, so that an older program reads there whether newer tables suit
it. Names without `_for_` suit programs that know them, and no older ones.
"""

import re

MIGRATIONS = ("0001", "0002")
"""All migrations, oldest first."""
HEAD = MIGRATIONS[-1]
"""A database that has this one is not looked at further, so that Alembic need not be imported."""

_NAME = re.compile(r"([0-9]{4})(?:_for_([0-9]{4}))?")


def numbers(revision: str) -> tuple[str, str]:
    """The migration's own number, and that of the oldest one whose programs work on its tables. Raises ValueError where
    it is no name of a migration."""
    found = _NAME.fullmatch(revision)
    if found is None:
        raise ValueError(revision)
    return found[1], found[2] or found[1]


def is_newer(found: str, head: str = HEAD) -> bool:
    """Whether these tables are a newer program's, on which one that knows migrations up to `head` can work as they
    are."""
    try:
        number, since = numbers(found)
    except ValueError:
        return False
    known = numbers(head)[0]
    return since <= known < number
