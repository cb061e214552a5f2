"""What commands of databases find there."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, insert, select

from postern.journal.database.engine import open_engine
from postern.journal.process_identity import this_machine
from postern.journal.schema import nodes, runs
from tests.releases import OF_0001, RUN, say

SECRET = "pass-word-marker"


def work(url: str, run_id: str = RUN) -> None:
    """What a program leaves that records one run and ends."""
    with closing_engine(url) as engine, engine.begin() as connection:
        say(connection, OF_0001, run_id)


@contextmanager
def closing_engine(url: str) -> Iterator[Engine]:
    engine = open_engine(url, writing=True)
    try:
        yield engine
    finally:
        engine.dispose()


def recorded(url: str) -> list[str]:
    with closing_engine(url) as engine, engine.connect() as connection:
        return list(connection.execute(select(runs.c.id).order_by(runs.c.id)).scalars())


def live(url: str, process: str) -> None:
    """A process of this machine says that it serves."""
    row = {"id": "n", "machine": this_machine(), "process": process, "started_at": 1.0, "beat": 1}
    with closing_engine(url) as engine, engine.begin() as connection:
        connection.execute(insert(nodes), [row])
