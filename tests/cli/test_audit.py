"""`postern audit`: what it lists, and how it verifies and exports."""

import json
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from sqlalchemy import text, update
from structlog.testing import capture_logs

from postern.journal.database.engine import open_engine
from postern.journal.security_tables import audit_events
from postern.local_tenant import LocalTenant, serve
from postern.local_tenant.vault import AUDIT_KEY_NAME
from postern.security.audit import verifier
from postern.security.audit.signing_key import signing_key
from tests.cli.conftest import Postern
from tests.cli.keeper import Keeper
from tests.cli.recorded import closing_engine
from tests.security.audit.logs import a_key, write_log

pytestmark = pytest.mark.slow


def event_record(**members: Any) -> dict[str, Any]:
    fields = {"caller_kind": "user", "object_id": "o", "tenant_id": "t", "client_id": "c", "name": "Ada", "run": "r-1"}
    return {
        "node": "n",
        "number": 7,
        "at": "2026-01-31T10:00:00.000Z",
        "kind": "record-viewed",
        "subject": "o",
        "workflow": "payroll",
        "fields": fields,
        "hash": "0" * 64,
        **members,
    }


@pytest.fixture
def log(url: str, folder: Path) -> Path:
    """The folder of a log in the database, with its public key and a file of its checkpoints."""
    with closing_engine(url) as engine, capture_logs():
        anyio.run(write_log, engine, a_key(), folder / "kept.jsonl")
    (folder / "public.pem").write_text(a_key().public_pem, encoding="ascii")
    return folder


def change(url: str) -> None:
    engine = open_engine(url, writing=True)
    with engine.begin() as connection:
        where = audit_events.c.node == "node-old", audit_events.c.number == 9
        connection.execute(update(audit_events).where(*where).values(body="{}"))
    engine.dispose()


def test_events_are_listed_with_who_and_details(postern: Postern, keeper: Keeper):
    keeper.events = [event_record(), event_record(kind="secret-read", fields={"secret": "s\x1b[31m"}, subject=None)]
    result = postern("audit", **keeper.environ)
    assert result.exit_code == 0
    header, first, second = result.stdout.splitlines()
    assert header.split() == ["when", "(UTC)", "event", "who", "workflow", "details"]
    assert first.split() == ["2026-01-31", "10:00:00", "record-viewed", "Ada", "payroll", "run=r-1"]
    assert "\x1b" not in second


def test_every_filter_is_sent_and_json_is_for_programs(postern: Postern, keeper: Keeper):
    keeper.events = [event_record(), event_record()]
    options = ["--kind", "record-viewed", "--who", "Ada", "--workflow", "payroll", "--since", "2026-01-31", "--json"]
    result = postern("audit", "list", *options, "--limit", "1", **keeper.environ)
    assert json.loads(result.stdout) == {"events": [keeper.events[0]], "next": "1"}
    assert keeper.requests[-1][1] == {
        "kind": "record-viewed",
        "who": "Ada",
        "workflow": "payroll",
        "since": "2026-01-31T00:00:00.000Z",
        "limit": "1",
    }
    postern("audit", "--who", "lisa", **keeper.environ)
    assert keeper.requests[-1][1]["who"] == keeper.tenant.people["lisa"]
    assert "No matching events" in postern("audit", "--kind", "consent", "--as", "ada", **keeper.environ).stderr


def test_a_log_is_verified_in_the_database(postern: Postern, log: Path, url: str):
    result = postern("audit", "verify", "--public-key", "public.pem", "--checkpoints", "kept.jsonl")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("Verified: 26 events in 2 chains, 7 checkpoints")
    change(url)
    result = postern("audit", "verify", "--public-key", "public.pem", "--checkpoints", "kept.jsonl")
    assert (result.exit_code, "event 9 of node-old was inserted, reordered or changed" in result.stderr) == (1, True)
    found = json.loads(postern("audit", "verify", "--json").stdout)
    assert (found["verified"], found["valid_signatures"], found["counts"]["event"]) == (False, 0, 26)
    assert "No public key was given" in found["notes"][0]


def test_a_log_is_verified_and_exported_in_each_kind_of_database(postern: Postern, folder: Path, database_url: str):
    with closing_engine(database_url) as engine, capture_logs():
        anyio.run(write_log, engine, None)
    environ = {"POSTERN_DATABASE_URL": database_url}
    assert postern("audit", "verify", **environ).stdout.startswith("Verified: 26 events in 2 chains")
    assert postern("audit", "export", "log.jsonl", **environ).exit_code == 0
    assert postern("audit", "verify", "--file", "log.jsonl").exit_code == 0


