"""Fixtures for all tests."""

import multiprocessing.process
import os
import platform
import re
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import settings

from postern import collector
from postern.catalog import catalog
from postern.journal.writing import writer_process
from postern.local_tenant import LocalTenant, serve
from tests.databases import make_tables, put_sqlite
from tests.journal.forked import Writers, forked_writers
from tests.lengthy import LENGTHY
from tests.logs.in_memory import logs_restored
from tests.modules import no_modules_left
from tests.postgres import Databases, new_database, postgres_server
from tests.process.preloaded import Process
from tests.temporary_files import put_in_memory

LONGEST_ID = 200
"""Characters of a value in the id of a test."""

AS_A_SERVER = writer_process.start_writer
"""How a server starts its writer."""

LONGEST_END = 10.0
"""Seconds until an abandoned import has ended on a slow machine."""

_ABSENT = object()

RUNNING: list[pytest.Item] = []
"""The test that runs."""

PROCESSES = Path(__file__).with_name("process")
"""All tests in this folder start processes."""

NOT_FAST = ("process", "network", "slow")
"""The markers of what a fast run leaves out."""

LEFT_OUT = re.compile(rf"^pytestmark = .*\bpytest\.mark\.({'|'.join(NOT_FAST)})\b", re.MULTILINE)
"""All tests of a module have the marker."""

LONG_MODULE = 0.5
"""Seconds that a module of a fast run takes at most on a quiet machine."""

START_PROCESSES = {"postgres_url", "durable_host", "shared_host"}
"""Fixtures that start processes. The parameters of those below that do so have the marker themselves."""

DATABASES = ("database_url", "new_database_url")
ON_POSTGRESQL = "postgresql"
"""The parameter of a test that is for this database only, by `indirect=True`: then the fixture's marker is not set."""

SERVE_A_TENANT = {"tenant", "fronted_tenant"}
"""Fixtures that serve a local tenant of their own, with new keys and over TLS."""

PROFILE: dict[str, Any] = {"deadline": None, "derandomize": False}
"""A busy machine is no fault. Where `CI` is set, Hypothesis would draw the same examples each time."""

settings.register_profile("test", **PROFILE)
settings.register_profile("fast", **PROFILE, max_examples=20)
settings.register_profile("soak", **PROFILE, max_examples=1000)


def pytest_addoption(parser: pytest.Parser) -> None:
    """The ways to run these tests besides `make test`."""
    parser.addoption(
        "--fast", action="store_true", help="leave out the tests that start processes, serve a tenant or are slow"
    )
    parser.addoption("--soak", action="store_true", help="run the campaigns only, and each at its full length")


def pytest_configure(config: pytest.Config) -> None:
    """A soak tries properties with more examples, a fast run with fewer."""
    profiles = {"soak": config.getoption("--soak"), "fast": config.getoption("--fast"), "test": True}
    settings.load_profile(next(name for name, chosen in profiles.items() if chosen))
    put_in_memory()
    collector.begin()


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """All modules and tests stay: to look for garbage among them again and again is a tenth of a run."""
    collector.loaded()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """A fast run does not import what it leaves out: each of its workers would."""
    if not config.getoption("--fast"):
        return None
    left_out = collection_path == PROCESSES or (
        collection_path.suffix == ".py" and LEFT_OUT.search(collection_path.read_text("utf-8"))
    )
    return True if left_out else None


@pytest.fixture(scope="session", autouse=True)
def processes_are_marked() -> Iterator[None]:
    """A test without the marker `process` that starts a process fails."""
    platform.processor()  # Azure's client asks for it, and Python starts a program the first time
    with pytest.MonkeyPatch.context() as patch:
        starts = (subprocess.Popen, "__init__"), (Process, "__init__"), (multiprocessing.process.BaseProcess, "start")
        for kind, name in starts:
            patch.setattr(kind, name, _marked(getattr(kind, name)))
        yield


@pytest.fixture(scope="session", autouse=True)
def loggers_follow_the_configuration() -> Iterator[None]:
    """A logger of a module never keeps the configuration of the test in which it was used first: the lines of all later
    tests in this process would go there."""
    configure = structlog.configure

    def uncached(*args: Any, **options: Any) -> None:
        configure(*args, **options | {"cache_logger_on_first_use": False})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(structlog, "configure", uncached)
        yield


