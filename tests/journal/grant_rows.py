"""Rows of grants for tests."""

from dataclasses import replace
from typing import Any

from sqlalchemy import Engine

from postern.journal.grants import Grant, connect, find, owner_of

NOW = 1_700_000_000.0
LISA, ADA = owner_of("t", "lisa"), owner_of("t", "ada")


def grant(name: str = "tickets", owner: str = LISA, **others: Any) -> Grant:
    """A grant as a consent makes it."""
    made = Grant(
        connection=name,
        owner=owner,
        account="4711",
        account_name="Lisa Ødegård",
        tenant="",
        scopes=("repo",),
        instance_url="",
        sealed="sealed-1",
        key_version="v1",
        generation=1,
        created_by=LISA,
        connected_at=NOW,
        wrote="consent-1",
        access_expires_at=NOW + 3600,
    )
    return replace(made, **others)


def put(engine: Engine, *made: Grant) -> None:
    """Connect these."""
    with engine.begin() as connection:
        for each in made:
            assert connect(connection, each)


def stored(engine: Engine, name: str = "tickets", owner: str = LISA) -> Grant:
    """A grant that is there."""
    with engine.connect() as connection:
        found = find(connection, name, owner)
    assert found is not None
    return found
