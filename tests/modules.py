"""Cleans up what loading a catalog adds to the import system."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_modules_left() -> Iterator[None]:
    """Remove what a catalog adds to `sys.modules` and the import system at the end."""
    modules = {name: module for name, module in list(sys.modules.items()) if name.partition(".")[0] == "workflows"}
    finders = list(sys.meta_path)
    yield
    for name in [name for name in list(sys.modules) if name.partition(".")[0] == "workflows"]:
        del sys.modules[name]
    sys.modules.update(modules)
    sys.meta_path[:] = finders
