"""The modules of the folder, executed from the sources that were read, as `workflows.<name>`.

A Generation is a set of modules that see each other. When something changes that others may have imported, a new
generation takes its place, and the modules of the old one go on seeing each other: a run in flight, and the version
of a file that still serves, end on the code they began with, even where they import inside a function. That is why a
module has an `__import__` of its own among its builtins, which looks up `workflows...` in its generation.

`sys.modules` has the newest modules, because pydantic, dataclasses and pickle look there. Bytecode files are neither
read nor written: they are found by seconds and size, so that a quick edit could be missed.
"""

import builtins
import ctypes
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec, resolve_name, spec_from_file_location
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from postern.catalog.sources import PACKAGE, Source, by_module


class Unreadable(Exception):
    """A source that cannot be read as text in UTF-8. `line` is where, if that is known."""

    def __init__(self, file: Path, reason: str, line: int | None = None) -> None:
        super().__init__(reason)
        self.file = file
        self.line = line


class TooSlow(Exception):
    """A module that did not end its import in time. `line` is where the importing thread was."""

    def __init__(self, name: str, seconds: float, line: int | None) -> None:
        super().__init__(f"the import of {name} did not end within {seconds:g} s")
        self.line = line


class Generation(Loader):
    """Modules that see each other. `asked` has every name that was imported by a statement, found or not: a change of
    one of those concerns others. `seconds` is how long an import may take."""

    def __init__(self, folder: Path, sources: Iterable[Source], seconds: float) -> None:
        self.asked: set[str] = set()
        self._folder = folder
        self._sources = by_module(sources)
        self._seconds = seconds
        self._ready: dict[str, ModuleType] = {}
        self._unfinished: dict[str, ModuleType] = {}
        self._before: dict[str, ModuleType] = {}
        self._replaced: dict[str, ModuleType] = {}
        self._hung: set[str] = set()
        self._given_up: set[threading.Thread] = set()
        self._lock = threading.RLock()
        self._builtins = {**vars(builtins), "__import__": self._import}
        _install_finder()
        for name in [name for name in sys.modules if _ours(name)]:
            self._before[name] = sys.modules[name]
            if name not in self._sources or not self._sources[name].is_entry:
                del sys.modules[name]  # or importlib.import_module would find the helpers of the generation before

    def load(self, name: str) -> ModuleType:
        """The module, executed in a thread of its own so that one that hangs can be given up. Raises whatever it
        raises, TooSlow and Unreadable."""
        outcome: list[ModuleType | BaseException] = []

        def execute() -> None:
            try:
                outcome.append(self.module(name))
            except BaseException as error:  # SystemExit of a module is a fault of the module
                outcome.append(error)

        thread = threading.Thread(target=execute, name=f"import {name}", daemon=True)
        thread.start()
        thread.join(self._seconds)
        if not outcome:
            raise self._give_up(thread, name)
        if isinstance(outcome[0], BaseException):
            raise outcome[0]
        return outcome[0]

    def replace(self, sources: Iterable[Source]) -> None:
        """Make ready to load these modules anew. Until `settled`, the ones before are kept."""
        for source in sources:
            name = source.module
            self._sources[name] = source
            self._hung.discard(name)
            if name in self._ready:
                self._replaced[name] = self._ready.pop(name)

    def remove(self, source: Source) -> None:
        """Forget a module whose file is gone."""
        self._sources.pop(source.module, None)
        self._ready.pop(source.module, None)
        sys.modules.pop(source.module, None)

    def withdraw(self, name: str) -> None:
        """Put back the module before, if there is one: this one was imported, but cannot be served."""
        if name in self._before:
            sys.modules[name] = self._before[name]
        if name in self._replaced:
            self._ready[name] = self._replaced[name]

    def settled(self) -> None:
        """All has been loaded: where it failed, the module before takes its place again."""
        for name, module in self._replaced.items():
            self._ready.setdefault(name, module)
        self._replaced.clear()
        self._before.clear()

    def module(self, name: str) -> ModuleType:
        """The module, executed now if it was not yet, in this thread. In a circular import, what there is of it."""
        if name in self._ready:
            return self._ready[name]
        if threading.current_thread() in self._given_up:
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
        if name in self._hung:
            raise ImportError(f"{name} did not end its import within {self._seconds:g} s", name=name)
        module = module_from_spec(self._spec(name))
        vars(module)["__builtins__"] = self._builtins
        if name in sys.modules:
            self._before[name] = sys.modules[name]
        self._unfinished[name] = sys.modules[name] = module
        try:
            if name in self._sources:
                exec(_compiled(self._sources[name]), vars(module))  # noqa: S102 - the operator's own files
        except BaseException:
            if self._unfinished.get(name) is module:
                del self._unfinished[name]
                self._put_back(name)
            raise
        if self._unfinished.get(name) is module:  # not so after it was given up
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
        if not _ours(full):
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        if full != (globals or {}).get("__name__"):
            self.asked.add(full)
        module = self.module(full)
        if not fromlist:
            return self.module(PACKAGE)
        for item in getattr(module, "__all__", ()) if "*" in fromlist else fromlist:
            if hasattr(module, "__path__") and not hasattr(module, item):
                self._import_item(module, item)
        return module

    def _import_item(self, package: ModuleType, item: str) -> None:
        """`from package import item`, where that is a module; if there is none, the statement itself says so."""
        name = f"{package.__name__}.{item}"
        self.asked.add(name)
        try:
            setattr(package, item, self.module(name))
        except ModuleNotFoundError as error:
            if error.name != name:
                raise

    def _give_up(self, thread: threading.Thread, name: str) -> TooSlow:
        """Leave the thread alone for good, and say where it was."""
        self._given_up.add(thread)
        where = _line_in(self._sources[name].file, sys._current_frames().get(thread.ident or 0))
        innermost = [name, *self._unfinished][-1]
        self._hung.add(innermost)
        for unfinished in self._unfinished:
            self._put_back(unfinished)
        self._unfinished = {}
        self._lock = threading.RLock()
        if thread.is_alive():  # ends a busy loop, which would slow down everything else
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit))
        return TooSlow(innermost, self._seconds, where)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """For importlib: the module that there already is."""
        return self._ready.get(spec.name) or self._unfinished.get(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """For importlib: nothing, the module has been executed."""


class _Finder(MetaPathFinder):
    """For `importlib.import_module` and pickle, which do not ask a module's own `__import__`."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        generation = getattr(sys.modules.get(PACKAGE), "__loader__", None)
        if not isinstance(generation, Generation) or not _ours(fullname):
            return None
        generation.asked.add(fullname)
        return generation.module(fullname).__spec__


def _install_finder() -> None:
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def _ours(name: str) -> bool:
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
