"""A marker in the secured bodies of a durable run is in no file and no table, checkpoints and backups included."""

import asyncio
import subprocess
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from postern import anonymous, specific_users, workflow
from postern.cli.commands import app
from postern.durable.replies import kept_reply
from postern.durable.seals import KeySeals
from postern.journal.database.engine import open_engine
from tests.connections.sealing.ring import Ring
from tests.durable.host import Host
from tests.durable.test_seals import KEY
from tests.tools import postgres_tools

pytestmark = pytest.mark.process

MARKER = "Zebra-47-Marker"
FORMS = (
    MARKER.encode(),
    *(b64encode(bytes(skipped) + MARKER.encode())[8:-8] for skipped in range(3)),
    MARKER.encode().hex().encode(),
)
"""As it is, in each position of base64, and as PostgreSQL shows bytes."""
SEEN: list[str] = []


async def reads(given: str) -> dict[str, str]:
    SEEN.append(given)
    return {"result": MARKER}


async def fails() -> None:
    raise ValueError(MARKER)


@workflow(access=anonymous(), durable=True, secure_inputs=True, secure_outputs=True)
async def hidden(ctx, body: dict[str, str]) -> Any:
    found = await ctx.step(reads, body["secret"], name=f"reads {MARKER}")
    try:
        await ctx.step(fails)
    except Exception:
        SEEN.append("failed")
    sent = await ctx.wait_for("go")
    await ctx.approval("manager", who=specific_users("lisa"), timeout=0.01, data={"amount": MARKER})
    if body["end"] == "sleeps":
        await ctx.sleep(3600)
    if body["end"] == "raises":
        raise RuntimeError(MARKER)
    return [found, sent]


async def leave_traces(url: str) -> None:
    """Runs of each end: one that sleeps, one that failed, one that succeeded, each having been run twice."""
    host = Host(url, held=0.05)
    host.seals = KeySeals(Ring(v1=KEY))
    await host.open()
    host.serve(hidden)
    bodies = [f'{{"secret": "{MARKER}", "end": "{end}"}}'.encode() for end in ("sleeps", "raises", "returns")]
    sleeps, raises, returns = [await host.accept(hidden, body) for body in bodies]
    for run_id in (sleeps, raises, returns):
        await host.phase(run_id, "waiting")
        await host.send(run_id, f'{{"sent": "{MARKER}"}}')
    states = [(await host.outcome(run_id)).state for run_id in (raises, returns)]
    assert states == ["Failed", "Succeeded"]
    await host.until(lambda: _sleeps(host, sleeps))
    reply = await kept_reply(host.journal.read, host.seals, returns)
    assert reply is not None
    assert MARKER in reply.content.decode()
    await host.close()


async def _sleeps(host: Host, run_id: str) -> bool:
    return bool((await host.durable(run_id)).reason == "sleeping")


COPIES = ("copy.backup", "copy-durable.backup")
TABLES = ("public.durable_runs", "dbos.operation_outputs")
FILES = ("postern.db", "postern-durable.db")


def back_up(folder: Path) -> None:
    done = CliRunner().invoke(app, ["database", "backup", str(folder / COPIES[0])])
    assert done.exit_code == 0, done.output


def everything(url: str, folder: Path) -> dict[str, bytes]:
    """All files of the folder, dumps unpacked, and all rows of all tables of PostgreSQL."""
    found = {str(file): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    for name, content in list(found.items()):
        if content.startswith(b"PGDMP"):  # its rows are compressed
            unpacked = subprocess.run(["pg_restore", "--file=-", name], check=True, capture_output=True)
            found[name] = unpacked.stdout
            assert b"COPY " in unpacked.stdout
    if url.startswith("postgresql"):
        engine = open_engine(url, writing=False)
        named = (
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        )
        with engine.connect() as connection:
            for schema, table in connection.execute(text(named)).all():
                rows = connection.execute(text(f'SELECT t::text FROM "{schema}"."{table}" t')).scalars()
                found[f"{schema}.{table}"] = "\n".join(rows).encode()
        engine.dispose()
        assert {"dbos.operation_outputs", "public.durable_runs", "public.signals"} <= found.keys()
    return found


def test_nothing_secured_is_in_a_file_or_a_table(
    request: pytest.FixtureRequest, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)  # the writer imports nothing from there
    monkeypatch.setenv("POSTERN_DATABASE_URL", database_url)
    if database_url.startswith("postgresql"):
        monkeypatch.setenv("PATH", postgres_tools(request.getfixturevalue("postgres_url")))
    SEEN.clear()
    asyncio.run(leave_traces(database_url))
    back_up(tmp_path)
    found = everything(database_url, tmp_path)
    assert {*COPIES} <= {Path(name).name for name in found}
    assert sum(b"hidden" in content for content in found.values()) >= 2  # it would be seen
    for name, content in found.items():
        assert [form for form in FORMS if form in content] == [], name


def test_without_a_key_the_same_look_finds_it(
    request: pytest.FixtureRequest, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The look itself is tested: unsecured bodies without a key lie in the database until the run ends, and in each of
    the two backups."""

    async def leave() -> None:
        host = Host(database_url)
        await host.open()
        host.serve(plain)
        await host.phase(await host.accept(plain, f'{{"secret": "{MARKER}"}}'.encode()), "waiting")
        await host.close()

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POSTERN_DATABASE_URL", database_url)
    if database_url.startswith("postgresql"):
        monkeypatch.setenv("PATH", postgres_tools(request.getfixturevalue("postgres_url")))
    asyncio.run(leave())
    back_up(tmp_path)
    found = everything(database_url, tmp_path)
    seen = {Path(name).name for name, content in found.items() if any(form in content for form in FORMS)}
    assert {*COPIES, *(TABLES if database_url.startswith("postgresql") else FILES)} <= seen


@workflow(access=anonymous(), durable=True)
async def plain(ctx, body: dict[str, str]) -> None:
    await ctx.step(reads, body["secret"])
    await ctx.sleep(3600)
