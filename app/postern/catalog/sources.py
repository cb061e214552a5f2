"""What stands in the folder of workflows: every Python file below it, with its content."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "workflows"
"""Modules of the folder are imported below this name, whatever the folder itself is called."""


@dataclass(frozen=True, slots=True)
class Source:
    """One Python file as it was read. `content` is empty and `unreadable` the reason where it could not be read."""

    file: Path
    module: str
    is_package: bool
    is_entry: bool
    content: bytes
    unreadable: str = ""


def read_folder(folder: Path) -> dict[Path, Source]:
    """Every Python file below the folder, in order. Raises FileNotFoundError where there is no folder, and OSError
    where it cannot be listed: a folder that is out of reach is not an empty one."""
    if not folder.is_dir():
        raise FileNotFoundError(
            f"there is no folder of workflows at {folder}: create it, or set POSTERN_WORKFLOWS to the folder that "
            "has your workflows"
        )
    return {file: source for file in _python_files(folder) if (source := _read(folder, file))}


def shared_names(sources: Mapping[Path, Source]) -> frozenset[str]:
    """The modules that two files claim, as `orders.py` and `orders/__init__.py` do."""
    counts = Counter(source.module for source in sources.values())
    return frozenset(module for module, count in counts.items() if count > 1)


def changed_files(before: Mapping[Path, Source], now: Mapping[Path, Source]) -> frozenset[Path]:
    """The files that came, went or have another content. Times do not count: two edits can share one."""
    return frozenset(file for file in before.keys() | now.keys() if before.get(file) != now.get(file))


def by_module(sources: Iterable[Source]) -> dict[str, Source]:
    """The file behind each module; of two, the package, as everywhere in Python."""
    return {source.module: source for source in sorted(sources, key=lambda source: source.is_package)}


def _python_files(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Links are followed, because mounted volumes are made of them; a link to a folder above itself is not."""
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
        content = file.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        unreadable = f"{type(error).__name__}: {error.strerror}"
    return Source(file, ".".join((PACKAGE, *names)), is_package, is_entry, content, unreadable)
