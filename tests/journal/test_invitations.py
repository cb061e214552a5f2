"""An invitation is used once, by the person that it is for, for its connection, within four hours."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine

from postern.browser_secrets import hash_of, new_secret
from postern.journal.invitations import KEPT_FOR, Invitation, delete_invitations, invite, look, use
from postern.journal.schema import invitations
from tests.journal.engines import all_of

NOW = 1_700_000_000.0
SECRET = hash_of("secret")
MADE = Invitation(SECRET, "tickets", "t/lisa", "t/ada", NOW)


def invited(engine: Engine, made: Invitation = MADE) -> None:
    with engine.begin() as connection:
        invite(connection, made)


def seen(engine: Engine, **change: Any) -> Invitation | None:
    asked: dict[str, Any] = {"hash_": SECRET, "name": "tickets", "owner": "t/lisa", "now": NOW + 1}
    with engine.connect() as connection:
        return look(connection, **asked | change)


def used(engine: Engine, request_id: str = "r1", **change: Any) -> bool:
    asked: dict[str, Any] = {"hash_": SECRET, "name": "tickets", "owner": "t/lisa", "now": NOW + 1}
    with engine.begin() as connection:
        return use(connection, request_id=request_id, **asked | change)


def test_a_look_says_what_using_it_would_and_uses_nothing(engine: Engine):
    """Mail scanners open links, with GET and HEAD, and any number of times."""
    invited(engine)
    assert [seen(engine), seen(engine)] == [MADE, MADE]
    assert used(engine)
    assert seen(engine) is None


def test_it_is_used_once_and_again_only_by_the_same_request(engine: Engine):
    """A journal operation may run twice, if its acknowledgement is lost."""
    invited(engine)
    assert [used(engine), used(engine), used(engine, "r2")] == [True, True, False]
    assert used(engine, now=NOW + KEPT_FOR + 1)
    invited(engine)
    assert not used(engine, "r2")


OTHERS: list[dict[str, Any]] = [
    {"hash_": hash_of("another")},
    {"hash_": "' OR 1=1 --"},
    {"name": "other"},
    {"owner": "t/ada"},
    {"owner": "t2/lisa"},
    {"owner": ""},
    {"now": NOW + KEPT_FOR},
]


def test_it_is_not_there_for_others_nor_elsewhere_nor_later_and_stays_for_its_own_person(
    engine: Engine,
):
    invited(engine)
    for change in OTHERS:
        assert seen(engine, **change) is None
        assert not used(engine, **change)
    assert used(engine, "r2")


def test_expired_ones_are_deleted_used_or_not_and_no_others(engine: Engine):
    for number in range(4):
        invited(engine, replace(MADE, hash=hash_of(str(number))))
    used(engine, hash_=hash_of("0"))
    later = NOW + KEPT_FOR + 1
    invited(engine, replace(MADE, created_at=later))
    with engine.begin() as connection:
        assert [delete_invitations(connection, later, limit) for limit in (3, 9, 9)] == [3, 1, 0]
    assert [row["hash"] for row in all_of(engine, invitations, "hash")] == [SECRET]


def test_the_table_has_hashes_only():
    """A secret in place of its hash is an error of the program, before it is written."""
    with pytest.raises(ValueError, match="by the hash of its secret only"):
        replace(MADE, hash=new_secret())


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # SQLite has one writer at a time
@pytest.mark.process
def test_of_two_that_use_it_at_once_one_does(engine: Engine):
    """The second waits for the transaction of the first."""
    invited(engine)
    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(lambda name: used(engine, name), "abcd")) == [False] * 3 + [True]
