"""The table of signed URLs: each id once, uses counted once, and nothing that could be used."""

from dataclasses import replace

from sqlalchemy import Engine

from postern.journal.restored import settle
from postern.journal.signed_urls import (
    RESTORED,
    SignedUrl,
    Use,
    delete_signed_urls,
    find,
    listed,
    make,
    note_uses,
    revoke,
)

NOW = 1_700_000_000.0
MADE = SignedUrl("orders", "partner-x", "primary", "/eu", ("customer",), '{"kind": "user"}', NOW, NOW + 100)


def made(engine: Engine, url: SignedUrl = MADE) -> bool:
    with engine.begin() as connection:
        return make(connection, url)


def found(engine: Engine, workflow: str = "orders", link: str = "partner-x") -> SignedUrl | None:
    with engine.begin() as connection:
        return find(connection, workflow, link)


def test_it_is_read_as_it_was_stored_and_may_be_stored_again(engine: Engine):
    """A journal operation may run twice, if its acknowledgement is lost."""
    assert [made(engine), made(engine)] == [True, True]
    assert found(engine) == MADE
    assert found(engine, "order") is None


def test_an_id_is_given_once_in_a_workflow(engine: Engine):
    made(engine)
    assert not made(engine, replace(MADE, made_at=NOW + 1))
    assert made(engine, replace(MADE, workflow="others", expires_at=None, path=None))
    assert found(engine) == MADE


def test_the_first_who_revokes_it_stays_known(engine: Engine):
    made(engine)
    for by, now in (("ada", NOW + 1), ("bob", NOW + 2)):
        with engine.begin() as connection:
            gone = revoke(connection, "orders", "partner-x", by, now)
        assert gone == replace(MADE, revoked_by="ada", revoked_at=NOW + 1)
    with engine.begin() as connection:
        assert revoke(connection, "orders", "unknown", "ada", NOW) is None
    assert not made(engine, replace(MADE, made_at=NOW + 3))


def test_uses_add_up_and_a_repetition_adds_nothing(engine: Engine):
    made(engine)
    for uses in ([Use("orders", "partner-x", 2, NOW)], [Use("orders", "partner-x", 3, NOW + 5)]):
        for _ in range(2):
            with engine.begin() as connection:
                note_uses(connection, [*uses, Use("orders", "unknown", 1, NOW)])
    assert found(engine) == replace(MADE, uses=5, used_at=NOW + 5)


def test_they_are_listed_in_pages_by_workflow_and_id(engine: Engine):
    for workflow, link in (("b", "1"), ("a", "2"), ("a", "1"), ("b", "0")):
        made(engine, replace(MADE, workflow=workflow, id=link))
    with engine.begin() as connection:
        first = listed(connection, limit=3)
        rest = listed(connection, after=(first[-1].workflow, first[-1].id))
        of_one = listed(connection, "b")
    assert [(row.workflow, row.id) for row in [*first, *rest]] == [("a", "1"), ("a", "2"), ("b", "0"), ("b", "1")]
    assert [row.id for row in of_one] == ["0", "1"]


def test_a_restore_revokes_all_and_leaves_those_revoked_as_they_were(engine: Engine):
    made(engine)
    made(engine, replace(MADE, id="gone", revoked_by="ada", revoked_at=NOW))
    with engine.begin() as connection:
        settle(connection)
    restored = found(engine)
    assert restored is not None
    assert restored.revoked_by == RESTORED
    assert found(engine, link="gone") == replace(MADE, id="gone", revoked_by="ada", revoked_at=NOW)


def test_expired_ones_are_deleted_and_those_without_an_expiry_never(engine: Engine):
    """The id of one that does not expire must not be given to another: its URL would be accepted again."""
    for link, expires_at in (("old", NOW - 1), ("new", NOW), ("never", None)):
        made(engine, replace(MADE, id=link, expires_at=expires_at, revoked_by="ada", revoked_at=NOW - 50))
    with engine.begin() as connection:
        assert [delete_signed_urls(connection, NOW, 10) for _ in range(2)] == [1, 0]
        assert [row.id for row in listed(connection)] == ["never", "new"]
