"""What the access review reads of the journal, in both databases."""

import json

from sqlalchemy import Engine, insert

from postern.ids import time_of
from postern.journal.known_callers import WORKFLOW, Fact, Uses, caller_subject, note
from postern.journal.reading.access_facts import AccessFacts, Link, read_facts
from postern.journal.schema import revocations, signed_urls
from tests.journal.recorded import id_number, put, run_row

NOW = 1_800_000_000.0
DAY = 86400.0
BY = json.dumps({"kind": "user"})


def read(engine: Engine, *anonymous: str) -> AccessFacts:
    with engine.begin() as connection:
        return read_facts(connection, NOW, anonymous)


def test_an_empty_journal_knows_nothing(engine: Engine):
    assert read(engine, "hello") == AccessFacts()


def test_uses_are_by_caller_and_workflow(engine: Engine):
    with engine.begin() as connection:
        fact = Fact(caller_subject("t", "ada"), WORKFLOW, "pay")
        note(connection, "writer", 1, NOW - DAY, {fact: Uses(NOW - DAY, NOW, 3)})
    found = read(engine)
    assert found.known_since == NOW - DAY
    assert [(use.tenant_id, use.object_id, use.workflow, use.count) for use in found.uses] == [("t", "ada", "pay", 3)]


def test_links_that_work_are_there_and_no_others(engine: Engine):
    row = {"workflow": "hook", "key": "primary", "fixed": "[]", "made_by": BY, "made_at": NOW, "uses": 2}
    rows: list[dict[str, object]] = [
        {"id": "works", "expires_at": NOW + 1},
        {"id": "for-ever", "used_at": NOW - DAY},
        {"id": "ended", "expires_at": NOW},
        {"id": "revoked", "revoked_at": NOW - 1, "revoked_by": BY},
    ]
    with engine.begin() as connection:
        for each in rows:
            connection.execute(insert(signed_urls).values({**row, **each}))
    assert read(engine).links == (
        Link("hook", "for-ever", "primary", None, 2, NOW - DAY),
        Link("hook", "works", "primary", NOW + 1, 2, None),
    )


def test_callers_and_clients_with_a_revocation_in_effect_are_there(engine: Engine):
    row = {"tenant_id": "t", "name": "", "not_before": NOW - DAY, "reason": "", "made_by": BY, "made_at": NOW - DAY}
    rows: list[dict[str, object]] = [
        {"kind": "caller", "subject": "ada"},
        {"kind": "client", "subject": "app"},
        {"kind": "token", "subject": "uti"},
        {"kind": "caller", "subject": "lifted", "lifted_at": NOW - 1, "lifted_by": BY},
        {"kind": "client", "subject": "long ago", "not_before": NOW - 400 * DAY},
    ]
    with engine.begin() as connection:
        for number, each in enumerate(rows):
            connection.execute(insert(revocations).values({**row, "id": str(number), **each}))
    assert read(engine).revoked == {"ada", "app"}


def test_the_last_run_of_a_workflow_is_by_its_id(engine: Engine):
    with engine.begin() as connection:
        put(connection, *(run_row(number) for number in (1, 2, 3)))
    assert read(engine, "hello", "other").last_runs == {"hello": time_of(id_number(3))}
