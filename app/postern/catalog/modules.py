"""The modules of the folder, executed from the sources that were read, as `workflows.<name>`.

A Generation is a set of modules that see each other. When a module changes that others may have imported, a new
generation replaces the old one, whose modules go on seeing each other. So a run in progress, and the version of a file
that is still served, keep the code they began with, even if they import inside a function. For that, a module has its
own `__import__` among its builtins, which looks up `workflows...` in the module's generation.

`sys.modules` has the newest modules, because pydantic, dataclasses and pickle look there. Bytecode files are neither
read nor written: Python finds them by seconds and size, so a quick edit could be missed.
"""

import builtins
import ctypes
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.readers import FileReader
from importlib.util import module_from_spec, resolve_name, spec_from_file_location
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from postern.catalog.context_changes import Changes, changes, loading_context, values
from postern.catalog.sources import PACKAGE, Source, by_module
from postern.thread_frames import frame_of

_AGAIN = 1.0
"""Seconds after which an import that takes too long is interrupted again, in case it caught the first interruption."""


class Unreadable(Exception):
    """A source that cannot be read as text in UTF-8. `line` is the line of the error, if it is known."""

    def __init__(self, file: Path, reason: str, line: int | None = None) -> None:
        super().__init__(reason)
        self.file = file
        self.line = line


class TooSlow(Exception):
    """A module whose import did not end in time. `line` is the line that the importing thread had reached."""

    def __init__(self, name: str, seconds: float, line: int | None) -> None:
        super().__init__(f"the import of {name} did not end within {seconds:g} s")
        self.line = line


class _GiveUp(BaseException):
    """Raised in the main thread, in the middle of an import that takes too long."""


