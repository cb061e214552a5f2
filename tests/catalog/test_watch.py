"""The catalog while it serves: changes of the folder take effect, and a run ends on the code it began with."""

import asyncio
import gc
import shutil
import sys
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from postern.access.policy import Open
from postern.catalog import Catalog, Snapshot

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("own_modules"), pytest.mark.network]

HEAD = "from postern import Context, workflow\n"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "flows"
    path.mkdir()
    return path


def catalog_of(folder: Path, on_change: Callable[[Snapshot, Snapshot], None] | None = None) -> Catalog:
    return Catalog(folder, lambda access: Open(), on_change=on_change)


def write(folder: Path, name: str, value: object, function: str = "hello") -> None:
    (folder / name).write_text(f"{HEAD}@workflow\ndef {function}(ctx): return {value!r}\n")


def call(catalog: Catalog, name: str) -> Any:
    trigger = catalog.snapshot.triggers.get(name)
    return trigger.workflow(None) if trigger else None


@asynccontextmanager
async def watching(catalog: Catalog) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(catalog.watch())
    try:
        yield task
        assert not task.done()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.wait_for(task, 5)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for the condition. The bound is for a hang only: a busy machine may be slow."""
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


def errors(logs: list[Any]) -> list[Any]:
    return [entry for entry in logs if entry["event"] == "workflows-not-followed"]


async def test_dropped_changed_and_removed_files_take_effect(folder: Path) -> None:
    """Also a package, a helper, and a change between the load and the watch."""
    catalog = catalog_of(folder)
    catalog.load()
    write(folder, "early.py", 1, "early")
    async with watching(catalog):
        await until(lambda: call(catalog, "early") == 1)

        write(folder, "hello.py", 1)
        await until(lambda: call(catalog, "hello") == 1)
        write(folder, "hello.py", 2)
        await until(lambda: call(catalog, "hello") == 2)
        (folder / "pack").mkdir()
        write(folder, "pack/__init__.py", 3, "packed")
        await until(lambda: call(catalog, "packed") == 3)
        (folder / "hello.py").write_text("def (")
        await until(lambda: len(catalog.snapshot.faults) == 1)
        assert call(catalog, "hello") == 2
        (folder / "hello.py").unlink()
        await until(lambda: call(catalog, "hello") is None)
        assert set(catalog.snapshot.triggers) == {"early", "packed"}


async def test_swaps_happen_on_the_loop(folder: Path) -> None:
    """on_change may touch what belongs to the event loop: it is called in its thread, with a running loop."""
    loops = []
    catalog = catalog_of(folder, lambda old, new: loops.append(asyncio.get_running_loop()))
    async with watching(catalog):
        write(folder, "hello.py", 1)
        await until(lambda: bool(loops))
    assert set(loops) == {asyncio.get_running_loop()}


async def test_the_watch_outlives_the_folder(folder: Path, tmp_path: Path) -> None:
    """While it is missing, all workflows are still served and one error is logged. A new folder is then followed."""
    write(folder, "hello.py", 1)
    catalog = catalog_of(folder)
    catalog.load()
    with capture_logs() as logs:
        async with watching(catalog):
            for value, away in enumerate((tmp_path / "first", tmp_path / "second"), start=1):
                shutil.move(folder, away)
                await until(lambda value=value: len(errors(logs)) == value)  # type: ignore[misc]
                assert call(catalog, "hello") == value
                shutil.copytree(away, folder)
                write(folder, "hello.py", value + 1)
                await until(lambda value=value: call(catalog, "hello") == value + 1)  # type: ignore[misc]
            write(folder, "hello.py", "last")
            await until(lambda: call(catalog, "hello") == "last")
    assert len(errors(logs)) == 2
    assert "POSTERN_WORKFLOWS" in errors(logs)[0]["cause"]


async def test_the_watch_outlives_an_error_of_a_listener(folder: Path) -> None:
    """If on_change raises, the new snapshot is served all the same, and the next change is seen."""

    def fail(old: Snapshot, new: Snapshot) -> None:
        raise RuntimeError("listener")

    catalog = catalog_of(folder, fail)
    with capture_logs() as logs:
        async with watching(catalog):
            for value in (1, 2, 3):
                write(folder, "hello.py", value)
                await until(lambda value=value: call(catalog, "hello") == value)  # type: ignore[misc]
    assert "RuntimeError: listener" in [entry.get("cause") for entry in logs]


SLOW = """
import time
from pathlib import Path
Path({began!r}).touch()
while not Path({go_on!r}).exists():
    time.sleep(0.01)
raise RuntimeError("slow")
"""


async def test_the_loop_runs_on_while_a_module_takes_its_time(folder: Path) -> None:
    """A slow import happens in a thread. Requests meanwhile use the snapshot, and a stop is quick."""
    write(folder, "hello.py", 1)
    catalog = Catalog(folder, lambda access: Open(), import_timeout=60)
    catalog.load()
    began = folder / "began"
    go_on = folder / "go-on"
    async with watching(catalog):
        (folder / "slow.py").write_text(SLOW.format(began=str(began), go_on=str(go_on)))
        await until(began.exists)
        assert call(catalog, "hello") == 1
        assert catalog.snapshot.faults == ()
        go_on.touch()
        await until(lambda: bool(catalog.snapshot.faults))
        assert catalog._generation is not None
        catalog._generation._seconds = 0.3
        (folder / "endless.py").write_text("import time\nwhile True: time.sleep(0.01)\n")
        await until(lambda: len(catalog.snapshot.faults) == 2)


LAZY = """
import asyncio
from workflows._lib import version
@workflow
async def hello(ctx, events):
    entered, go_on = events
    entered.set()
    await go_on.wait()
    from workflows._lazy import lazy_version
    from . import _late
    import workflows._lib as lib
    return mark(), version, lib.version, lazy_version, _late.late_version
