"""Checkpoints: when they are made, who signs them, and where they are kept."""

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine
from structlog.testing import capture_logs

from postern.errors import problem
from postern.journal.audit_chain import GENESIS, body_hash
from postern.journal.security_tables import audit_checkpoints
from postern.security.audit import checkpoints
from postern.security.audit.checkpoint_file import CheckpointFile
from postern.security.audit.checkpoints import AGAIN, EVERY, MOST_EVENTS, PART, Checkpoints, Keeping, in_parts
from postern.security.audit.signing_key import KeyFault, SigningKey, VaultKey
from postern.security.audit.verifier import Verifier, checkpoints_in, public_key
from tests.journal.engines import all_of
from tests.security.audit.logs import Clock, Node, a_key, journal, lines_of

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with journal(tmp_path / "postern.db") as engine:
        yield engine


def stored(engine: Engine) -> list[dict[str, object]]:
    return [dict(row) for row in all_of(engine, audit_checkpoints, "number")]


async def test_a_checkpoint_names_the_heads_of_all_chains_and_the_checkpoint_before_it(engine: Engine) -> None:
    one, two = Node(engine, "one"), Node(engine, "two")
    await one.happens(2)
    await two.happens(3)
    await one.checkpoint()
    await two.happens(1)
    await one.checkpoint()
    first, second = stored(engine)
    body = json.loads(str(second["body"]))
    assert {node: number for node, (number, _) in body["heads"].items()} == {"one": 2, "two": 4}
    assert json.loads(str(first["body"]))["previous"] == GENESIS
    assert body["previous"] == body_hash(str(first["body"]))
    assert (body["kind"], body["node"], body["number"]) == ("audit-checkpoint", "one", 2)


async def test_no_checkpoint_is_made_where_nothing_happened(engine: Engine) -> None:
    node = Node(engine, "one")
    await node.checkpoint()
    await node.happens(1)
    await node.checkpoint()
    await node.checkpoint()
    assert len(stored(engine)) == 1


async def test_the_own_head_is_the_one_that_this_process_wrote_whatever_the_table_says(engine: Engine) -> None:
    node = Node(engine, "one")
    await node.happens(2)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE audit_chains SET head = 'changed', last = 9")
    await node.checkpoint()
    assert json.loads(str(stored(engine)[0]["body"]))["heads"]["one"] == [2, node.writer.head.hash]


async def test_a_checkpoint_is_due_after_a_time_or_after_many_events(engine: Engine) -> None:
    node, clock = Node(engine, "one"), Clock(0.0)
    found = Checkpoints(node.writer, node.heads, node.transact, Keeping(), clock=clock)
    assert not found.is_due()
    await node.happens(1)
    assert found.is_due()
    await found.make()
    assert not found.is_due()
    node.writer.written += MOST_EVENTS
    assert found.is_due()
    node.writer.written -= MOST_EVENTS
    clock.at += EVERY
    assert found.is_due()


@pytest.mark.parametrize("why", [KeyFault("POSTERN_AUDIT_KEY_NAME names nothing"), LookupError("a secret text")])
async def test_while_the_key_cannot_be_read_no_checkpoint_is_made_and_then_one_covers_all(
    engine: Engine, why: Exception
) -> None:
    away = [True]

    async def key() -> SigningKey:
        if away:
            raise why
        return a_key()

    node, clock = Node(engine, "one"), Clock(0.0)
    found = Checkpoints(node.writer, node.heads, node.transact, Keeping(key), clock=clock)
    with capture_logs() as lines:
        for _ in range(2):
            await node.happens(1)
            assert not await found.make()
    assert stored(engine) == []
    assert [line["event"] for line in lines] == ["audit-checkpoint-not-made"]  # once
    assert "a secret text" not in str(lines)
    assert found.why_not
    assert not found.is_due()
    clock.at += AGAIN
    assert found.is_due()
    away.clear()
    assert await found.make()
    assert found.why_not == ""
    [row] = stored(engine)
    assert json.loads(str(row["body"]))["heads"]["one"][0] == 2
    assert row["key_id"] == a_key().id


async def test_a_new_version_of_the_key_signs_the_next_checkpoint(engine: Engine) -> None:
    node = Node(engine, "one")
    used = a_key()

    async def key() -> SigningKey:
        return used

    found = Checkpoints(node.writer, node.heads, node.transact, Keeping(key))
    await node.happens(1)
    await found.make()
    used = a_key("new")
    await node.happens(1)
    await found.make()
    assert [row["key_id"] for row in stored(engine)] == [a_key().id, a_key("new").id]
    verifier = Verifier([public_key(each.public_pem.encode()) for each in (a_key(), a_key("new"))])
    for row in stored(engine):
        verifier.kept_elsewhere(row)
    assert verifier.report.problems == []


async def test_a_checkpoint_that_may_have_been_written_is_repeated_unchanged(engine: Engine) -> None:
    node = Node(engine, "one")
    fails = [True]

    async def write(operation: object, /) -> object:
        result = await node.transact(operation)  # type: ignore[arg-type]
        if fails:
            fails.clear()
            raise problem("journal-unavailable")
        return result

    found = Checkpoints(node.writer, node.heads, write, Keeping())  # type: ignore[arg-type]
    await node.happens(1)
    with capture_logs():
        assert not await found.make()
        await node.happens(1)
        assert await found.make()
        assert await found.make()
    assert [row["number"] for row in stored(engine)] == [1, 2]


