"""The table of revocations: what is made, taken back, in effect and deleted, on each kind of database."""

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine

from postern.access import Caller
from postern.browser_secrets import hash_of
from postern.journal import revocations as table
from postern.journal import signed_urls
from postern.journal.reading.revocations import Left, kinds_of, left_by, tenants_of
from postern.journal.revocations import EFFECT_SECONDS, Kind, Revocation, Rule
from postern.journal.run import actor
from postern.journal.schema import grants, invitations, revocations, runs, sessions
from postern.journal.signed_urls import SignedUrl
from tests.journal.engines import add, all_of, run_row

pytestmark = pytest.mark.slow

NOW = 1_700_000_000.0
LISA = Rule(Kind.CALLER, "t", "lisa", NOW)
MADE = Revocation("id-1", LISA, "lisa", "stolen laptop", '{"kind": "user"}', NOW)


def made(engine: Engine, revocation: Revocation = MADE) -> bool:
    with engine.begin() as connection:
        return table.make(connection, revocation)


def rules(engine: Engine, now: float = NOW) -> set[Rule]:
    with engine.connect() as connection:
        return set(table.rules(connection, now))


def lifted(engine: Engine, revocation_id: str = "id-1", by: str = "{}", now: float = NOW + 5) -> Revocation | None:
    with engine.begin() as connection:
        return table.lift(connection, revocation_id, by, now)


def session(name: str, object_id: str, tenant: str = "t") -> dict[str, Any]:
    times = {"created_at": NOW - 100, "seen_at": NOW - 10}
    return {
        "id_hash": hash_of(name),
        "tenant_id": tenant,
        "object_id": object_id,
        "name": "",
        "roles": "[]",
        "address": "",
        **times,
    }


def invitation(name: str, owner: str, by: str = "t/ada", used_by: str | None = None) -> dict[str, Any]:
    return {
        "hash": hash_of(name),
        "connection": "tickets",
        "owner": owner,
        "created_by": by,
        "created_at": NOW,
        "used_by": used_by,
    }


def grant_row(owner: str, by: str) -> dict[str, Any]:
    return {
        "connection": "crm",
        "owner": owner,
        "account": "a",
        "account_name": "",
        "tenant": "",
        "scopes": "[]",
        "instance_url": "",
        "sealed": "s",
        "key_version": "v",
        "generation": 1,
        "created_by": by,
        "connected_at": NOW,
        "state": "Connected",
        "history": "[]",
    }


def test_what_is_made_is_in_effect_once_however_often_it_is_repeated(engine: Engine):
    assert made(engine)
    assert made(engine)
    with engine.connect() as connection:
        assert table.find(connection, "id-1") == MADE
        assert table.listed(connection, NOW, 10) == [MADE]
    assert rules(engine) == {LISA}


def test_what_is_taken_back_has_no_effect_and_keeps_who_did_it_first(engine: Engine):
    made(engine)
    first = lifted(engine, by='{"name": "ada"}')
    assert first == replace(MADE, lifted_by='{"name": "ada"}', lifted_at=NOW + 5)
    assert lifted(engine, by='{"name": "bo"}', now=NOW + 9) == first
    assert rules(engine) == set()
    with engine.connect() as connection:
        assert table.listed(connection, NOW, 10) == []
        assert table.listed(connection, NOW, 10, active=False) == [first]


def test_what_was_never_made_cannot_be_taken_back(engine: Engine):
    assert lifted(engine, "id-2") is None


def test_a_person_loses_sessions_and_open_links_at_once_and_nobody_else_does(engine: Engine):
    add(engine, sessions, session("1", "lisa"), session("2", "gil"), session("3", "lisa", tenant="other"))
    add(
        engine,
        invitations,
        invitation("for lisa", "t/lisa"),
        invitation("by lisa", "t/gil", by="t/lisa"),
        invitation("used", "t/lisa", used_by="r"),
        invitation("for gil", "t/gil"),
    )
    made(engine)
    assert {row["id_hash"] for row in all_of(engine, sessions, "id_hash")} == {hash_of("2"), hash_of("3")}
    left = {row["hash"] for row in all_of(engine, invitations, "hash")}
    assert left == {hash_of("used"), hash_of("for gil")}


