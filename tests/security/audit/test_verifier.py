"""The verifier, against changes of the tables and of exported files."""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest
from sqlalchemy import Connection, Engine, delete, func, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from postern.journal.audit_chain import body_hash, canonical, hash_after
from postern.journal.reading.audit_lines import audit_lines
from postern.journal.security_tables import audit_chains, audit_checkpoints, audit_events
from postern.security.audit.export import exported
from postern.security.audit.signing_key import SigningKey
from postern.security.audit.verifier import Report, Verifier, checkpoints_in, public_key, verify_export
from tests.security.audit.logs import a_key, journal, write_log

pytestmark = pytest.mark.slow

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Log:
    """An audit log in a database, with the file of its checkpoints."""

    engine: Engine
    file: Path
    key: SigningKey

    def verified(self, connection: Connection, *, elsewhere: bool = True, key: bool = True) -> Report:
        """What the verifier says of the tables."""
        verifier = self.verifier(key=key)
        for line in self.kept() if elsewhere else ():
            verifier.kept_elsewhere(line)
        for line in audit_lines(connection, columns=True):
            verifier.take(line)
        return verifier.finish()

    def verifier(self, *, key: bool = True) -> Verifier:
        return Verifier([public_key(self.key.public_pem.encode())] if key else [])

    def kept(self) -> Iterator[Any]:
        return checkpoints_in(self.file.read_text("ascii").splitlines())

    def export(self) -> list[bytes]:
        with self.engine.begin() as connection:
            return list(exported(audit_lines(connection, columns=False), 1_000_000.0))


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Log]:
    folder = tmp_path_factory.mktemp("audit")
    with journal(folder / "postern.db") as engine:
        anyio.run(write_log, engine, a_key(), folder / "checkpoints")
        yield Log(engine, folder / "checkpoints", a_key())


def rows(connection: Connection, table: Any) -> Rows:
    return [dict(row) for row in connection.execute(select(table).order_by(*table.primary_key)).mappings()]


def test_a_log_that_nobody_changed_is_verified(log: Log) -> None:
    with log.engine.begin() as connection:
        report = log.verified(connection)
    assert report.problems == []
    assert report.notes == []
    assert report.counts == {"chain": 2, "checkpoint": 7, "event": 26}


def test_an_export_that_nobody_changed_is_verified(log: Log) -> None:
    report = verify_export(log.export(), log.verifier(), log.kept())
    assert (report.problems, report.notes) == ([], [])


def test_without_a_public_key_the_verifier_says_what_that_means(log: Log) -> None:
    with log.engine.begin() as connection:
        report = log.verified(connection, key=False, elsewhere=False)
    assert report.verified
    assert [note.partition(":")[0] for note in report.notes] == [
        "No public key was given, so no signature was checked",
        "No checkpoints that were kept elsewhere were given (--checkpoints)",
    ]


# Single changes, and what the verifier says of them


def change_body(connection: Connection) -> None:
    edit(connection, audit_events, ("node-old", 10), body=lambda body: body.replace("x3", "x4"))


def edit(connection: Connection, table: Any, key: tuple[Any, ...], **changes: Callable[[Any], Any]) -> None:
    where = [column == value for column, value in zip(table.primary_key, key, strict=True)]
    found = connection.execute(select(table).where(*where)).mappings().one()
    connection.execute(update(table).where(*where).values({name: new(found[name]) for name, new in changes.items()}))


def set_to(value: Any) -> Callable[[Any], Any]:
    return lambda _: value


def remove(connection: Connection, node: str, number: int) -> None:
    events = audit_events.c
    connection.execute(delete(audit_events).where(events.node == node, events.number == number))


def insert_between(connection: Connection) -> None:
    """Event 10 is there twice, and those after it have the next numbers."""
    for row in reversed(rows(connection, audit_events)):
        if row["node"] == "node-old" and row["number"] >= 10:
            remove(connection, "node-old", row["number"])
            connection.execute(insert(audit_events).values({**row, "number": row["number"] + 1}))
            if row["number"] == 10:
                connection.execute(insert(audit_events).values(row))