async def test_the_log_has_each_checkpoint_as_it_can_be_verified(engine: Engine) -> None:
    node = Node(engine, "one", key=a_key())
    await node.happens(1)
    with capture_logs() as lines:
        await node.checkpoint()
    [line] = list(checkpoints_in([json.dumps(each) for each in lines]))
    verifier = Verifier([public_key(a_key().public_pem.encode())])
    verifier.kept_elsewhere(line)
    assert (verifier.report.problems, verifier.report.signed) == ([], 1)


@pytest.mark.parametrize("length", [10, PART, PART + 1, 3 * PART])
def test_a_body_is_logged_in_parts_that_a_line_can_have(length: int) -> None:
    body = "x" * length
    fields = in_parts(body)
    assert all(len(part) <= PART for part in fields.values())
    [found] = checkpoints_in([json.dumps({"event": "audit-checkpoint", **fields})])
    assert found["body"] == body


def test_of_a_body_that_is_too_long_for_the_log_it_has_the_hash_only() -> None:
    fields = in_parts("x" * (3 * PART + 1))
    assert list(fields) == ["body_sha256"]
    assert list(checkpoints_in([json.dumps({"event": "audit-checkpoint", **fields})])) == []


async def test_the_file_has_a_line_for_each_checkpoint_and_is_for_its_owner_only(
    engine: Engine, tmp_path: Path
) -> None:
    file = tmp_path / "checkpoints"
    one, two = (Node(engine, name, key=a_key(), file=file) for name in ("one", "two"))
    for node in (one, two, one):
        await node.happens(1)
        await node.checkpoint()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert sorted(line["body"] for line in lines_of(file)) == sorted(str(row["body"]) for row in stored(engine))


async def test_a_file_that_does_not_respond_holds_up_no_checkpoint(engine: Engine, tmp_path: Path) -> None:
    """As on a network that is gone. Here it is a pipe that nobody reads."""
    place = tmp_path / "pipe"
    os.mkfifo(place)
    node = Node(engine, "one", file=place, file_seconds=0.01)
    with capture_logs() as lines:
        for _ in range(3):
            await node.happens(1)
            await node.checkpoint()
    assert len(stored(engine)) == 3
    failed = [line["error"] for line in lines if line["event"] == "audit-file-not-written"]
    assert failed == ["it does not respond"]
    with place.open("rb") as reader:  # now someone reads, and the thread that waited ends
        assert reader.read().count(b"\n") == 3


async def test_a_file_that_cannot_be_written_is_logged_once_and_gets_its_lines_later(
    engine: Engine, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    node = Node(engine, "one", file=folder / "checkpoints")
    with capture_logs() as lines:
        for _ in range(2):
            await node.happens(1)
            await node.checkpoint()
    failed = [line for line in lines if line["event"] == "audit-file-not-written"]
    assert [line["waiting"] for line in failed] == [1]
    folder.mkdir()
    await node.checkpoint()
    assert len(lines_of(folder / "checkpoints")) == 2


def test_a_line_is_written_wholly_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = CheckpointFile(tmp_path / "file")
    file.add("first")
    file.write()
    file.add("second")
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, line: write(descriptor, line[:3]))  # a full disk
    with pytest.raises(OSError, match="space"):
        file.write()
    assert file.path.read_bytes() == b"first\n"
    monkeypatch.undo()
    file.write()
    assert file.path.read_bytes() == b"first\nsecond\n"


async def test_a_key_is_read_again_from_the_vault_and_parsed_only_if_it_is_new() -> None:
    from postern.security.audit.signing_key import new_pem

    values = [new_pem(), new_pem()]
    found = [values[0], values[0], values[1]]

    async def read(name: str) -> str:
        assert name == "audit-key"
        return found.pop(0)

    key = VaultKey("audit-key", read)
    first, again, new = await key(), await key(), await key()
    assert first is again
    assert first.id != new.id


RSA = "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    ("pem", "wrong"),
    [
        ("", "is not a private key in PEM"),
        ("hunter2", "is not a private key in PEM"),
        (RSA, "is not a private key in PEM, or lost its line ends"),
        ("x25519", "is not an Ed25519 key"),
        ("encrypted", "is encrypted with a password"),
        ("public", "is not a private key in PEM"),
    ],
)
async def test_a_secret_that_is_no_ed25519_key_is_a_clear_error_without_the_secret(pem: str, wrong: str) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    form = Encoding.PEM, PrivateFormat.PKCS8
    made = {
        "x25519": X25519PrivateKey.generate().private_bytes(*form, NoEncryption()).decode(),
        "encrypted": Ed25519PrivateKey.generate().private_bytes(*form, BestAvailableEncryption(b"x")).decode(),
        "public": a_key().public_pem,
    }
    value = made.get(pem, pem)

    async def read(_: str) -> str:
        return value

    with pytest.raises(KeyFault) as fault:
        await VaultKey("audit-key", read)()
    text = str(fault.value)
    assert text.startswith(f"POSTERN_AUDIT_KEY_NAME names the secret audit-key, which {wrong}. Make one with")
    assert not value or value not in text


def test_a_key_shows_nothing_of_itself() -> None:
    assert "PRIVATE" not in repr(a_key())
    assert repr(a_key()).startswith("SigningKey(id=")


def test_the_interval_is_what_the_page_says() -> None:
    assert (checkpoints.EVERY, checkpoints.MOST_EVENTS) == (300.0, 1_000)