@pytest.mark.process
def test_an_export_is_verified_by_the_command_and_by_the_verifier_alone(postern: Postern, log: Path):
    made = postern("audit", "export", "log.jsonl")
    assert (made.exit_code, stat.S_IMODE((log / "log.jsonl").stat().st_mode)) == (0, 0o600)
    assert postern("audit", "export", "log.jsonl").exit_code == 2
    options = ["--public-key", "public.pem", "--checkpoints", "kept.jsonl"]
    assert postern("audit", "verify", "--file", "log.jsonl", *options).exit_code == 0
    script = [sys.executable, "-I", str(Path(verifier.__file__)), "log.jsonl", *options]

    def alone() -> subprocess.CompletedProcess[str]:
        return subprocess.run(script, cwd=log, capture_output=True, text=True, timeout=60, check=False)

    assert (alone().returncode, alone().stdout.partition(":")[0]) == (0, "Verified")
    exported = (log / "log.jsonl").read_text("ascii")
    (log / "log.jsonl").write_text(exported.replace("somebody", "somebodY", 1), encoding="ascii")
    found = alone()
    assert (found.returncode, "NOT VERIFIED: event 1 of node-new was changed" in found.stdout) == (1, True)
    (log / "public.pem").write_text("no key", encoding="ascii")
    assert alone().returncode == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--public-key", "missing"], "--public-key missing: No such file"),
        (["--public-key", "kept.jsonl"], "not an Ed25519 public key in PEM"),
        (["--checkpoints", "public.pem"], "there is no checkpoint in it"),
        (["--unsigned-before", "soon"], "not a time such as"),
        (["--file", "missing"], "--file missing: No such file"),
    ],
)
def test_wrong_arguments_end_with_exit_code_2(postern: Postern, log: Path, options: list[str], said: str):
    result = postern("audit", "verify", *options)
    assert (result.exit_code, said in result.stderr) == (2, True)


def test_a_log_from_before_there_was_a_key_verifies_from_the_time_that_is_given(
    postern: Postern, url: str, folder: Path
):
    async def write(engine: Any) -> None:
        from tests.security.audit.logs import Node

        for key, name, at in ((None, "before", 1_000.0), (a_key(), "after", 2_000.0)):
            node = Node(engine, name, at, key)
            await node.happens(2)
            await node.checkpoint()

    with closing_engine(url) as engine, capture_logs():
        anyio.run(write, engine)
    (folder / "public.pem").write_text(a_key().public_pem, encoding="ascii")
    without = postern("audit", "verify", "--public-key", "public.pem")
    assert (without.exit_code, "checkpoint 1 of before is not signed" in without.stderr) == (1, True)
    since = postern("audit", "verify", "--public-key", "public.pem", "--unsigned-before", "1970-01-01T00:30:00Z")
    assert (since.exit_code, "1 checkpoints are not signed, and prove nothing" in since.stderr) == (0, True)


def test_a_database_without_a_log_is_not_verified(postern: Postern, folder: Path):
    assert postern("audit", "verify").exit_code == 2
    assert postern("audit", "export", "x").exit_code == 2
    assert not (folder / "x").exists()


GARBAGE = {
    "a text that is not UTF-8": ("UPDATE audit_events SET body = CAST(x'ff41' AS TEXT)", "event 9 of node-old"),
    "bytes": ("UPDATE audit_events SET body = CAST(body AS BLOB)", "event 9 of node-old"),
    "no finite number": ("UPDATE audit_events SET at = 9e999", "event 9 of node-old"),
    "no number": ("UPDATE audit_chains SET last = 'x'", "chain  of node-old"),
    "bytes for a number": ("UPDATE audit_chains SET first = x'00'", "chain  of node-old"),
}


@pytest.mark.parametrize("what", GARBAGE)
def test_a_value_that_only_sqlite_takes_is_named_and_exported(postern: Postern, log: Path, url: str, what: str):
    """Someone who writes such a value stops neither the verifier nor the export."""
    statement, said = GARBAGE[what]
    number = " AND number = 9" if "audit_events" in statement else ""
    with closing_engine(url) as engine, engine.begin() as connection:
        connection.execute(text(f"{statement} WHERE node = 'node-old'{number}"))
    result = postern("audit", "verify")
    assert result.exit_code == 1
    assert f"NOT VERIFIED: {said}" in result.stderr
    assert postern("audit", "export", str(log / "export.jsonl")).exit_code == 0


def test_a_database_that_cannot_be_read_is_not_taken_for_a_changed_log(postern: Postern, folder: Path):
    (folder / "none.db").write_bytes(b"no database" * 100)
    result = postern("audit", "verify", POSTERN_DATABASE_URL=f"sqlite:///{folder / 'none.db'}")
    assert result.exit_code == 2
    assert "not a database" in result.stderr


@pytest.mark.network
def test_the_public_key_is_printed_from_the_vault(postern: Postern, folder: Path):
    away = postern("audit", "key")
    assert (away.exit_code, "runs only with" in away.stderr) == (1, True)
    with serve(LocalTenant.open(folder / "var" / "local-tenant")) as tenant:
        (version,) = tenant.vault.versions(AUDIT_KEY_NAME)
        result = postern("audit", "key")
        assert (result.exit_code, result.stdout) == (0, signing_key(version.value).public_pem)
        tenant.put_secret(AUDIT_KEY_NAME, "hunter2")
        wrong = postern("audit", "key")
    assert (wrong.exit_code, "is not a private key in PEM" in wrong.stderr) == (1, True)
    assert "hunter2" not in wrong.stderr