def swap(connection: Connection, first: int = 9, second: int = 11) -> None:
    found = {row["number"]: row for row in rows(connection, audit_events) if row["node"] == "node-old"}
    for here, there in ((first, second), (second, first)):
        edit(
            connection,
            audit_events,
            ("node-old", here),
            body=set_to(found[there]["body"]),
            hash=set_to(found[there]["hash"]),
        )


def truncate(connection: Connection, node: str = "node-old", last: int = 15) -> None:
    """Remove the end of a chain, as one who knows the tables: with its row, and with the checkpoints that name it."""
    events, chains, checkpoints = audit_events.c, audit_chains.c, audit_checkpoints.c
    connection.execute(delete(audit_events).where(events.node == node, events.number > last))
    for row in rows(connection, audit_checkpoints):
        if json.loads(row["body"])["heads"].get(node, (0,))[0] > last:
            later = checkpoints.node == row["node"], checkpoints.number >= row["number"]
            connection.execute(delete(audit_checkpoints).where(*later))
    for chain in rows(connection, audit_chains):
        left = select(func.max(checkpoints.number)).where(checkpoints.node == chain["node"])
        made = connection.execute(left).scalar() or 0
        connection.execute(update(audit_chains).where(chains.node == chain["node"]).values(checkpoints=made))
    head = connection.execute(select(audit_events).where(events.node == node, events.number == last)).mappings().one()
    values = {"last": last, "head": head["hash"], "last_at": head["at"]}
    connection.execute(update(audit_chains).where(chains.node == node).values(values))


def shorten(connection: Connection, node: str = "node-new", first: int = 5) -> None:
    """Remove the beginning of a chain, with its row."""
    events = audit_events.c
    before = connection.execute(select(events.hash).where(events.node == node, events.number == first - 1)).scalar()
    connection.execute(delete(audit_events).where(events.node == node, events.number < first))
    connection.execute(update(audit_chains).where(audit_chains.c.node == node).values(first=first, before=before))


def rewrite(connection: Connection, node: str = "node-old", number: int = 10) -> None:
    """Change an event, and make all hashes after it anew, with the row of the chain."""
    previous = ""
    for row in rows(connection, audit_events):
        if row["node"] == node and row["number"] >= number - 1:
            if row["number"] >= number:
                body = row["body"].replace('"hello"', '"other"') if row["number"] == number else row["body"]
                previous = hash_after(previous, body)
                new = {"body": body, "hash": previous, "workflow": json.loads(body)["workflow"] or None}
                edit(
                    connection,
                    audit_events,
                    (node, row["number"]),
                    **{name: set_to(each) for name, each in new.items()},
                )
            else:
                previous = row["hash"]
    connection.execute(update(audit_chains).where(audit_chains.c.node == node).values(head=previous))


def rewrite_all(connection: Connection, key: SigningKey | None = None) -> None:
    """The same, with all checkpoints made anew: signed with another key, or with none."""
    rewrite(connection)
    hashes = {(row["node"], row["number"]): row["hash"] for row in rows(connection, audit_events)}
    ends: dict[str, str] = {}
    for row in sorted(rows(connection, audit_checkpoints), key=lambda row: (row["node"], row["number"])):
        body = json.loads(row["body"])
        body["heads"] = {node: [n, hashes.get((node, n), old)] for node, (n, old) in body["heads"].items()}
        body["previous"] = ends.get(row["node"], body["previous"])
        made = canonical(body)
        ends[row["node"]] = body_hash(made)
        signed = (key.sign(made), key.id) if key else (None, None)
        edit(
            connection,
            audit_checkpoints,
            (row["id"],),
            body=set_to(made),
            signature=set_to(signed[0]),
            key_id=set_to(signed[1]),
        )


def retell(connection: Connection) -> None:
    """Change the event by which retention said what it removes, and the chain after it."""
    for row in rows(connection, audit_events):
        if row["kind"] == "retention":
            edit(connection, audit_events, (row["node"], row["number"]), body=lambda body: body.replace("6,", "5,"))


