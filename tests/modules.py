"""What loading a catalog leaves behind in the import system."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_modules_left() -> Iterator[None]:
    """What a catalog puts into `sys.modules` and the import system goes at the end."""
    modules = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "workflows"}
    finders = list(sys.meta_path)
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "workflows"]:
        del sys.modules[name]
    sys.modules.update(modules)
    sys.meta_path[:] = finders
