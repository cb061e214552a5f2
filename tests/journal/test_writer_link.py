"""The writer's process that a server starts before its journal needs it."""

import os
from pathlib import Path

import pytest

from postern.journal.journal import Journal
from postern.journal.writing import writer_link
from postern.journal.writing.writer_link import started_early

pytestmark = [pytest.mark.anyio, pytest.mark.process]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'postern.db'}"


async def test_the_first_link_takes_the_process_that_was_started_early(url: str):
    with started_early():
        early = writer_link._early[0].process
        journals = Journal(url), Journal(url)
        for journal in journals:
            await journal.open()
        first, second = (journal._writer._link._process for journal in journals)  # type: ignore[union-attr]
        assert first is early
        assert second is not early
    assert early.poll() is None, "it belongs to its journal now"
    for journal in journals:
        await journal.aclose()
    assert early.poll() == 0


@pytest.mark.usefixtures("own_writers")
def test_a_process_that_no_link_has_taken_ends_with_the_block():
    with started_early():
        early = writer_link._early[0].process
        assert early.poll() is None
    assert early.poll() is not None
    assert writer_link._early == []


@pytest.mark.usefixtures("own_writers")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_it_ends_with_its_server_also_while_a_fork_of_the_server_goes_on():
    """Modules are tried in a fork. What they do there cannot reach the writer, or keep it."""
    with started_early():
        started = writer_link._early[0]
        ready, go_on = os.pipe(), os.pipe()
        fork = os.fork()
        if fork == 0:
            os.close(go_on[1])
            os.write(ready[1], b"1" if started.ours.fileno() == -1 else b"0")
            os.read(go_on[0], 1)
            os._exit(0)
        assert os.read(ready[0], 1) == b"1"
        started.ours.close()
        assert started.process.wait(30) == 0
        os.close(go_on[1])
        os.waitpid(fork, 0)
        for end in (*ready, go_on[0]):
            os.close(end)


async def test_where_it_cannot_be_started_early_the_link_starts_one(url: str, monkeypatch: pytest.MonkeyPatch):
    def no_memory(*_: object) -> None:
        raise BlockingIOError("no more processes")

    journal = Journal(url)
    with monkeypatch.context() as patch:
        patch.setattr(writer_link, "_writer", no_memory)
        early = started_early()
        early.__enter__()
    assert writer_link._early == []
    await journal.open()
    assert journal.available
    early.__exit__(None, None, None)
    await journal.aclose()
