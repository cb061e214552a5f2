"""Where the temporary files of tests are."""

import os
import shutil
import tempfile
from pathlib import Path

MEMORY = Path("/dev/shm")
ENOUGH = 4 << 30
"""Free bytes of a folder in memory that all tests fit in, with the build of the image, beside the tests themselves."""

ST_NOEXEC = 8


def put_in_memory() -> None:
    """Put them in memory, for this process and its children, if the machine has a roomy folder there and TMPDIR names
    no other. On a disk, tests wait for each commit of a database."""
    if "TMPDIR" not in os.environ and _has_room(MEMORY):
        os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)


def _has_room(folder: Path) -> bool:
    """Whether tests fit in there, and may run programs from there."""
    is_usable = folder.is_dir() and os.access(folder, os.W_OK) and not os.statvfs(folder).f_flag & ST_NOEXEC
    return is_usable and shutil.disk_usage(folder).free >= ENOUGH
