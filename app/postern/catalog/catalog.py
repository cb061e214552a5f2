"""The catalog: loads the folder of workflows, keeps the last versions that worked, and follows changes of the
folder."""

import importlib
import os
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import AbstractContextManager, aclosing, nullcontext, suppress
from dataclasses import replace
from functools import partial
from math import inf
from pathlib import Path

import anyio
import anyio.to_thread
import structlog
from anyio import CapacityLimiter
from watchfiles import Change, awatch

from postern.access import Access, Policy
from postern.authoring.workflow import Workflow
from postern.catalog.likely_mistakes import Advice
from postern.catalog.modules import Generation
from postern.catalog.snapshot import (
    EMPTY,
    Fault,
    Flaw,
    Policies,
    Snapshot,
    Trigger,
    Version,
    many_tools,
    settle,
    snapshot_of,
)
from postern.catalog.sources import PACKAGE, Hashes, Source, changed_files, read_folder, shared_names
from postern.catalog.trial import Impossible, Stopped, ended_if_held, tried
from postern.catalog.versions import bound_again, clash_of_files, flaw_of_trial, not_loaded, version_of

IMPORT_TIMEOUT = 10.0
"""Seconds that one module may take to import."""

HELD_IMPORTS = 3
"""A process in which one import holds everything for so many times IMPORT_TIMEOUT ends."""

RETRY_SECONDS = 5.0
RETRY_SHARE = 20
"""Faulty files are tried again after RETRY_SECONDS, and take at most one RETRY_SHARE of the time."""

_DEBOUNCE = 400
_STEP = 200
_TICK = 400
"""Milliseconds: changes are collected for at most _DEBOUNCE, and until there was none for _STEP. The folder itself is
checked every _TICK. A thread takes the interpreter from requests every _STEP."""
_RETRY = 0.2
"""Seconds between two checks for a missing folder."""

log = structlog.get_logger("postern.catalog")


