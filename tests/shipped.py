"""The example workflows that this repository ships, without the workflows that a developer added to the clone."""

import shutil
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parent.parent
EXAMPLES = (
    "book_room",
    "find_people",
    "hello",
    "my_profile",
    "order_laptop",
    "payroll",
    "request_leave",
    "visit",
    "whoami",
)


def copy_examples(folder: Path) -> Path:
    """A copy of the examples in `folder`, which is made."""
    folder.mkdir(parents=True)
    for name in EXAMPLES:
        shutil.copy(ROOT / "workflows" / f"{name}.py", folder)
    return folder


@cache
def _kept() -> "TemporaryDirectory[str]":
    return TemporaryDirectory(prefix="postern-examples-")


@cache
def examples_folder() -> Path:
    """A folder that has the examples, for reading only. It is removed when the process ends."""
    return copy_examples(Path(_kept().name) / "workflows")