SINGLE: dict[str, tuple[Callable[[Connection], object], str]] = {
    "a body": (change_body, "event 10 of node-old was changed"),
    "a hash": (
        lambda found: edit(found, audit_events, ("node-old", 10), hash=set_to("0" * 64)),
        "event 10 of node-old was changed",
    ),
    "a column for filters": (
        lambda found: edit(found, audit_events, ("node-old", 10), kind=set_to("refusal")),
        "event 10 of node-old was changed: its column kind is not as in its body",
    ),
    "a time": (
        lambda found: edit(found, audit_events, ("node-old", 10), at=set_to(1.0)),
        "event 10 of node-old was changed: its column at is not as in its body",
    ),
    "an event less": (
        lambda found: remove(found, "node-old", 10),
        "event 10 of node-old was removed: the next one is event 11",
    ),
    "the last event less": (
        lambda found: remove(found, "node-old", 18),
        "event 18 of node-old was removed, with all that came after it",
    ),
    "an event more": (insert_between, "event 11 of node-old was inserted, reordered or changed"),
    "an order": (swap, "event 9 of node-old was inserted, reordered or changed"),
    "another node": (
        lambda found: edit(found, audit_events, ("node-old", 18), node=set_to("node-else")),
        "event 18 of node-else was added: there is no such chain",
    ),
    "a chain more": (
        lambda found: edit(found, audit_chains, ("node-old",), node=set_to("node-else")),
        "event 7 of node-old was added: there is no such chain",
    ),
    "an end": (truncate, "event 16 of node-old was removed"),
    "a beginning": (shorten, "event 4 of node-new was removed, or all before it: no retention event says so"),
    "a chain with hashes made anew": (rewrite, "event 13 of node-old, or one before it, was changed"),
    "all with another key": (
        lambda found: rewrite_all(found, a_key("another")),
        f"checkpoint 1 of node-new is signed with another key, {a_key('another').id}",
    ),
    "all without signatures": (rewrite_all, "checkpoint 1 of node-new is not signed"),
    "what retention said": (retell, "event 9 of node-new was changed"),
    "a checkpoint less": (
        lambda found: found.execute(delete(audit_checkpoints).where(audit_checkpoints.c.number == 3)),
        "checkpoint 3 of node-new was removed, or is out of order",
    ),
    "the last checkpoint less": (
        lambda found: found.execute(delete(audit_checkpoints).where(audit_checkpoints.c.number == 4)),
        "checkpoint 4 of node-new was removed or added",
    ),
    "a count of checkpoints": (
        lambda found: edit(found, audit_chains, ("node-old",), checkpoints=set_to(9)),
        "checkpoint 5 of node-old was removed or added",
    ),
    "a head": (
        lambda found: edit(found, audit_chains, ("node-old",), head=set_to("1" * 64)),
        "the row of the chain of node-old was changed",
    ),
}


@pytest.mark.parametrize("what", SINGLE)
def test_the_first_wrong_event_is_named(log: Log, what: str) -> None:
    change, said = SINGLE[what]
    with log.engine.connect() as connection:
        change(connection)
        report = log.verified(connection)
        connection.rollback()
    assert any(problem.startswith(said) for problem in report.problems), report.problems


def test_a_removed_end_shows_only_against_checkpoints_that_were_kept_elsewhere(log: Log) -> None:
    with log.engine.connect() as connection:
        truncate(connection, "node-new", 13)
        alone, beside = log.verified(connection, elsewhere=False), log.verified(connection)
        connection.rollback()
    assert alone.verified
    assert any("were kept elsewhere were given" in note for note in alone.notes)
    assert any(problem.startswith("event 14 of node-new was removed") for problem in beside.problems)


