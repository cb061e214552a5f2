"""Sealing grants anew beside servers that renew them, and what a restore leaves of them."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import Connection, Engine

from postern.browser_secrets import hash_of
from postern.connections.grants.reasons import REASONS
from postern.journal.database import sqlite_copies
from postern.journal.grant_upkeep import (
    BATCH,
    RESTORED,
    Sealed,
    close_restored,
    count_sealed_otherwise,
    reseal,
    sealed_otherwise,
)
from postern.journal.grants import HISTORY, Renewed, State, break_, connect, renew, take
from postern.journal.invitations import Invitation, invite
from postern.journal.schema import grants, invitations
from tests.databases import put_sqlite
from tests.journal.engines import all_of, empty_journal
from tests.journal.grant_rows import ADA, LISA, NOW, grant, put, stored

pytestmark = pytest.mark.slow

T = TypeVar("T")

TAKE: Callable[..., bool] = partial(
    take, name="tickets", owner=LISA, generation=1, before="", attempt="a1", holder="node-1"
)
RENEW: Callable[..., bool] = partial(
    renew,
    name="tickets",
    owner=LISA,
    generation=1,
    attempt="a1",
    renewed=Renewed("sealed-2", "v1", None, None, ()),
    now=NOW,
)
FORMER = Sealed("tickets", LISA, "sealed-1", "v1")
RESEAL: Callable[..., bool] = partial(reseal, former=FORMER, sealed="resealed", key_version="v2")


def done(engine: Engine, *operations: Callable[[Connection], T]) -> list[T]:
    results = []
    for operation in operations:
        with engine.begin() as connection:
            results.append(operation(connection))
    return results


def broken(engine: Engine, reason: str, **others: Any) -> None:
    put(engine, grant(**others))
    where = {"name": others.get("name", "tickets"), "owner": LISA, "generation": 1, "attempt": ""}
    assert done(engine, partial(break_, **where, reason=reason, claims="", now=NOW)) == [True]


def test_those_of_other_versions_are_read_in_pages_that_go_on_after_any_row(engine: Engine):
    put(engine, *(grant(name, owner) for name in ("a", "b", "b-c") for owner in ("", LISA)))
    put(engine, grant("new", key_version="v2"), grant("restored", sealed=""))
    seen: list[tuple[str, str]] = []
    after = ("", "")
    while rows := done(engine, partial(sealed_otherwise, key_version="v2", limit=2, after=after))[0]:
        after = rows[-1].name, rows[-1].owner
        seen += [(row.name, row.owner) for row in rows]
    expected = sorted((name, owner) for name in ("a", "b", "b-c") for owner in ("", LISA))
    assert sorted(seen) == expected
    assert done(engine, partial(count_sealed_otherwise, key_version="v2")) == [6]
    assert "sealed-1" not in repr(rows or [FORMER])


def test_sealing_anew_changes_the_sealed_value_only_and_may_be_repeated(engine: Engine):
    made = grant(attempt="", refresh_expires_at=NOW + 9)
    put(engine, made)
    before = stored(engine)
    done(engine, TAKE)
    assert done(engine, RESEAL, RESEAL) == [True, True]
    found = stored(engine)
    assert (found.sealed, found.key_version, found.attempt) == ("resealed", "v2", "a1")
    assert (found.generation, found.history, found.state) == (1, before.history, State.CONNECTED)
    assert done(engine, RENEW) == [True]  # a refresh that was under way is written as ever
    assert stored(engine).sealed == "sealed-2"


def test_tokens_that_were_written_meanwhile_are_left_alone(engine: Engine):
    put(engine, grant())
    done(engine, TAKE, RENEW)
    assert done(engine, RESEAL, RESEAL) == [False, False]
    assert (stored(engine).sealed, stored(engine).key_version) == ("sealed-2", "v1")
    assert done(engine, partial(reseal, former=FORMER._replace(owner=ADA), sealed="x", key_version="v2")) == [False]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # SQLite has one writer at a time
@pytest.mark.process
def test_sealing_anew_beside_a_refresh_loses_no_new_tokens(engine: Engine):
    put(engine, grant())
    done(engine, TAKE)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda operation: done(engine, operation), [RESEAL, RENEW, RESEAL, RESEAL]))
    assert (stored(engine).sealed, stored(engine).generation) == ("sealed-2", 2)


def test_after_a_restore_no_grant_has_tokens_and_each_says_why(engine: Engine):
    put(engine, *(grant(f"c{number:03}") for number in range(BATCH + 1)))
    broken(engine, "revoked")
    done(engine, partial(TAKE, name="c000"))
    assert done(engine, partial(close_restored, now=NOW), partial(close_restored, now=NOW)) == [BATCH + 2, 0]
    rows = all_of(engine, grants, "connection")
    assert {(row["sealed"], row["key_version"], row["state"], row["reason"]) for row in rows} == {
        ("", "", "Broken", RESTORED)
    }
    assert {(row["attempt"], row["claims"], row["access_expires_at"]) for row in rows} == {(None, None, None)}
    [event] = [event for event in stored(engine, "c000").history if event.what == "broken"]
    assert (event.at, event.reason) == (NOW, RESTORED)
    assert len(stored(engine).history) <= HISTORY


def test_a_restored_grant_is_connected_again_by_the_same_account_only(engine: Engine):
    put(engine, grant())
    done(engine, partial(close_restored, now=NOW))
    again = grant(wrote="consent-2", connected_at=NOW + 60, sealed="sealed-2")
    other = grant(wrote="consent-3", connected_at=NOW + 61, account="4712")
    assert done(engine, partial(connect, grant=other), partial(connect, grant=again)) == [False, True]
    assert (stored(engine).state, stored(engine).sealed, stored(engine).generation) == (State.CONNECTED, "sealed-2", 2)


def test_a_restored_copy_has_no_tokens_and_no_invitations(tmp_path: Path):
    url = put_sqlite(tmp_path / "postern.db")
    engine = empty_journal(url)
    put(engine, grant(sealed="TOKEN-MARKER"))
    done(engine, partial(invite, invitation=Invitation(hash_of("x"), "tickets", LISA, ADA, NOW)))
    with sqlite_copies.new_file(tmp_path / "copy") as made:
        sqlite_copies.copy(tmp_path / "postern.db", made)
        made.replace(tmp_path / "copy")
    engine.dispose()
    sqlite_copies.put_in_place(tmp_path / "copy", tmp_path / "postern.db", ".old")
    engine = empty_journal(url)
    assert (stored(engine).sealed, stored(engine).reason) == ("", RESTORED)
    assert all_of(engine, invitations, "hash") == []
    engine.dispose()


def test_the_reason_is_in_the_table():
    assert RESTORED in REASONS
