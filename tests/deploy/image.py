"""The image, built once without a container engine, and commands that run in it."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from deploy.container.empty_root import PROJECT, start
from tests.tools import cannot

ENOUGH = 1 << 30
"""Bytes that the build and its stages fit in."""

ST_NOEXEC = 8


@contextmanager
def built_image() -> Iterator[Path]:
    """The folder of a build of the default target, which is gone afterwards."""
    demand_means()
    with tempfile.TemporaryDirectory(prefix="postern-image-", dir=_in_memory()) as folder:
        command = [sys.executable, "-m", "deploy.container.empty_root", "--out", folder, "build"]
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        yield Path(folder)


def run_in(
    image: Path, argv: Sequence[str], environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command in the image to its end."""
    command = start(image, argv, environment)
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=30, check=False)


def demand_means() -> None:
    """A root and namespaces must be had. See `tests.tools.cannot`."""
    probe = ["unshare", "--mount", "--pid", "--fork", "true"]
    if os.geteuid() != 0:
        cannot("only root can look into what the image's user owns")
    if shutil.which("unshare") is None or subprocess.run(probe, capture_output=True, check=False).returncode != 0:
        cannot("this machine permits no mount and process namespaces")


def _in_memory() -> str | None:
    """A folder in memory where there is a roomy one whose files may be run: thousands of files are made there three
    times. None is the usual folder."""
    folder = Path("/dev/shm")
    if not folder.is_dir() or os.statvfs(folder).f_flag & ST_NOEXEC:
        return None
    return str(folder) if shutil.disk_usage(folder).free > 2 * ENOUGH else None