def mark(): return {mark}
"""


def write_lazy(folder: Path, mark: int, helpers: int | None = None) -> None:
    (folder / "hello.py").write_text(HEAD + LAZY.format(mark=mark))
    if helpers is not None:
        (folder / "_lib.py").write_text(f"version = {helpers}\n")
        (folder / "_lazy.py").write_text(f"lazy_version = {helpers}\n")
        (folder / "_late.py").write_text(f"late_version = {helpers}\n")


@pytest.mark.parametrize("helpers_change", [False, True])
async def test_a_run_in_flight_ends_on_the_code_it_began_with(folder: Path, helpers_change: bool) -> None:
    """Its own globals, the helpers it imported, and those that it imports only after the reload."""
    write_lazy(folder, 1, helpers=1)
    catalog = catalog_of(folder)
    catalog.load()
    entered, go_on = asyncio.Event(), asyncio.Event()
    run = asyncio.create_task(catalog.snapshot.triggers["hello"].workflow(None, (entered, go_on)))
    await asyncio.wait_for(entered.wait(), 5)

    write_lazy(folder, 2, helpers=2 if helpers_change else None)
    catalog.load()
    now = await catalog.snapshot.triggers["hello"].workflow(None, (asyncio.Event(), set_event()))
    go_on.set()

    assert await run == (1, 1, 1, 1, 1)
    assert now == ((2, 2, 2, 2, 2) if helpers_change else (2, 1, 1, 1, 1))


def set_event() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


async def test_a_version_that_serves_on_keeps_the_helpers_it_had(folder: Path) -> None:
    """Also those that it imports for the first time after the helper was broken or removed."""
    write_lazy(folder, 1, helpers=1)
    catalog = catalog_of(folder)
    catalog.load()
    (folder / "_lib.py").write_text("def (")
    (folder / "_lazy.py").write_text("def (")
    (folder / "_late.py").unlink()
    catalog.load()

    assert catalog.snapshot.faults[0].still_serving == ("hello",)
    assert await catalog.snapshot.triggers["hello"].workflow(None, (asyncio.Event(), set_event())) == (1, 1, 1, 1, 1)


async def test_code_that_nothing_uses_any_more_is_let_go(folder: Path) -> None:
    """However often a helper changes, old modules do not pile up."""
    write_lazy(folder, 1, helpers=1)
    catalog = catalog_of(folder)
    catalog.load()
    await catalog.snapshot.triggers["hello"].workflow(None, (asyncio.Event(), set_event()))
    old = [
        weakref.ref(sys.modules[name]) for name in ("workflows", "workflows.hello", "workflows._lib", "workflows._lazy")
    ]
    write_lazy(folder, 2, helpers=2)
    catalog.load()
    gc.collect()

    assert [ref() for ref in old] == [None] * 4


@pytest.mark.parametrize("what", ["package", "data"])
async def test_a_fault_that_is_repaired_outside_the_file_goes_away(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """A package that is installed, or a file that the module reads. Meanwhile nothing is logged twice, and no other
    module is executed again."""
    library = tmp_path / "library"
    library.mkdir()
    monkeypatch.syspath_prepend(library)
    other = "import sys\nsys.executed_other = getattr(sys, 'executed_other', 0) + 1\n"
    (folder / "other.py").write_text(f"{HEAD}{other}@workflow\ndef other(ctx): return 1\n")
    needs = {"package": "import outside_package\n", "data": f"open({str(library / 'data')!r}).close()\n"}[what]
    (folder / "hello.py").write_text(f"{HEAD}{needs}@workflow\ndef hello(ctx): return 1\n")
    monkeypatch.setattr(sys, "executed_other", 0, raising=False)
    catalog = Catalog(folder, lambda access: Open(), retry_seconds=0.0)
    with capture_logs() as logs:
        catalog.load()
        assert [fault.file.name for fault in catalog.snapshot.faults] == ["hello.py"]
        for _ in range(3):
            catalog.load()
        async with watching(catalog):
            (library / {"package": "outside_package.py", "data": "data"}[what]).write_text("")
            await until(lambda: call(catalog, "hello") == 1)
    assert catalog.snapshot.faults == ()
    assert [entry["event"] for entry in logs].count("workflow-fault") == 1
    assert sys.executed_other == 1  # type: ignore[attr-defined]


async def test_a_fault_of_the_file_itself_is_not_tried_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is one before its time, which is later if the module takes long to fail."""
    (folder / "hello.py").write_text("def oops(:\n")
    catalog = Catalog(folder, lambda access: Open(), retry_seconds=0.0)
    catalog.load()
    assert not catalog._is_due()
    (folder / "hello.py").write_text("import no_such_package_of_anybody\n")
    catalog.load()
    catalog._plan_retry(took=0.0)
    assert catalog._is_due()
    catalog._plan_retry(took=10.0)
    assert not catalog._is_due()


async def test_what_policies_depend_on_is_looked_at_again(folder: Path) -> None:
    """As when [people] of postern.toml changes."""
    write(folder, "hello.py", 1)
    people = {"lisa": "1"}
    bound: list[str] = []

    def bind(access: Any) -> Open:
        bound.append(people["lisa"])
        return Open()

    catalog = Catalog(folder, bind, around=lambda: dict(people))
    catalog.load()
    catalog.load()
    assert bound == ["1"]
    async with watching(catalog):
        people["lisa"] = "2"
        await until(lambda: bound[-1] == "2")
