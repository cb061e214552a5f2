"""The journal's part: when its server can read, and when it is ready."""

import asyncio
from functools import partial
from pathlib import Path

import pytest

from postern.assembly.journal import journal_part
from postern.ids import id_at, new_id
from postern.journal.database.engine import check_database
from postern.journal.run_logs import Lines, LogLine, add_lines
from postern.settings import load_settings

pytestmark = [pytest.mark.anyio, pytest.mark.process]


async def test_a_server_reads_at_once_and_is_ready_when_its_writer_has_opened_the_database(tmp_path: Path):
    """The first read of revocations, for which every authenticated request waits, does not wait for another process."""
    settings = load_settings(defaults={"database_url": f"sqlite:///{tmp_path / 'postern.db'}"})
    for known in (False, True):
        part = journal_part(settings, lambda _deleted: None)
        heard: list[object] = []
        listen, part.journal._writer._received = part.journal._on_message, heard.append
        assert part.life is not None
        async with part.life():
            read = asyncio.create_task(part.journal.read(lambda connection: connection.dialect.name))
            ready = asyncio.ensure_future(part.checks["journal"]())
            while not heard or (known and not read.done()):
                await asyncio.sleep(0.001)
            assert (read.done(), ready.done()) == (known, False)
            listen(heard[0])
            assert (await read, await ready) == ("sqlite", "")
        assert check_database(settings.database_url), "the tables are there for the next start"


async def test_its_rounds_delete_old_lines_of_runs_whose_records_are_gone(tmp_path: Path):
    """The release before deletes the records only, and knows no lines."""
    settings = load_settings(defaults={"database_url": f"sqlite:///{tmp_path / 'postern.db'}"})
    part = journal_part(settings, lambda _deleted: None)
    assert part.life is not None
    async with part.life():
        for run_id in (id_at(1000.0), new_id()):
            lines = Lines(run_id, 1, 1, (LogLine(1.0, "stdout", "", "", "said"),), 0, 0, "")
            await part.journal.write(partial(add_lines, lines=lines))
        assert await part.retention.also["run_logs"](2000.0) == 1
        assert await part.retention.also["run_logs"](2000.0) == 0
