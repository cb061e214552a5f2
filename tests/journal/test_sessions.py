"""Sessions by the hash of their id: they end by age, by rest, by hand, and with a restore."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, create_engine

import postern.journal
from postern.browser_secrets import hash_of, new_secret
from postern.journal.authorizations import KEPT_FOR, SWEPT
from postern.journal.database import sqlite_copies
from postern.journal.schema import metadata, sessions
from postern.journal.sessions import (
    SKEW,
    Ends,
    Session,
    begin,
    delete_sessions,
    end,
    find,
    listed,
    note_use,
)
from tests.databases import put_sqlite
from tests.journal.engines import add, all_of, empty_journal

pytestmark = pytest.mark.slow

NOW = 1_700_000_000.0
ENDS = Ends(idle=1800, life=43200)
ADA, LISA = ("t", "ada"), ("t", "lisa")


def session(name: str = "one", person: tuple[str, str] = ADA, at: float = NOW, seen: float = NOW) -> Session:
    return Session(hash_of(name), *person, "Ada Okafor", frozenset({"Postern.Operator"}), "192.0.2.1", at, seen)


def signed_in(engine: Engine, *made: Session) -> None:
    with engine.begin() as connection:
        for each in made:
            begin(connection, each)


def found(engine: Engine, name: str = "one", now: float = NOW + 1) -> Session | None:
    with engine.begin() as connection:
        return find(connection, hash_of(name), now, ENDS)


def names(engine: Engine, person: tuple[str, str] | None = None, now: float = NOW) -> list[str]:
    known = {hash_of(name): name for name in ("one", "two", "three")}
    with engine.begin() as connection:
        return [known[each.id_hash] for each in listed(connection, now, ENDS, person)]


def test_a_session_is_found_by_the_hash_of_its_id_with_all_that_it_has(engine: Engine):
    made = session()
    signed_in(engine, made, made)
    assert found(engine) == made
    assert found(engine, "two") is None
    assert found(engine, hash_of("one")) is None


@pytest.mark.parametrize(
    ("at", "seen", "lives"),
    [
        (0, 0, True),
        (-43199, -1, True),
        (-43200, -1, False),
        (-1900, -1799, True),
        (-1900, -1800, False),
        (SKEW, SKEW, True),
        (SKEW + 1, 0, False),
        (0, SKEW + 1, False),
    ],
)
def test_it_ends_by_age_and_by_rest_and_one_of_the_future_never_began(
    engine: Engine, at: float, seen: float, lives: bool
):
    signed_in(engine, session(at=NOW + at, seen=NOW + seen))
    assert (found(engine, now=NOW) is not None) is lives
    assert names(engine) == (["one"] if lives else [])


@given(st.floats(-1e5, 1e5), st.floats(-1e5, 1e5), st.floats(0, 1e5), st.floats(0, 1e5))
def test_the_condition_in_sql_is_that_of_the_value(at: float, seen: float, idle: float, life: float):
    made, ends = session(at=NOW + at, seen=NOW + seen), Ends(idle, life)
    engine = create_engine("sqlite://")
    metadata.create_all(engine, tables=[sessions])
    with engine.begin() as connection:
        begin(connection, made)
        assert (listed(connection, NOW, ends) == [made]) is made.lives(NOW, ends)
    engine.dispose()


def test_use_is_noted_forward_only_and_wakes_no_session_that_ended(engine: Engine):
    signed_in(engine, session())
    with engine.begin() as connection:
        for moment in (NOW + 100, NOW + 50):
            note_use(connection, hash_of("one"), moment, ENDS)
    assert found(engine) == session(seen=NOW + 100)
    with engine.begin() as connection:
        note_use(connection, hash_of("one"), NOW + 100 + ENDS.idle, ENDS)
    assert found(engine, now=NOW + 101 + ENDS.idle) is None


def test_a_list_has_ones_own_or_all_the_latest_use_first(engine: Engine):
    signed_in(engine, session(seen=NOW - 9), session("two", LISA), session("three", seen=NOW - 5))
    assert names(engine) == ["two", "three", "one"]
    assert names(engine, ADA) == ["three", "one"]
    assert names(engine, ("another tenant", "ada")) == []


def test_one_ends_ones_own_and_operators_end_any(engine: Engine):
    signed_in(engine, session(), session("two", LISA))
    with engine.begin() as connection:
        end(connection, hash_of("one"), LISA)
        end(connection, hash_of("two"), LISA)
        end(connection, hash_of("two"), LISA)
    assert names(engine) == ["one"]
    with engine.begin() as connection:
        end(connection, hash_of("one"))
    assert names(engine) == []


def test_those_that_ended_are_deleted_and_no_others(engine: Engine):
    rows = [session(str(number), at=NOW - 43200) for number in range(3)]
    signed_in(engine, *rows, session("two", seen=NOW - 1800), session())
    with engine.begin() as connection:
        assert [delete_sessions(connection, NOW, ENDS, limit) for limit in (3, 9, 9)] == [3, 1, 0]
    assert names(engine) == ["one"]


def test_a_session_is_stored_by_the_hash_of_its_id_only():
    """An id in place of its hash is an error of the program, before it is written."""
    with pytest.raises(ValueError, match="by the hash of its id only"):
        replace(session(), id_hash=new_secret())


def test_a_restore_ends_all_sessions(tmp_path: Path):
    """One that was signed out after the backup must not come back."""
    url = put_sqlite(tmp_path / "postern.db")
    engine = empty_journal(url)
    signed_in(engine, session())
    hashes = dict.fromkeys(("state_hash", "browser_hash"), hash_of("x"))
    add(engine, metadata.tables["authorizations"], {**hashes, "kind": "sign-in", "about": "", "created_at": NOW})
    with sqlite_copies.new_file(tmp_path / "copy") as made:
        sqlite_copies.copy(tmp_path / "postern.db", made)
        made.replace(tmp_path / "copy")
    assert found(engine) == session()
    engine.dispose()
    sqlite_copies.put_in_place(tmp_path / "copy", tmp_path / "postern.db", ".old")
    engine = empty_journal(url)
    assert all_of(engine, sessions, "id_hash") == all_of(engine, metadata.tables["authorizations"], "state_hash") == []
    engine.dispose()


def test_the_page_of_the_journal_states_how_long_they_are_kept():
    page = Path(postern.journal.__file__).with_name("README.md").read_text(encoding="utf-8")
    assert (Ends().life, Ends().idle, KEPT_FOR, SWEPT) == (12 * 3600, 30 * 60, 600, 20)
    assert "12 hours, or 30 minutes without use" in page
    assert "ten minutes; each start deletes 20 that expired" in page