class Generation(Loader):
    """Modules that see each other. `imported` has every name that a statement imported, found or not: a change of one
    of those affects other modules. `seconds` is how long an import may take. `around` returns what the
    execution of a module happens in. `hung` has the modules that are never executed, with the reasons."""

    def __init__(
        self,
        folder: Path,
        sources: Iterable[Source],
        seconds: float,
        around: Callable[[str], AbstractContextManager[object]] = lambda _: nullcontext(),
    ) -> None:
        self.imported: set[str] = set()
        self._around = around
        self._folder = folder
        self._sources = by_module(sources)
        self._seconds = seconds
        self._ready: dict[str, ModuleType] = {}
        self._unfinished: dict[str, ModuleType] = {}
        self._before: dict[str, ModuleType] = {}
        self._replaced: dict[str, ModuleType] = {}
        self.hung: dict[str, str] = {}
        self._abandoned: set[threading.Thread] = set()
        self._lock = threading.RLock()
        self._builtins = {**vars(builtins), "__import__": self._import}
        self._changes: dict[str, Changes] = {}
        _install_finder()
        for name in filter(is_ours, list(sys.modules)):  # a copy: other threads import
            self._before[name] = sys.modules[name]
            if name not in self._sources or not self._sources[name].is_entry:
                del sys.modules[name]  # otherwise importlib.import_module would find the previous generation's helpers

    @property
    def context_changes(self) -> Changes:
        """What the modules have changed in the context that they were loaded in, for their runs."""
        return tuple({variable: value for each in self._changes.values() for variable, value in each}.items())

    def load(self, name: str) -> ModuleType:
        """The module, executed within its time. Raises TooSlow, Unreadable, and any exception of the module.

        In the main thread, which becomes the event loop's, the module is executed there: what it binds to its thread,
        such as a connection of sqlite3, then works in `async def`. In any other thread, as after a change while the
        server runs, it gets a thread of its own, which can be abandoned if it hangs."""
        if threading.current_thread() is threading.main_thread() and hasattr(signal, "setitimer"):
            return self._load_here(name)
        return self._load_in_thread(name)

    def _load_here(self, name: str) -> ModuleType:
        slow: list[TooSlow] = []
        armed = True

        def give_up(_: int, frame: FrameType | None) -> None:
            if armed:
                innermost = [name, *self._unfinished][-1]
                slow.append(TooSlow(innermost, self._seconds, _line_in(self._sources[name].file, frame)))
                self.hung[innermost] = f"{innermost} did not end its import within {self._seconds:g} s"
                raise _GiveUp

        before = signal.signal(signal.SIGALRM, give_up)
        signal.setitimer(signal.ITIMER_REAL, self._seconds, _AGAIN)
        try:
            return loading_context(self.context_changes).run(self.module, name)
        except _GiveUp:
            raise slow[0] from None
        finally:
            armed = False
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    def _load_in_thread(self, name: str) -> ModuleType:
        outcome: list[ModuleType | BaseException] = []

        def execute() -> None:
            try:
                outcome.append(self.module(name))
            except BaseException as error:  # SystemExit of a module is a fault of the module
                outcome.append(error)

        context = loading_context(self.context_changes)
        thread = threading.Thread(target=context.run, args=(execute,), name=f"import {name}", daemon=True)
        thread.start()
        thread.join(self._seconds)
        if not outcome:
            raise self._abandon(thread, name)
        if isinstance(outcome[0], BaseException):
            raise outcome[0]
        return outcome[0]

    def replace(self, sources: Iterable[Source]) -> None:
        """Prepare to load these modules again. The previous ones are kept until `settled`."""
        for source in sources:
            name = source.module
            self._sources[name] = source
            self.hung.pop(name, None)
            self._changes.pop(name, None)
            if name in self._ready:
                self._replaced[name] = self._ready.pop(name)

    def remove(self, source: Source) -> None:
        """Remove a module whose file was deleted."""
        self._sources.pop(source.module, None)
        self._ready.pop(source.module, None)
        self._changes.pop(source.module, None)
        sys.modules.pop(source.module, None)

    def refuse(self, modules: Mapping[str, str]) -> None:
        """Never execute these modules. An import of one fails at once, with the reason."""
        self.hung.update(modules)

    def withdraw(self, name: str) -> None:
        """Restore the previous module, if there is one: this one was imported, but cannot be served."""
        if name in self._before:
            sys.modules[name] = self._before[name]
        if name in self._replaced:
            self._ready[name] = self._replaced[name]

    def settled(self) -> None:
        """End a load: for each module that failed, restore the previous one."""
        for name, module in self._replaced.items():
            self._ready.setdefault(name, module)
        self._replaced.clear()
        self._before.clear()

    def module(self, name: str) -> ModuleType:
        """The module, executed now in this thread if it was not executed before. In a circular import, the unfinished
        module."""
        if name in self._ready:
            return self._ready[name]
        if threading.current_thread() in self._abandoned:
            raise SystemExit
        lock = self._lock
        if not lock.acquire(timeout=self._seconds):
            raise ImportError(f"{name} waits for another import, which takes longer than {self._seconds:g} s")
        try:
            return self._unfinished.get(name) or self._ready.get(name) or self._execute(name)
        finally:
            lock.release()

    def _execute(self, name: str) -> ModuleType:
        parent, _, leaf = name.rpartition(".")
        package = self.module(parent) if parent else None
        if name in self._ready:
            return self._ready[name]
        if name in self.hung:
            raise ImportError(self.hung[name], name=name)
        module = module_from_spec(self._spec(name))
        vars(module)["__builtins__"] = self._builtins
        if name in sys.modules:
            self._before[name] = sys.modules[name]
        self._unfinished[name] = sys.modules[name] = module
        try:
            if name in self._sources:
                before = values()
                with self._around(name):
                    exec(_compiled(self._sources[name]), vars(module))  # noqa: S102 - the operator's own files
                self._changes[name] = changes(before)
        except BaseException:
            if self._unfinished.get(name) is module:
                del self._unfinished[name]
                self._put_back(name)
            raise
        if self._unfinished.get(name) is module:  # not after it was abandoned
            self._ready[name] = self._unfinished.pop(name)
            if package is not None:
                setattr(package, leaf, module)
        return module

    def _put_back(self, name: str) -> None:
        if name in self._before:
            sys.modules[name] = self._before[name]
        else:
            sys.modules.pop(name, None)

    def _spec(self, name: str) -> ModuleSpec:
        source = self._sources.get(name)
        if source is not None:
            where = [str(source.file.parent)] if source.is_package else None
            if name == PACKAGE:
                where = [str(self._folder)]
            spec = spec_from_file_location(name, source.file, loader=self, submodule_search_locations=where)
            assert spec is not None  # noqa: S101 - it is None only without a loader
            return spec
        if name != PACKAGE and not any(other.startswith(f"{name}.") for other in self._sources):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        spec = ModuleSpec(name, self, is_package=True)
        spec.submodule_search_locations = [str(self._folder.joinpath(*name.split(".")[1:]))]
        return spec

    def _import(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,  # noqa: A002 - the names of __import__
        locals: Mapping[str, Any] | None = None,  # noqa: A002
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        full = resolve_name("." * level + name, (globals or {}).get("__package__", "")) if level else name
        if not is_ours(full):
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        if full != (globals or {}).get("__name__"):
            self.imported.add(full)
        module = self.module(full)
        if not fromlist:
            return self.module(PACKAGE)
        for item in getattr(module, "__all__", ()) if "*" in fromlist else fromlist:
            if hasattr(module, "__path__") and not hasattr(module, item):
                self._import_item(module, item)
        return module

    def _import_item(self, package: ModuleType, item: str) -> None:
        """`from package import item`, if the item is a module; if it does not exist, the statement itself raises."""
        name = f"{package.__name__}.{item}"
        self.imported.add(name)
        try:
            setattr(package, item, self.module(name))
        except ModuleNotFoundError as error:
            if error.name != name:
                raise

    def _abandon(self, thread: threading.Thread, name: str) -> TooSlow:
        """Abandon the thread, and return the error with the line that it had reached."""
        self._abandoned.add(thread)
        with frame_of(thread.ident or 0) as frame:
            where = _line_in(self._sources[name].file, frame)
        innermost = [name, *self._unfinished][-1]
        self.hung[innermost] = f"{innermost} did not end its import within {self._seconds:g} s"
        for unfinished in self._unfinished:
            self._put_back(unfinished)
        self._unfinished = {}
        self._lock = threading.RLock()
        if thread.is_alive():  # ends a busy loop, which would slow down all other threads
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit))
        return TooSlow(innermost, self._seconds, where)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """For importlib: the module that exists already."""
        return self._ready.get(spec.name) or self._unfinished.get(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """For importlib: does nothing, because the module has been executed."""

    def get_resource_reader(self, fullname: str) -> FileReader | None:
        """For importlib.resources: the files of a package. None if it is a module."""
        places = self._spec(fullname).submodule_search_locations
        return FileReader(SourceFileLoader(fullname, str(Path(places[0]) / "__init__.py"))) if places else None

    def get_data(self, path: str) -> bytes:
        """For pkgutil: the content of a file."""
        return Path(path).read_bytes()

    def get_source(self, fullname: str) -> str | None:
        """For inspect and linecache: the module's text, as it was executed."""
        source = self._sources.get(fullname)
        return source.content.decode("utf-8-sig", "replace") if source is not None else None


class _Finder(MetaPathFinder):
    """For `importlib.import_module` and pickle, which do not use a module's own `__import__`."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        generation = getattr(sys.modules.get(PACKAGE), "__loader__", None)
        if not isinstance(generation, Generation) or not is_ours(fullname):
            return None
        generation.imported.add(fullname)
        return generation.module(fullname).__spec__


def _install_finder() -> None:
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def is_ours(name: str) -> bool:
    """Whether this is the name of a module of the folder."""
    return name == PACKAGE or name.startswith(f"{PACKAGE}.")


def _compiled(source: Source) -> Any:
    if source.unreadable:
        raise Unreadable(source.file, source.unreadable)
    try:
        text = source.content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = source.content.count(b"\n", 0, error.start) + 1
        raise Unreadable(source.file, "the file is not text in UTF-8", line) from None
    return compile(text, str(source.file), "exec", dont_inherit=True)


def _line_in(file: Path, frame: FrameType | None) -> int | None:
    while frame is not None and frame.f_code.co_filename != str(file):
        frame = frame.f_back
    return frame.f_lineno if frame else None
