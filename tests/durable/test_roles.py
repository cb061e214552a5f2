"""The command of OPERATING.md makes the checkpoints' tables as the owner, and the server's role, which may make none,
works with them."""

import asyncio
import re
import sys
from pathlib import Path

import anyio
import psycopg
import pytest
from sqlalchemy import make_url

import postern.durable
from postern.durable.dbos_engine import DbosEngine
from tests.journal.test_roles import roles

__all__ = ["roles"]

pytestmark = [pytest.mark.anyio, pytest.mark.process]

PAGE = Path(postern.durable.__file__).with_name("OPERATING.md").read_text("utf-8")


async def test_the_servers_role_needs_no_right_to_make_tables_after_the_owner_has_made_them(roles: tuple[str, str]):
    (command,) = re.findall(r"^\$ (dbos .*)$", PAGE, re.MULTILINE)
    owner, server = roles
    database = make_url(server).database or ""
    ended = asyncio.Event()

    async def execute(run_id: str, checkpoints: object) -> bool:
        ended.set()
        return True

    engine = DbosEngine(server, "process", execute)
    with pytest.raises(Exception, match="permission denied"):
        await engine.start()
    url = make_url(owner).set(drivername="postgresql+psycopg").render_as_string(hide_password=False)
    written = re.sub(r'"[^"]*"', "URL", command).replace("--app-role postern", f"--app-role {database}").split()
    arguments = [url if each == "URL" else each for each in written]
    program = Path(sys.executable).with_name(arguments[0])
    done = await anyio.run_process([program, *arguments[1:]], check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    await engine.start()
    await engine.begin(["run"])
    await asyncio.wait_for(ended.wait(), 20)
    await engine.stop()
    with psycopg.connect(server) as connection:
        rows = connection.execute("SELECT workflow_uuid FROM dbos.workflow_status").fetchall()
    assert rows == [("run",)]