@pytest.fixture(autouse=True)
def environment_is_left_as_it_was() -> Iterator[None]:
    """A test that leaves a variable of the environment changed fails: in another order it would fail others."""
    before = _environment()
    yield
    after = _environment()
    if changed := sorted({name for name, _ in before.items() ^ after.items()}):
        for name in changed:
            os.environ.pop(name, None)
        os.environ.update(before)
        pytest.fail(f"The test leaves {', '.join(changed)} changed in the environment.")


def _environment() -> dict[str, str]:
    """The environment without what pytest and the server's processes keep there for themselves."""
    own = ("PYTEST_CURRENT_TEST", "_POSTERN_")
    return {name: value for name, value in os.environ.items() if not name.startswith(own)}


@pytest.fixture(autouse=True)
def context_is_left_as_it_was() -> Iterator[None]:
    """A test that leaves a context variable changed fails: later tests would begin in the context of its run."""
    before = copy_context()
    yield
    left = [variable.name for variable, value in copy_context().items() if before.get(variable, _ABSENT) is not value]
    if left:
        pytest.fail(f"The test leaves {', '.join(left)} changed in the context.")


@pytest.fixture(autouse=True)
def imports_have_ended() -> Iterator[None]:
    """A test whose abandoned import goes on fails: what the import holds would be garbage at any time later, in the
    middle of another test."""
    yield
    importing = [thread for thread in threading.enumerate() if thread.name.startswith("import ")]
    for thread in importing:
        thread.join(LONGEST_END)
    if left := [thread.name for thread in importing if thread.is_alive()]:
        pytest.fail(f"The test leaves threads: {', '.join(left)}. A module that hangs has to sleep again and again.")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> None:
    """Keep which test runs."""
    RUNNING[:] = [item]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown() -> None:
    """What all tests share may start a process to end."""
    RUNNING.clear()


def _marked(start: Callable[..., Any]) -> Callable[..., Any]:
    def started(*arguments: Any, **more: Any) -> Any:
        if RUNNING and RUNNING[0].get_closest_marker("process") is None:
            pytest.fail("A test that starts a process has to have the marker `process`: `make test-fast` skips it.")
        return start(*arguments, **more)

    return started


@pytest.fixture(scope="session")
def writers() -> Iterator[Writers]:
    with forked_writers() as opened:
        yield opened


@pytest.fixture(scope="module", autouse=True)
def quick_writers(writers: Writers) -> Iterator[None]:
    """Journals in this process start their writers by a fork. A test whose subject is the writer's process uses
    `own_writers`, and servers in processes of their own start theirs as ever."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer_process, "start_writer", _marked(writers.start))
        yield


@pytest.fixture
def own_writers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Journals in this process start their writers as a server starts them."""
    monkeypatch.setattr(writer_process, "start_writer", AS_A_SERVER)


