"""Cleans up what loading a catalog adds to the import system."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_modules_left() -> Iterator[None]:
    """Remove what a catalog adds to `sys.modules` and the import system at the end."""
    modules = {name: sys.modules[name] for name in _names()}
    finders = list(sys.meta_path)
    yield
    for name in _names():
        del sys.modules[name]
    sys.modules.update(modules)
    sys.meta_path[:] = finders


def _names() -> list[str]:
    return [name for name in list(sys.modules) if name.startswith("workflows") and name[9:10] in ("", ".")]
