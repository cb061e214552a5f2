"""The books of callers and journal agree, whatever happens to processes, databases, rights, files and clocks."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random

import psycopg
import pytest
from sqlalchemy import make_url

from tests.process.disasters import EVERYWHERE, ON_POSTGRESQL, ON_SQLITE, Scene
from tests.process.load import (
    PATIENCE,
    assert_kept,
    assert_told,
    assert_undisturbed,
    calling,
    folder_of_workflows,
    none_stays_running,
)
from tests.process.postgres import own_postgres
from tests.process.servers import until

ROLE = "postern_server"
Disaster = Callable[[Scene], None]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    folder_of_workflows(tmp_path)
    return {"POSTERN_PORT": "0", "POSTERN_LOG_FORMAT": "json", "POSTERN_RETENTION_DAYS": "1"}


def programme(random: Random, rounds: int, short: Sequence[Disaster], long: Sequence[Disaster]) -> Iterator[Disaster]:
    """What happens: each of the short list, or in a soak so many rounds of the long one, in a random order. The two
    tests share what can happen on both databases."""
    for of in [long] * rounds or [short]:
        yield from random.sample(of, len(of))


@contextmanager
def two_servers(scene: Scene) -> Iterator[Scene]:
    """The scene with two servers, the first of which is called."""
    try:
        scene.servers[:] = [scene.begin(), scene.begin()]
        for server in scene.servers:
            server.open()
        scene.callers.go_to(scene.server.port)
        scene.callers.wait_for(40, scene.server)
        yield scene
    finally:
        scene.close()


def compare_books(scene: Scene, url: str) -> str:
    """All calls end, and what callers and journal have is the same. Returns figures."""
    callers = scene.callers
    callers.stop()
    none_stays_running(url, scene.server)
    until(lambda: scene.server.client.get("/readyz").status_code == 200, PATIENCE, lambda: scene.server.output[-3000:])
    assert_told(url, callers)
    states = assert_kept(url, callers)
    for server in scene.servers:
        assert_undisturbed(server)
        assert server.stop() == 0
    superseded = sum(server.output.count("run-superseded") for server in scene.servers)
    counts = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    return (
        f" [{len(scene.happened)} disasters, {len(callers.replies)} replies checked: {counts}, {superseded} superseded]"
    )


def test_sqlite(tmp_path, environ, campaign, capsys):
    random = Random(time.time_ns())
    file = tmp_path / "postern.db"
    environ["POSTERN_DATABASE_URL"] = url = f"sqlite:///{file}"
    with calling() as callers:
        scene = Scene(tmp_path, environ, callers, random, 0, file=file)
        with two_servers(scene):
            short, long = (*EVERYWHERE[::2], *ON_SQLITE), (*EVERYWHERE, *ON_SQLITE)
            for disaster in programme(random, campaign(0, 25), short, long):
                scene.happens(disaster)
            figures = compare_books(scene, url)
    with capsys.disabled():
        print(figures, end="")


@pytest.mark.long
def test_postgresql(tmp_path, environ, campaign, capsys):
    """In all, backends are terminated more than a hundred times in a soak."""
    random = Random(time.time_ns())
    with own_postgres() as postgres, calling() as callers:
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            connection.execute(f"CREATE ROLE {ROLE} LOGIN")
            connection.execute("CREATE DATABASE books")
        owner = make_url(postgres.url).set(database="books")
        with psycopg.connect(owner.render_as_string(hide_password=False), autocommit=True) as connection:
            connection.execute(f"GRANT ALL ON SCHEMA public TO {ROLE}")
        environ["POSTERN_DATABASE_URL"] = url = owner.set(username=ROLE).render_as_string(hide_password=False)
        scene = Scene(tmp_path, environ, callers, random, campaign(15, 100), role=ROLE)
        scene.owner = owner.render_as_string(hide_password=False)
        with two_servers(scene):
            short, long = (*EVERYWHERE[1::2], *ON_POSTGRESQL), (*EVERYWHERE, *ON_POSTGRESQL)
            for disaster in programme(random, campaign(0, 25), short, long):
                scene.happens(disaster)
            figures = compare_books(scene, url)
    with capsys.disabled():
        print(figures, end="")
