"""Processes that a workflow spawns, with `multiprocessing`: they can import the modules of the folder, as unpickling
the workflow's functions and classes needs.

Such a process gets the environment and `sys.path` of its parent. So the server puts `spawned_path` at the end of its
own, whose package `workflows` loads the folder. In the server itself the catalog's finder comes first.
"""

import os
import sys
import threading
from pathlib import Path

from postern.catalog.modules import Generation
from postern.catalog.sources import PACKAGE, read_folder

VARIABLE = "_POSTERN_SPAWN_WORKFLOWS"

_PATH = str(Path(__file__).parent / "spawned_path")


def hand_down(folder: Path) -> None:
    """Let processes that are spawned from now on import the modules of this folder."""
    os.environ[VARIABLE] = str(folder.absolute())
    if _PATH not in sys.path:
        sys.path.append(_PATH)


def take_over() -> None:
    """In a spawned process: load the modules of the folder, each when it is imported."""
    folder = Path(os.environ[VARIABLE])
    del sys.modules[PACKAGE]  # the package that calls this
    Generation(folder, read_folder(folder).values(), threading.TIMEOUT_MAX).module(PACKAGE)
