"""A writer that is started before the server has work for it."""

import os
import socket
import sys
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from postern.journal.journal import Journal
from postern.journal.writing import watched_writer, writer_process
from postern.journal.writing.writer_process import EarlyWriter, handed_over
from tests.journal.operations import scalar
from tests.journal.test_journal import ended, record, started
from tests.journal.test_no_record_no_run import until

pytestmark = [pytest.mark.anyio, pytest.mark.process]


@pytest.fixture(autouse=True)
def two_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)


async def test_an_early_writer_records_runs_and_another_one_follows_it(tmp_path: Path, monkeypatch):
    """Python is started once: further writers are forks here."""
    monkeypatch.setattr(watched_writer, "RESTART_PAUSE", 0.01)
    with closing(EarlyWriter()) as early:
        process = early._process
        journal = Journal(f"sqlite:///{tmp_path}/postern.db", start_writer=early.start)
        await journal.open()
        for _ in range(2):
            await journal.end(run := ended(started()))
            assert (await record(journal, run.id))["state"] == "Succeeded"
            link = journal._writer._link
            assert link is not None
            assert (link._process is process) == (process is not None)
            process = None
            link.kill()
            await until(lambda: not journal._writer.is_open)
            await until(lambda: journal.available and journal._writer.is_open)
        await journal.write(partial(scalar, statement="SELECT 1"))
        await journal.aclose()


@pytest.mark.parametrize("fault", ["ended", "not started", "one processor"])
async def test_a_writer_is_started_as_ever_if_the_early_one_is_not_there(fault, tmp_path: Path, monkeypatch):
    with monkeypatch.context() as patch:
        if fault == "ended":
            patch.setattr(writer_process, "EARLY_PROGRAM", "pass")
        elif fault == "not started":
            patch.setattr(sys, "executable", str(tmp_path / "none"))
        else:
            patch.setattr(os, "cpu_count", lambda: 1)
        opened = EarlyWriter()
    with closing(opened) as early:
        assert (early._process is None) == (fault != "ended")
        if early._process is not None:
            early._process.wait()
        journal = Journal(f"sqlite:///{tmp_path}/postern.db", start_writer=early.start)
        await journal.open()
        await journal.end(run := ended(started()))
        assert (await record(journal, run.id))["state"] == "Succeeded"
        await journal.aclose()


def test_an_early_writer_without_work_ends_with_its_command():
    with closing(EarlyWriter()) as early:
        process = early._process
    assert process is not None
    assert process.returncode is not None


@pytest.mark.parametrize("how", ["its socket is closed", "another process has its socket"])
def test_an_early_writer_ends_with_its_server(how, monkeypatch):
    server, its = socket.socketpair()
    parents = iter([7, 7, 1])
    monkeypatch.setattr(writer_process, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr(os, "getppid", lambda: next(parents))
    monkeypatch.setattr(sys, "argv", ["writer", str(its.detach())])
    with server:
        if how == "its socket is closed":
            server.close()
        with pytest.raises(SystemExit):
            handed_over()
    assert next(parents, None) == (7 if how == "its socket is closed" else None)


def test_an_early_writer_prints_where_its_server_reads(tmp_path: Path, monkeypatch):
    """Errors of Python itself, before it has anything else to report them with."""
    server, its = socket.socketpair()
    ours, link = socket.socketpair()
    monkeypatch.setattr(sys, "argv", ["writer", str(its.detach())])
    with server, ours, link, (tmp_path / "printed").open("wb") as printed:
        socket.send_fds(server, [b"\0"], [link.fileno(), printed.fileno()])
        former = os.dup(2)
        try:
            got = handed_over()
            os.write(2, b"an error")
        finally:
            os.dup2(former, 2)
            os.close(former)
        with socket.socket(fileno=got) as end:
            end.send(b"here")
        assert ours.recv(9) == b"here"
    assert (tmp_path / "printed").read_bytes() == b"an error"