@pytest.fixture(scope="module", autouse=True)
def untried_modules() -> Iterator[None]:
    """Applications in this process import their modules without trying them in another process first, which takes a
    new Python each time. The module whose subject is the trial overrides this, and servers in processes of their own
    try theirs as ever."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalog, "tried", lambda *_, **__: {})
        yield


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """The name of the argument in place of a value whose text is long or has an address: all workers must give a test
    the same id."""
    text = repr(val)
    return argname if " at 0x" in text or len(text) > LONGEST_ID else None


def _is_on_postgresql(item: pytest.Item) -> bool:
    callspec = getattr(item, "callspec", None)
    return callspec is not None and ON_POSTGRESQL in (callspec.params.get(name) for name in DATABASES)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Set the markers that follow from what a test uses, and leave out what the options say. Modules that start
    processes come first: those are the long ones, and short ones at the end let all workers end at the same time. The
    longest of them begin."""
    process = {path: path.is_relative_to(PROCESSES) for path in {item.path for item in items}}
    markers: dict[pytest.Item, set[str]] = {}
    for item in items:
        names = set(getattr(item, "fixturenames", ()))
        found = {marker.name for marker in item.iter_markers()}
        is_hypothesis = getattr(getattr(item, "obj", None), "is_hypothesis_test", False)
        follow = {
            "process": bool(names & START_PROCESSES) or process[item.path] or _is_on_postgresql(item),
            "network": bool(names & SERVE_A_TENANT),
            "soak": "long" in found or "campaign" in names or is_hypothesis,
        }
        for marker in [name for name, follows in follow.items() if follows]:
            item.add_marker(marker)
            found.add(marker)
        markers[item] = found
    kept = [item for item in items if _is_asked_for(config, markers[item])]
    chosen = set(kept)
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    slow = {item.path for item in kept if "process" in markers[item]}
    lengthy = {path: number - len(LENGTHY) for number, path in enumerate(LENGTHY)}
    place = {path: number for number, path in enumerate(dict.fromkeys(item.path for item in kept))} | lengthy

    def order(item: pytest.Item) -> tuple[bool, int, bool, bool]:
        return item.path not in slow, place[item.path], "first" not in markers[item], "last" in markers[item]

    items[:] = sorted(kept, key=order)


def _is_asked_for(config: pytest.Config, markers: set[str]) -> bool:
    if config.getoption("--soak"):
        return "soak" in markers
    return "long" not in markers and not (config.getoption("--fast") and markers & set(NOT_FAST))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """A fast run names the modules that make it slow."""
    if not config.getoption("--fast"):
        return
    seconds: Counter[str] = Counter()
    for report in (*terminalreporter.stats.get("", []), *terminalreporter.stats.get("passed", [])):
        seconds[report.nodeid.partition("::")[0]] += report.duration
    if long := [f"{name} ({spent:.1f} s)" for name, spent in seconds.most_common(5) if spent > LONG_MODULE]:
        terminalreporter.write_line(f"The longest modules, which may need the marker slow: {', '.join(long)}")


@pytest.fixture
def campaign(request: pytest.FixtureRequest) -> Callable[[int, int], int]:
    """campaign(short, long) -> how often a campaign does what it does: short in `make test`, long in `make soak`."""
    soak = request.config.getoption("--soak")
    return lambda short, long: long if soak else short


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The server runs on asyncio, and so do the tests."""
    return "asyncio"


@pytest.fixture(scope="session")
def local_tenant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalTenant]:
    """A local tenant that serves its keys, its vault and its directory over TLS. Tests must leave it as it is."""
    with serve(LocalTenant.open(tmp_path_factory.mktemp("local-tenant"))) as tenant:
        yield tenant


@pytest.fixture
def restored_logs() -> Iterator[None]:
    """Put back the configuration of logs after the test."""
    with logs_restored():
        yield


@pytest.fixture
def own_modules() -> Iterator[None]:
    """Remove what a catalog adds to `sys.modules` and the import system after the test."""
    with no_modules_left():
        yield


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL server to create databases on: the one of POSTERN_TEST_POSTGRES_URL, or else a temporary one on a
    Unix socket."""
    if named := os.environ.get("POSTERN_TEST_POSTGRES_URL"):
        yield named
        return
    with postgres_server(durable=False) as url:
        yield url


@pytest.fixture(scope="session")
def postgres_template(postgres_url: str) -> Iterator[str]:
    """A database of that server that has the tables."""
    with new_database(postgres_url) as (name, url):
        make_tables(url)
        yield name


@pytest.fixture(scope="session")
def postgres_databases(postgres_url: str, postgres_template: str) -> Iterator[Databases]:
    """Databases of that server that have the tables and nothing in them."""
    with closing(Databases(postgres_url, postgres_template)) as databases:
        yield databases


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.process)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database of each kind for this test only, with empty tables."""
    if request.param == "sqlite":
        yield put_sqlite(tmp_path / "postern.db")
        return
    with request.getfixturevalue("postgres_databases").one() as url:
        yield url


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.process)])
def new_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The same without tables."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'postern.db'}"
        return
    with new_database(request.getfixturevalue("postgres_url")) as (_, url):
        yield url