def test_a_revoked_client_or_token_ends_no_session(engine: Engine):
    add(engine, sessions, session("1", "lisa"))
    made(engine, replace(MADE, rule=Rule(Kind.CLIENT, "", "lisa", NOW)))
    made(engine, replace(MADE, id="id-2", rule=Rule(Kind.TOKEN, "", "lisa", NOW)))
    assert len(all_of(engine, sessions, "id_hash")) == 1


@pytest.mark.parametrize(
    ("rule", "later", "stays"),
    [
        (Rule(Kind.CALLER, "t", "x", NOW), 400 * 86_400, True),
        (Rule(Kind.CLIENT, "", "x", NOW), EFFECT_SECONDS - 1, True),
        (Rule(Kind.CLIENT, "", "x", NOW), EFFECT_SECONDS + 1, False),
        (Rule(Kind.CLIENT, "", "x", NOW, NOW + 10 * 86_400), EFFECT_SECONDS + 1, True),
        (Rule(Kind.CLIENT, "", "x", NOW, NOW + 10 * 86_400), 11 * 86_400, False),
        (Rule(Kind.TOKEN, "", "x", NOW), EFFECT_SECONDS + 1, False),
    ],
)
def test_a_revocation_is_in_effect_for_as_long_as_it_can_refuse_something(engine: Engine, rule, later, stays):
    revocation = replace(MADE, rule=rule)
    made(engine, revocation)
    assert rules(engine, NOW + later) == ({rule} if stays else set())
    assert revocation.in_effect(NOW + later) is stays


def test_retention_deletes_what_was_taken_back_long_ago_or_cannot_refuse_anything(engine: Engine):
    kept = [
        MADE,
        replace(MADE, id="id-2", rule=Rule(Kind.CLIENT, "", "x", NOW)),
        replace(MADE, id="id-3", rule=Rule(Kind.CLIENT, "", "y", NOW - 2 * EFFECT_SECONDS, NOW + 60)),
    ]
    gone = [
        replace(MADE, id="id-4"),
        replace(MADE, id="id-5", rule=Rule(Kind.TOKEN, "", "x", NOW - 2 * EFFECT_SECONDS)),
        replace(MADE, id="id-6", rule=Rule(Kind.CLIENT, "", "z", NOW - 2 * EFFECT_SECONDS, NOW - 60)),
    ]
    for each in kept + gone:
        made(engine, each)
    lifted(engine, "id-4", now=NOW - 5)
    with engine.begin() as connection:
        assert table.delete_revocations(connection, NOW, 10) == 3
        assert table.delete_revocations(connection, NOW, 10) == 0
    assert [row["id"] for row in all_of(engine, revocations)] == ["id-1", "id-2", "id-3"]