class Catalog:
    """The workflows of a folder. `snapshot` is the served state; a reader takes it once per request.

    `bind` makes a policy of an access mode, or raises AccessFault. `fits` raises WorkflowFault if a workflow with this
    policy cannot use what it declares. `on_change(old, new)` is called after a new snapshot
    is served. `around` returns what policies depend on besides the files: when it changes, all files are loaded again.
    With `trial`, modules are tried in another process before they are imported here. `besides` returns the faults of
    what names workflows outside of the folder.
    """

    def __init__(
        self,
        folder: Path,
        bind: Callable[[Access], Policy],
        *,
        on_change: Callable[[Snapshot, Snapshot], None] | None = None,
        around: Callable[[], object] = lambda: None,
        fits: Callable[[Workflow, Policy], None] = lambda _workflow, _policy: None,
        import_timeout: float = IMPORT_TIMEOUT,
        retry_seconds: float = RETRY_SECONDS,
        trial: bool = False,
        besides: Callable[[Mapping[str, Trigger]], tuple[Fault, ...]] = lambda _: (),
    ) -> None:
        self.snapshot = EMPTY
        self._besides = besides
        self._folder = folder.absolute()

        def bound(workflow: Workflow) -> Policies:
            policy = bind(workflow.access)
            fits(workflow, policy)
            return policy, None if workflow.signals is None else bind(workflow.signals)

        self._bind = bound
        self._on_change = on_change
        self._around = around
        self._import_timeout = import_timeout
        self._retry_seconds = retry_seconds
        self._trial = trial
        self._retry_at = inf
        self._around_loaded: object = None
        self._one_at_a_time = threading.Lock()
        self._swapping = threading.RLock()
        self._sources: Mapping[Path, Source] = {}
        self._generation: Generation | None = None
        self._loaded: dict[Path, Version | Flaw] = {}
        self._serving: dict[Path, Version] = {}
        self._prepared = EMPTY

    def load(self) -> Snapshot:
        """Load the files that changed since the last time, at first all, and serve them. Raises FileNotFoundError if
        the folder does not exist, and OSError if it cannot be listed. The snapshot then stays the same."""
        self._prepare()
        self._publish()
        return self.snapshot

    async def watch(self) -> None:
        """Follow the folder until cancelled. After an error of any kind, it is logged and the folder is tried again.
        While the folder is missing, the snapshot stays the same."""
        limiter = CapacityLimiter(1)  # blocking workflows may have taken all threads of the default one
        trouble = ""
        while True:
            try:
                await self._refresh(limiter)  # so that the folder is polled where it cannot be watched
                async with aclosing(self._changes()) as changes:
                    async for _ in changes:
                        await self._refresh(limiter)
                        trouble = ""
            except Exception as error:
                if trouble != (trouble := f"{type(error).__name__}: {error}"):
                    log.error("workflows-not-followed", folder=str(self._folder), cause=trouble)  # noqa: TRY400
            await anyio.sleep(_RETRY)

    async def _refresh(self, limiter: CapacityLimiter) -> None:
        await anyio.to_thread.run_sync(self._prepare, abandon_on_cancel=True, limiter=limiter)
        self._publish()

    async def _changes(self) -> AsyncGenerator[None, None]:
        """One item when the watch begins, and one for each change of the folder. Ends when another folder has replaced
        it: the system's watch stays with the old one."""
        watched = _identity(self._folder)
        first = True
        async for changes in awatch(
            self._folder,
            watch_filter=_concerns_us,
            debounce=_DEBOUNCE,
            step=_STEP,
            rust_timeout=_TICK,
            yield_on_timeout=True,
        ):
            if _identity(self._folder) != watched or (Change.deleted, str(self._folder)) in changes:
                return
            if changes or first or self._is_due():
                first = False
                yield

    def _prepare(self) -> None:
        with self._one_at_a_time:
            sources = read_folder(self._folder)
            around = self._around()
            changed = changed_files(self._sources, sources)
            again = frozenset[Path]() if changed else self._to_retry()
            if around != self._around_loaded:
                self._generation = None
                self._serving = {file: bound_again(version, self._bind) for file, version in self._serving.items()}
            if not changed and not again and self._generation is not None:
                return
            began = time.monotonic()
            self._generation, self._loaded = self._execute(sources, changed or again, retry=bool(again))
            self._sources, self._around_loaded = sources, around
            self._plan_retry(took=time.monotonic() - began)
            self._serving, flaws = settle(self._loaded, self._serving)
            prepared = snapshot_of(self._serving, flaws)
            self._prepared = replace(prepared, faults=prepared.faults + self._besides(prepared.triggers))

    def _is_due(self) -> bool:
        """Whether something else than a file may have changed the outcome."""
        return time.monotonic() >= self._retry_at or self._around() != self._around_loaded

    def _to_retry(self) -> frozenset[Path]:
        """The faulty files whose fault may have been repaired outside of them, if it is time."""
        if time.monotonic() < self._retry_at:
            return frozenset()
        importlib.invalidate_caches()
        return frozenset(file for file, found in self._loaded.items() if isinstance(found, Flaw) and found.outside)

    def _plan_retry(self, took: float) -> None:
        """Try such files again later. Modules that fail slowly are tried less often."""
        faulty = any(isinstance(found, Flaw) and found.outside for found in self._loaded.values())
        self._retry_at = time.monotonic() + max(self._retry_seconds, RETRY_SHARE * took) if faulty else inf

    def _execute(
        self, sources: Mapping[Path, Source], changed: frozenset[Path], *, retry: bool
    ) -> tuple[Generation, dict[Path, Version | Flaw]]:
        """The outcome of each file. If the changed files affect no other files, only they are loaded; otherwise all
        files are loaded again. To `retry` a faulty file affects no other."""
        generation = self._generation
        if generation is None or not (retry or self._alone(sources, changed, generation)):
            generation = Generation(self._folder, sources.values(), self._import_timeout)
            loaded: dict[Path, Version | Flaw] = {}
            to_load = list(sources.values())
        else:
            loaded = {file: outcome for file, outcome in self._loaded.items() if file not in changed}
            to_load = [sources[file] for file in sorted(changed) if file in sources]
            generation.replace(to_load)
            for file in changed - sources.keys():
                generation.remove(self._sources[file])
        shared = shared_names(sources)
        entries = [source for source in to_load if source.is_entry]
        loaded |= {source.file: clash_of_files(source) for source in entries if source.module in shared}
        loaded |= self._imported(generation, sources, _importable(entries, sources))
        for source in sources.values():
            if not source.is_entry and source.module != PACKAGE:
                loaded.pop(source.file, None)
                if unserved := _unserved(source, sources, loaded, generation):
                    loaded[source.file] = unserved
        generation.settled()
        return generation, loaded

    def _imported(
        self, generation: Generation, sources: Mapping[Path, Source], entries: list[Source]
    ) -> dict[Path, Version | Flaw]:
        """The outcome of each of these files."""
        stopped: Mapping[str, Stopped] = {}
        guard: Callable[[], AbstractContextManager[None]] = nullcontext
        if self._trial and entries:
            names, serving = [source.module for source in entries], self._generation is not None
            guard = partial(ended_if_held, HELD_IMPORTS * self._import_timeout)
            try:
                files, seconds = [*sources.values()], self._import_timeout
                stopped = tried(self._folder, files, names, seconds, hung=generation.hung, serving=serving)
            except Impossible as error:
                log.warning("workflows-not-tried", cause=str(error), fix="allow the server to start processes")
        generation.refuse({name: each.why for name, each in stopped.items()})
        hashes = Hashes(sources, self._folder)
        found: dict[Path, Version | Flaw] = {}
        for source in entries:
            if source.module in stopped:
                outcome: Version | Flaw = flaw_of_trial(stopped[source.module])
            else:
                with guard():
                    outcome = version_of(source, self._folder, generation, self._bind, hashes)
            if isinstance(outcome, Flaw):
                generation.withdraw(source.module)
            found[source.file] = outcome
        return found

    def _alone(self, sources: Mapping[Path, Source], changed: frozenset[Path], generation: Generation) -> bool:
        """Whether the changed files affect no other files."""
        affecting_others = generation.imported | shared_names(sources) | shared_names(self._sources)
        touched = [source for file in changed for source in (sources.get(file), self._sources.get(file)) if source]
        return all(source.is_entry and source.module not in affecting_others for source in touched)

    def _publish(self) -> None:
        """Serve the snapshot that was prepared last."""
        with self._swapping:
            old, new = self.snapshot, self._prepared
            if new == old:
                return
            self.snapshot = new
            _log_changes(old, new)
            if self._on_change is not None:
                self._on_change(old, new)


