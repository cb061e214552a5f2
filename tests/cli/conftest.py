"""Commands in a folder of their own, with an environment that sets nothing of Postern's."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

import pytest
import structlog
from typer.testing import CliRunner, Result

from postern.cli.commands import app
from postern.local_tenant import LocalTenant
from tests.cli import recorded
from tests.cli.keeper import Keeper, keeping
from tests.databases import put_sqlite
from tests.shipped import copy_examples
from tests.tools import postgres_tools

Postern = Callable[..., Result]


@pytest.fixture(scope="session")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A local tenant's folder, made once: new keys and certificates take their time."""
    return LocalTenant.open(tmp_path_factory.mktemp("cli") / "local-tenant").folder


@pytest.fixture
def folder(tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: a copy of the repository's workflows, and a local tenant that is not running."""
    copy_examples(tmp_path / "workflows")
    shutil.copytree(state, tmp_path / "var" / "local-tenant")
    for name in [name for name in os.environ if name.startswith("POSTERN_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def quiet_logs() -> Iterator[None]:
    """Commands log nothing that a user reads; a process sees to that as it starts. Loggers must not remember it."""
    structlog.configure(processors=[_drop], cache_logger_on_first_use=False)
    yield
    structlog.reset_defaults()


def _drop(*_: object) -> str:
    raise structlog.DropEvent


@pytest.fixture
def postern(folder: Path, quiet_logs: None) -> Postern:
    """Run a command in this process. `environ` adds variables, `stdin` is what it may read. Variables that the command
    sets for its own process are gone when it ends."""

    def run(*arguments: str, stdin: str | None = None, **environ: str) -> Result:
        with patch.dict(os.environ, environ):
            result = CliRunner().invoke(app, arguments, input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture(scope="session")
def listening(state: Path) -> Iterator[Keeper]:
    """A server that keeps records, started once."""
    with keeping(Keeper(LocalTenant.open(state))) as started:
        yield started


@pytest.fixture
def keeper(listening: Keeper) -> Keeper:
    """A server without records. It accepts the tokens of the local tenant of `folder`."""
    listening.forget()
    return listening


@pytest.fixture
def url(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file of SQLite's with one run, and the settings that name it."""
    made = put_sqlite(folder / "postern.db")
    monkeypatch.setenv("POSTERN_DATABASE_URL", made)
    recorded.work(made)
    return made


@pytest.fixture
def postgres(request: pytest.FixtureRequest, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A database of PostgreSQL's with one run, the settings that name it, and its programs."""
    monkeypatch.setenv("PATH", postgres_tools(postgres_url))
    with request.getfixturevalue("postgres_databases").one() as made:
        monkeypatch.setenv("POSTERN_DATABASE_URL", made)
        recorded.work(made)
        yield made