def test_without_the_public_key_a_log_that_was_made_anew_does_not_show(log: Log) -> None:
    with log.engine.connect() as connection:
        rewrite_all(connection)
        report = log.verified(connection, elsewhere=False, key=False)
        connection.rollback()
    assert report.verified
    assert any("anyone who can write the database can write the chain" in note for note in report.notes)


def test_a_chain_that_was_removed_with_its_row_is_missed(log: Log) -> None:
    with log.engine.connect() as connection:
        for table in (audit_events, audit_chains, audit_checkpoints):
            connection.execute(delete(table).where(table.c.node == "node-old"))
        report = log.verified(connection)
        connection.rollback()
    assert any(problem.startswith("event 13 of node-old was removed: ") for problem in report.problems)


def test_checkpoints_are_found_among_the_lines_of_a_log(log: Log) -> None:
    lines = [
        "2026-11-29 something else",
        json.dumps({"event": "started"}),
        *(f"postern-1  | {line}" for line in log.file.read_text("ascii").splitlines()),
        json.dumps({"event": "audit-checkpoint", "checkpoint": "long", "body_sha256": "0"}),
    ]
    assert [line["body"] for line in checkpoints_in(lines)] == [line["body"] for line in log.kept()]


def test_a_line_of_a_kept_checkpoint_that_was_cut_does_not_verify(log: Log) -> None:
    lines = log.file.read_text("ascii").splitlines()
    lines[0] = lines[0][:200]
    report = verify_export(log.export(), log.verifier(), checkpoints_in(lines))
    assert report.problems


# Many random changes


def in_text(value: str, chance: random.Random) -> str:
    """One character is another one."""
    if not value:
        return "x"
    place = chance.randrange(len(value))
    new = chr((ord(value[place]) ^ (1 << chance.randrange(7))) % 128 or 33)
    return f"{value[:place]}{new}{value[place + 1 :]}"


def in_value(value: Any, chance: random.Random) -> Any:
    if isinstance(value, str):
        return in_text(value, chance)
    if value is None:
        return "x"
    return value + chance.choice((-1, 1, 7))


def random_change(connection: Connection, chance: random.Random) -> None:
    """One change of the tables, of one row or of several."""
    table = chance.choice((audit_events, audit_events, audit_events, audit_checkpoints, audit_chains))
    found = rows(connection, table)
    row = chance.choice(found)
    where = [column == row[column.name] for column in table.primary_key]
    kind = chance.choice(("value", "value", "value", "null", "delete", "copy", "swap", "known"))
    if kind == "value":
        name = chance.choice(list(row))
        connection.execute(update(table).where(*where).values({name: in_value(row[name], chance)}))
    elif kind == "null":
        name = chance.choice([column.name for column in table.columns if column.nullable] or ["node"])
        connection.execute(update(table).where(*where).values({name: None if row[name] is not None else "x"}))
    elif kind == "delete":
        connection.execute(delete(table).where(*where))
    elif kind == "copy":
        keys = [column.name for column in table.primary_key]
        key = chance.choice(keys)
        connection.execute(insert(table).values({**row, key: in_value(row[key], chance)}))
    elif kind == "swap":
        other = chance.choice(found)
        name = chance.choice([name for name in row if name not in {column.name for column in table.primary_key}])
        of_other = [column == other[column.name] for column in table.primary_key]
        connection.execute(update(table).where(*where).values({name: other[name]}))
        connection.execute(update(table).where(*of_other).values({name: row[name]}))
    else:
        known_change(connection, chance)


def known_change(connection: Connection, chance: random.Random) -> None:
    """What one does who knows the tables."""
    node, first, last = chance.choice((("node-old", 7, 18), ("node-new", 1, 14)))
    change = chance.randrange(4)
    if change == 0:
        truncate(connection, node, chance.randrange(first, last))
    elif change == 1:
        shorten(connection, node, chance.randrange(first + 1, last))
    elif change == 2:
        rewrite(connection, node, chance.choice([n for n in range(first + 1, last) if (node, n) != ("node-new", 9)]))
    else:
        rewrite_all(connection, chance.choice((None, a_key("another"))))