def try_folder(folder: Path) -> None:
    """Try the modules of a folder before a server has threads: a process with one thread is forked, which is quicker
    than a new Python. `Catalog.load` uses the outcome. A folder that cannot be read is its fault to report."""
    with suppress(OSError):
        sources = read_folder(folder.absolute())
        names = [source.module for source in _importable(sources.values(), sources)]
        if names:
            tried(folder.absolute(), [*sources.values()], names, IMPORT_TIMEOUT, serving=False)


def _importable(entries: Iterable[Source], sources: Mapping[Path, Source]) -> list[Source]:
    """Those of the files that are workflows' and have their module name for themselves."""
    shared = shared_names(sources)
    return [source for source in entries if source.is_entry and source.module not in shared]


def _unserved(
    source: Source, sources: Mapping[Path, Source], loaded: Mapping[Path, Version | Flaw], generation: Generation
) -> Flaw | None:
    """The flaw of a file in a subfolder whose workflows are not served. A faulty package has a flaw of its own."""
    package = ".".join(source.module.split(".")[:2])
    file = next((each.file for each in sources.values() if each.is_package and each.module == package), None)
    if file is not None and isinstance(loaded.get(file), Flaw):
        return None
    return not_loaded(source, file is not None, source.module in generation.imported)


def _concerns_us(change: Change, path: str) -> bool:
    return "__pycache__" not in path


def _identity(folder: Path) -> tuple[int, int]:
    found = os.stat(folder)  # noqa: PTH116 - one system call, also while the event loop waits
    return found.st_dev, found.st_ino


def _log_changes(old: Snapshot, new: Snapshot) -> None:
    for name, trigger in new.triggers.items():
        if old.triggers.get(name) is not trigger:
            log.info("workflow-loaded", **_described(trigger))
    for file, each in sorted(_new_advice(old, new)):
        log.warning("workflow-advice", file=str(file), line=each.line, cause=each.cause, fix=each.fix)
    if (many := many_tools(new.triggers)) and not many_tools(old.triggers):
        log.warning("many-tools", cause=many)
    for name, trigger in old.triggers.items():
        if name not in new.triggers:
            log.info("workflow-removed", **_described(trigger))
    known: set[Fault] = set(old.faults)
    for fault in new.faults:
        if fault not in known:
            log.error(
                "workflow-fault",
                file=str(fault.file),
                line=fault.line,
                cause=fault.cause,
                fix=fault.fix,
                still_serving=list(fault.still_serving),
            )


def _new_advice(old: Snapshot, new: Snapshot) -> set[tuple[Path, Advice]]:
    """What the authors of files that were loaded now most probably forgot."""
    loaded = (trigger for name, trigger in new.triggers.items() if old.triggers.get(name) is not trigger)
    return {(trigger.file, each) for trigger in loaded for each in trigger.advice if not each.harmless}


def _described(trigger: Trigger) -> dict[str, str | int]:
    workflow = trigger.workflow
    return {"workflow": workflow.name, "access": trigger.policy.mode, "file": str(trigger.file), "line": workflow.line}
