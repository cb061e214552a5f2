"""The verifier, against one who can write the database and forges what retention says: without the key, with all
checkpoints kept elsewhere."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, delete, insert, select, update

from postern.journal.audit_chain import body_hash, canonical, hash_after
from postern.journal.reading.audit_lines import audit_lines
from postern.journal.security_tables import audit_chains, audit_checkpoints, audit_events
from postern.security.audit.verifier import Verifier, public_key, verify_export
from tests.security.audit.logs import a_key
from tests.security.audit.test_verifier import Log, edit, log, rows, set_to, shorten

pytestmark = pytest.mark.slow

__all__ = ["log"]


def forge(connection: Connection, node: str, at: float, kind: str, **pruned: Any) -> None:
    """Add an event to the end of a chain, or of one that is new."""
    chains, fields = audit_chains.c, {"deleted": {}, "pruned": pruned}
    chain = connection.execute(select(audit_chains).where(chains.node == node)).mappings().one_or_none()
    number, before = (chain["last"] + 1, chain["head"]) if chain is not None else (1, "0" * 64)
    body = canonical(
        {"at": at, "fields": fields, "kind": kind, "node": node, "number": number, "subject": "", "workflow": ""}
    )
    event = {"node": node, "number": number, "at": at, "kind": kind, "body": body, "hash": hash_after(before, body)}
    connection.execute(insert(audit_events).values(event))
    end = {"last": number, "head": event["hash"], "last_at": at}
    if chain is not None:
        connection.execute(update(audit_chains).where(chains.node == node).values(end))
    else:
        first = {"node": node, "first": 1, "before": before, "checkpoints": 0}
        connection.execute(insert(audit_chains).values({**first, **end}))


def forge_a_retention_of_all(connection: Connection) -> None:
    """The whole log is gone but for an event that says that it was old."""
    for table in (audit_events, audit_chains, audit_checkpoints):
        connection.execute(delete(table))
    forge(connection, "node-forged", 1.0, "retention", before=1e12, events={}, checkpoints={})


def forge_a_retention_of_a_beginning(connection: Connection, node: str = "node-forged") -> None:
    """The beginning of a chain is gone, and an event says so that its process did not note. The process that runs names
    it in its next checkpoint, because it is in the table."""
    shorten(connection, "node-old", 13)
    before = connection.execute(select(audit_chains.c.before).where(audit_chains.c.node == "node-old")).scalar()
    forge(connection, node, 1.0, "retention", before=0.0, events={"node-old": [12, before]}, checkpoints={})
    found = {row["node"]: [row["last"], row["head"]] for row in rows(connection, audit_chains)}
    last = max((row for row in rows(connection, audit_checkpoints) if row["node"] == "node-new"), key=lambda x: x["at"])
    body = {**json.loads(last["body"]), "heads": found, "id": "next", "number": last["number"] + 1, "at": 200_000.0}
    made = canonical({**body, "previous": body_hash(last["body"])})
    named = {"id": "next", "node": "node-new", "number": body["number"], "at": 200_000.0}
    signed = {"body": made, "signature": a_key().sign(made), "key_id": a_key().id}
    connection.execute(insert(audit_checkpoints).values({**named, **signed}))
    edit(connection, audit_chains, ("node-new",), checkpoints=set_to(body["number"]))


def forge_an_old_event(connection: Connection) -> None:
    """The beginning of a chain is gone, and what was added to its end is so old that retention would remove it."""
    shorten(connection, "node-old", 13)
    forge(connection, "node-old", 0.0, "sign-out")


def forge_all_that_is_left(connection: Connection) -> None:
    """All of a chain that checkpoints name is gone, and what was added is old."""
    shorten(connection, "node-old", 19)
    forge(connection, "node-old", 0.0, "sign-out")


FORGED: dict[str, tuple[Callable[[Connection], object], str]] = {
    "a retention of everything": (forge_a_retention_of_all, "event 6 of node-old was removed: "),
    "a retention of a beginning": (forge_a_retention_of_a_beginning, "event 12 of node-old was removed, or all before"),
    "a retention at the end of the chain": (
        lambda found: forge_a_retention_of_a_beginning(found, "node-old"),
        "event 12 of node-old was removed, or all before it: no retention event says so",
    ),
    "an old event": (forge_an_old_event, "event 12 of node-old was removed, or all before it: no retention event"),
    "an old event alone": (forge_all_that_is_left, "event 18 of node-old was removed, or all before it: no retention"),
}


@pytest.mark.parametrize("what", FORGED)
def test_what_retention_removes_cannot_be_forged_without_the_key(log: Log, what: str) -> None:
    change, said = FORGED[what]
    with log.engine.connect() as connection:
        change(connection)
        report = log.verified(connection)
        connection.rollback()
    assert any(problem.startswith(said) for problem in report.problems), report.problems


def test_what_was_not_signed_says_nothing_of_what_came_after_it(log: Log) -> None:
    """A checkpoint without a signature, from before a key was in use, names the forged event."""
    with log.engine.connect() as connection:
        forge_a_retention_of_all(connection)
        row = rows(connection, audit_chains)[0]
        body = {"at": 5.0, "heads": {row["node"]: [1, row["head"]]}, "id": "a", "kind": "audit-checkpoint"}
        made = canonical({**body, "node": row["node"], "number": 1, "previous": "0" * 64})
        values = {"id": "a", "node": row["node"], "number": 1, "at": 5.0, "body": made}
        connection.execute(insert(audit_checkpoints).values(values))
        edit(connection, audit_chains, (row["node"],), checkpoints=set_to(1))
        verifier = Verifier([public_key(log.key.public_pem.encode())], unsigned_before=10.0)
        for line in log.kept():
            verifier.kept_elsewhere(line)
        for line in audit_lines(connection, columns=True):
            verifier.take(line)
        report = verifier.finish()
        connection.rollback()
    assert any(problem.startswith("event 13 of node-old was removed: ") for problem in report.problems)


@pytest.mark.parametrize("at", [1e300, -1e300, "x", None, [1], True])
def test_a_checkpoint_of_no_possible_time_is_named(log: Log, at: object) -> None:
    with log.engine.connect() as connection:
        row = rows(connection, audit_checkpoints)[0]
        body = canonical({**json.loads(row["body"]), "at": at})
        edit(connection, audit_checkpoints, (row["id"],), body=set_to(body), signature=set_to(None))
        report = log.verified(connection)
        connection.rollback()
    assert any(f"checkpoint {row['number']} of {row['node']}" in problem for problem in report.problems)


def test_an_export_says_when_it_was_made_if_checkpoints_kept_elsewhere_are_later(log: Log) -> None:
    """One who cuts off an export at an earlier time has to say so."""
    lines = log.export()
    kept = [{**line, "body": line["body"].replace('"at":120018.0', '"at":1120018.0')} for line in log.kept()]
    report = verify_export(lines, Verifier(), kept)
    later = "checkpoints were made after 1970-01-12T13:46:40Z, when the export was made, and were not looked at."
    assert f"1 {later}" in report.notes


@pytest.mark.parametrize("at", ["1e999", "NaN", '"x"', "1e300", "null"])
def test_an_export_of_no_possible_time_does_not_verify(log: Log, at: str) -> None:
    first, *lines = log.export()
    report = verify_export([first.replace(b"1000000.0", at.encode()), *lines], log.verifier(), log.kept())
    assert "line 1 of the export was changed: it is not a line of an export" in report.problems
