"""The files in the folder of workflows: every Python file below it, with its content."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

PACKAGE = "workflows"
"""Modules of the folder are imported below this name. The folder's own name does not matter."""


MOST_BYTES = 1_000_000
"""Bytes of a file: the compiler holds the interpreter, and with it all requests."""


@dataclass(frozen=True, slots=True)
class Source:
    """One Python file as it was read. If it could not be read, `content` is empty and `unreadable` has the reason."""

    file: Path
    module: str
    is_package: bool
    is_entry: bool
    content: bytes
    unreadable: str = ""


def read_folder(folder: Path) -> dict[Path, Source]:
    """Every Python file below the folder, in order. Raises FileNotFoundError if the folder does not exist, and OSError
    if it cannot be listed: an unreachable folder is not an empty one."""
    if not folder.is_dir():
        raise FileNotFoundError(
            f"there is no folder of workflows at {folder}: create it, or set POSTERN_WORKFLOWS to the folder with "
            "your workflows"
        )
    return {file: source for file in _python_files(folder) if (source := _read(folder, file))}


def digest_of(sources: Iterable[Source]) -> str:
    """A digest of the files' names and contents."""
    found = sha256()
    for source in sources:
        for part in (str(source.file).encode(), source.content):
            found.update(len(part).to_bytes(8, "big") + part)
    return found.hexdigest()


class Hashes:
    """SHA-256, in hexadecimal, of the files as they were read. `helpers` is of what `sha256sum` prints for the helper
    modules, sorted by path: every Python file below the folder but the workflows' own at its top."""

    def __init__(self, sources: Mapping[Path, Source], folder: Path) -> None:
        self._sources = sources
        helpers = [source for source in sources.values() if source.is_package or not source.is_entry]
        named = sorted((source.file.relative_to(folder).as_posix(), self.of(source.file)) for source in helpers)
        self.helpers = sha256("".join(f"{digest}  {path}\n" for path, digest in named).encode()).hexdigest()

    def of(self, file: Path) -> str:
        """That of a file; "" if it was not read."""
        source = self._sources.get(file)
        return "" if source is None else sha256(source.content).hexdigest()


def shared_names(sources: Mapping[Path, Source]) -> frozenset[str]:
    """The modules that two files define, as `orders.py` and `orders/__init__.py` do."""
    counts = Counter(source.module for source in sources.values())
    return frozenset(module for module, count in counts.items() if count > 1)


def changed_files(before: Mapping[Path, Source], now: Mapping[Path, Source]) -> frozenset[Path]:
    """The files that were added, removed or changed. Times are ignored: two edits can have the same time."""
    return frozenset(file for file in before.keys() | now.keys() if before.get(file) != now.get(file))


def by_module(sources: Iterable[Source]) -> dict[str, Source]:
    """The file of each module. If a package and a module share a name, the package is used, as Python does."""
    return {source.module: source for source in sorted(sources, key=lambda source: source.is_package)}


def _python_files(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Links are followed, because mounted volumes are made of them. A link to a folder above itself is not followed."""
    real = folder.resolve()
    if real in above:
        return
    for child in sorted(folder.iterdir()):
        if child.name.startswith(".") or child.name == "__pycache__":
            continue
        if child.is_dir():
            yield from _python_files(child, (*above, real))
        elif child.suffix == ".py" and child.is_file():
            yield child


def _read(folder: Path, file: Path) -> Source | None:
    parts = file.relative_to(folder).with_suffix("").parts
    is_package = parts[-1] == "__init__"
    names = parts[:-1] if is_package else parts
    is_entry = len(names) == 1 and not names[0].startswith("_")
    content, unreadable = b"", ""
    try:
        with file.open("rb") as opened:
            content = opened.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            content, unreadable = b"", f"the file has more than {MOST_BYTES:,} bytes, which is the limit"
    except FileNotFoundError:
        return None
    except OSError as error:
        unreadable = f"{type(error).__name__}: {error.strerror}"
    return Source(file, ".".join((PACKAGE, *names)), is_package, is_entry, content, unreadable)
