"""An authorization request is taken once, by the browser that began it, within ten minutes."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import pytest
from sqlalchemy import Engine

from postern.browser_secrets import hash_of, is_hash, is_secret, new_secret
from postern.journal import sessions
from postern.journal.authorizations import (
    KEPT_FOR,
    SWEPT,
    Authorization,
    NotTaken,
    begin,
    delete_authorizations,
    look,
    take,
)
from postern.journal.journal import Journal
from postern.journal.schema import authorizations
from tests.journal.engines import all_of

NOW = 1_700_000_000.0
STATE, BROWSER, OTHER = (hash_of(text) for text in ("state", "browser", "another"))


def begun(engine: Engine, state_hash: str = STATE, at: float = NOW) -> Authorization:
    made = Authorization(state_hash, BROWSER, "sign-in", "/console/runs", at)
    with engine.begin() as connection:
        begin(connection, made)
    return made


def taken(
    engine: Engine,
    state_hash: str = STATE,
    browser_hash: str = BROWSER,
    kind: str = "sign-in",
    request_id: str = "r1",
    now: float = NOW + 1,
) -> Authorization | NotTaken:
    with engine.begin() as connection:
        return take(connection, state_hash, browser_hash, kind, request_id, now)


def looked(
    engine: Engine,
    state_hash: str = STATE,
    browser_hash: str = BROWSER,
    kind: str = "sign-in",
    now: float = NOW + 1,
) -> NotTaken | None:
    with engine.connect() as connection:
        return look(connection, state_hash, browser_hash, kind, now)


def test_a_look_says_what_taking_it_would_and_takes_nothing(engine: Engine):
    made = begun(engine)
    assert looked(engine) is None
    assert taken(engine) == made
    assert looked(engine) is NotTaken.USED


def test_it_is_taken_once_and_again_only_by_the_same_request(engine: Engine):
    """A journal operation may run twice, if its acknowledgement is lost."""
    made = begun(engine)
    assert [taken(engine), taken(engine), taken(engine, request_id="r2")] == [made, made, NotTaken.USED]
    assert taken(engine, now=NOW + KEPT_FOR + 1) == made


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"state_hash": OTHER}, NotTaken.UNKNOWN),
        ({"kind": "connection"}, NotTaken.UNKNOWN),
        ({"browser_hash": OTHER}, NotTaken.OTHER_BROWSER),
        ({"now": NOW + KEPT_FOR}, NotTaken.EXPIRED),
        ({"state_hash": "' OR 1=1 --"}, NotTaken.UNKNOWN),
    ],
    ids=lambda case: str(case)[:30],
)
def test_what_is_not_taken_says_why_and_stays_for_its_own_browser(
    engine: Engine, change: dict[str, str], why: NotTaken
):
    made = begun(engine)
    assert looked(engine, **change) == why  # type: ignore[arg-type]
    assert taken(engine, **change) == why  # type: ignore[arg-type]
    assert taken(engine, request_id="r2") == made


def test_beginning_again_changes_nothing(engine: Engine):
    begun(engine)
    taken(engine)
    begun(engine, at=NOW + 5)
    assert taken(engine, request_id="r2") is NotTaken.USED


def test_expired_ones_go_when_others_begin_and_by_age(engine: Engine):
    for number in range(SWEPT + 5):
        begun(engine, hash_of(str(number)))
    later = NOW + KEPT_FOR + 1
    begun(engine, at=later)
    assert len(all_of(engine, authorizations, "state_hash")) == 5 + 1
    with engine.begin() as connection:
        assert [delete_authorizations(connection, later, limit) for limit in (3, 9, 9)] == [3, 2, 0]
    assert taken(engine, now=later + 1) == Authorization(STATE, BROWSER, "sign-in", "/console/runs", later)


def test_the_table_has_hashes_only():
    """A secret in place of its hash is an error of the program, before it is written."""
    secret = new_secret()
    assert (is_secret(secret), is_hash(secret)) == (True, False)
    assert (is_secret(hash_of(secret)), is_hash(hash_of(secret))) == (False, True)
    for hashes in ((secret, BROWSER), (STATE, secret)):
        with pytest.raises(ValueError, match="by hashes only"):
            Authorization(*hashes, "sign-in", "", NOW)


@pytest.mark.anyio
@pytest.mark.process
async def test_all_of_it_goes_through_the_journal(database_url: str):
    """Whose writer is another process: operations and their results are plain values."""
    made = Authorization(STATE, BROWSER, "sign-in", "/console", NOW)
    ada = sessions.Session(hash_of("id"), "t", "ada", "Ada", frozenset({"Postern.Operator"}), "::1", NOW, NOW)
    ends = sessions.Ends()
    journal = Journal(database_url)
    await journal.open()
    try:
        await journal.write(partial(begin, authorization=made))
        take_it = partial(take, state_hash=STATE, browser_hash=BROWSER, kind="sign-in", request_id="r1", now=NOW + 1)
        assert [await journal.write(take_it), await journal.write(take_it)] == [made, made]
        assert await journal.write(partial(take_it, request_id="r2")) is NotTaken.USED
        await journal.write(partial(sessions.begin, session=ada))
        journal.write_soon(partial(sessions.note_use, id_hash=ada.id_hash, now=NOW + 9, ends=ends))
        await journal.write(partial(sessions.end, id_hash=ada.id_hash, person=("t", "lisa")))
        find = partial(sessions.find, id_hash=ada.id_hash, now=NOW + 10, ends=ends)
        found = await journal.read(find)
        assert found == replace(ada, seen_at=NOW + 9)
        assert await journal.read(partial(sessions.listed, now=NOW + 10, ends=ends)) == [found]
        await journal.write(partial(sessions.end, id_hash=ada.id_hash))
        assert await journal.read(find) is None
    finally:
        await journal.aclose()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # SQLite has one writer at a time
@pytest.mark.process
def test_of_two_processes_that_take_it_at_once_one_gets_it(engine: Engine):
    """The second waits for the transaction of the first."""
    made = begun(engine)
    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(lambda name: taken(engine, request_id=name), "abcd"))
    assert sorted(map(str, outcomes)) == sorted([str(made), *["used"] * 3])