def test_there_is_a_limit_which_a_repeated_write_does_not_meet(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(table, "MOST_ACTIVE", 1)
    assert made(engine)
    assert made(engine)
    assert not made(engine, replace(MADE, id="id-2"))
    lifted(engine)
    assert made(engine, replace(MADE, id="id-3"))


def test_the_newest_comes_first_and_pages_follow_one_another(engine: Engine):
    for number in range(5):
        made(engine, replace(MADE, id=f"id-{number}"))
    with engine.connect() as connection:
        first = table.listed(connection, NOW, 3)
        assert [each.id for each in first] == ["id-4", "id-3", "id-2"]
        assert [each.id for each in table.listed(connection, NOW, 3, first[-1].id)] == ["id-1", "id-0"]


def test_an_id_is_known_by_the_records_that_have_it(engine: Engine):
    add(engine, runs, run_row("r1", object_id="lisa", client_id="cli", tenant_id="t"))
    with engine.connect() as connection:
        assert kinds_of(connection, "lisa") == {Kind.CALLER}
        assert kinds_of(connection, "cli") == {Kind.CLIENT}
        assert kinds_of(connection, "other") == frozenset()


def test_the_tenants_of_an_id_are_those_of_its_latest_run_its_sessions_and_its_grants(engine: Engine):
    add(engine, runs, run_row("r1", object_id="lisa", tenant_id="before"))
    add(engine, runs, run_row("r2", object_id="lisa", tenant_id="t1"))
    add(engine, sessions, session("s1", "lisa", "t2"))
    add(engine, grants, grant_row("t3/lisa", "t3/lisa"))
    with engine.connect() as connection:
        assert tenants_of(connection, "lisa") == {"t1", "t2", "t3"}
        assert tenants_of(connection, "isa") == frozenset()


def test_runs_in_progress_and_shared_connections_of_the_person_are_named(engine: Engine):
    of_lisa = {"object_id": "lisa", "client_id": "cli", "tenant_id": "t"}
    add(engine, runs, run_row("r1", **of_lisa), run_row("r2", state="Succeeded", **of_lisa))
    add(engine, runs, run_row("r3"))
    grant = grant_row("", "t/lisa")
    add(engine, grants, grant)
    with engine.connect() as connection:
        assert left_by(connection, Kind.CALLER, "t", "lisa", NOW) == Left(("r1",), False, ("crm",))
        assert left_by(connection, Kind.CLIENT, "", "cli", NOW) == Left(("r1",))
        assert left_by(connection, Kind.TOKEN, "", "uti", NOW) == Left()


def test_signed_urls_that_still_work_and_were_made_with_the_access_are_named(engine: Engine):
    lisas = actor(Caller("user", "lisa", "t", "cli"))
    deceiving = actor(Caller("user", "bo", "t", "other", name='"object_id": "lisa"'))
    rows = {
        "active": (lisas, NOW + 9, None),
        "for-ever": (lisas, None, None),
        "expired": (lisas, NOW - 9, None),
        "revoked": (lisas, None, NOW - 9),
        "of-another": (deceiving, None, None),
    }
    with engine.begin() as connection:
        for name, (by, until, at) in rows.items():
            row = SignedUrl("orders", name, "primary", None, (), by, NOW - 99, until, revoked_at=at)
            assert signed_urls.make(connection, row)
    with engine.connect() as connection:
        for kind, subject in ((Kind.CALLER, "lisa"), (Kind.CLIENT, "cli")):
            left = left_by(connection, kind, "t", subject, NOW)
            assert left.urls == (("orders", "active"), ("orders", "for-ever"))
        assert left_by(connection, Kind.CALLER, "t", "li_a", NOW).urls == ()


@pytest.mark.parametrize(
    ("owner", "since", "refused"),
    [
        ("t/lisa", NOW - 1, True),
        ("t/lisa", NOW + 299, True),
        ("t/lisa", NOW + 300, False),
        ("t/gil", NOW - 1, False),
        ("other/lisa", NOW - 1, False),
        ("", NOW - 1, False),
    ],
)
def test_a_grant_is_refused_by_its_owner_and_since_when_it_is_connected(engine: Engine, owner, since, refused):
    made(engine)
    with engine.connect() as connection:
        assert table.refuses_owner(connection, owner, since, NOW + 900) is refused


def test_a_grant_is_refused_while_its_owner_is_barred_and_not_once_it_is_taken_back(engine: Engine):
    made(engine, replace(MADE, rule=replace(LISA, bars_until=NOW + 3600)))
    with engine.connect() as connection:
        assert table.refuses_owner(connection, "t/lisa", NOW + 400, NOW + 900)
        assert not table.refuses_owner(connection, "t/lisa", NOW + 400, NOW + 3600)
    lifted(engine)
    with engine.connect() as connection:
        assert not table.refuses_owner(connection, "t/lisa", NOW - 1, NOW + 900)