def test_no_random_change_of_the_tables_is_missed(log: Log, campaign: Callable[[int, int], int]) -> None:
    seed = random.randrange(1 << 32)
    chance, tried = random.Random(seed), 0
    with log.engine.connect() as connection:
        before = list(audit_lines(connection, columns=True))
        while tried < campaign(250, 5_000):
            state = chance.getstate()
            try:
                random_change(connection, chance)
                changed = list(audit_lines(connection, columns=True)) != before
            except IntegrityError:
                changed = False
            if changed:
                tried += 1
                assert not log.verified(connection).verified, f"seed {seed}, change {tried}, state {hash(state)}"
            connection.rollback()


def random_lines(lines: list[bytes], chance: random.Random) -> list[bytes]:
    """The lines of an export after one change of them."""
    lines = list(lines)
    place = chance.randrange(1, len(lines) - 1)
    kind = chance.choice(("byte", "bits", "delete", "copy", "swap", "move", "value", "cut"))
    line = lines[place]
    if kind in ("byte", "bits"):
        at = chance.randrange(len(line) - 1)
        new = chance.randrange(256) if kind == "byte" else line[at] ^ (1 << chance.randrange(8))
        lines[place] = line[:at] + bytes([new]) + line[at + 1 :]
    elif kind == "delete":
        del lines[place]
    elif kind == "copy":
        lines.insert(chance.randrange(1, len(lines) - 1), line)
    elif kind == "swap":
        other = chance.randrange(1, len(lines) - 1)
        lines[place], lines[other] = lines[other], line
    elif kind == "move":
        lines.insert(chance.randrange(1, len(lines) - 2), lines.pop(place))
    elif kind == "value":
        found = json.loads(line)
        name = chance.choice(list(found))
        lines[place] = f"{canonical({**found, name: in_value(found[name], chance)})}\n".encode()
    else:
        del lines[chance.randrange(1, len(lines) - 1) : -1]
    return lines


def with_a_new_end(lines: list[bytes]) -> list[bytes]:
    """The last line as one makes it who knows the file."""
    found = []
    for line in lines[1:-1]:
        try:
            found.append(json.loads(line))
        except ValueError:
            return lines
    if not all(isinstance(line, dict) and line.get("type") in ("chain", "checkpoint", "event") for line in found):
        return lines
    return list(exported(found, json.loads(lines[0])["at"]))


def same(one: list[bytes], other: list[bytes]) -> bool:
    """Whether both say the same: the order of chains, and of the checkpoints of different processes, says nothing."""
    events = [[each for each in lines if b'"type":"event"' in each] for lines in (one, other)]
    return sorted(one) == sorted(other) and events[0] == events[1]


def test_no_random_change_of_an_export_is_missed(log: Log, campaign: Callable[[int, int], int]) -> None:
    seed = random.randrange(1 << 32)
    chance, export, tried, missed = random.Random(seed), log.export(), 0, []
    while tried < campaign(250, 5_000):
        lines = random_lines(export, chance)
        if lines == export:
            continue
        tried += 1
        known = with_a_new_end(lines)
        for each in (lines, known):
            if not same(each[:-1], export[:-1]) or each is lines:
                report = verify_export(each, log.verifier(), log.kept())
                if report.verified:
                    missed.append((seed, tried, [line for line in each if line not in export]))
    assert missed == []


def test_an_event_is_not_kept_in_memory(log: Log) -> None:
    verifier = log.verifier(key=False)
    with log.engine.begin() as connection:
        for line in audit_lines(connection, columns=True):
            verifier.take(line)
    kept = str([vars(chain) for chain in verifier._chains.values()])
    assert "record-viewed" not in kept


def test_a_database_without_events_is_verified(tmp_path: Path) -> None:
    with journal(tmp_path / "empty.db") as engine, engine.begin() as connection:
        connection.execute(text("SELECT 1"))
        verifier = Verifier()
        for line in audit_lines(connection, columns=True):
            verifier.take(line)
        assert verifier.finish().verified
