"""How the checks run other programs, and where these come from."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

PACKAGES = {
    "kubectl": "kubernetes-client",
    "nginx": "nginx",
    "openssl": "openssl",
    "promtool": "prometheus",
    "shellcheck": "shellcheck",
}
"""Debian's packages of the programs that are no Python packages."""

PATIENCE = 120
"""Seconds that one program may take."""

LONGEST = 6000
"""Characters of a program's output that are shown."""


class Failed(Exception):
    """What a check found, in sentences or in the words of the program that found it."""


def program(name: str) -> str:
    """The path of a program: of the linters' environment, else of this machine (the administrator's folders too)."""
    folders = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    if found := shutil.which(name, path=folders):
        return found
    if name in PACKAGES:
        raise Failed(f"{name} is not installed. On Debian: sudo apt-get install {PACKAGES[name]}")
    raise Failed(f"{name} is not installed. Delete .venv-deploy, and run make check-deploy again")


def run(name: str, *arguments: str | Path, folder: Path, more: Mapping[str, str] | None = None) -> str:
    """What a program writes to its standard output. Raises Failed with all that it wrote where it exits with another
    code than 0. `more` are variables of the environment beside our own."""
    if not folder.is_dir():
        raise Failed(f"there is no folder {folder}")
    command = [program(name), *map(str, arguments)]
    environment = {**os.environ, **(more or {})}
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"{name} did not end within {PATIENCE} s") from None
    if done.returncode:
        told = f"{done.stdout}\n{done.stderr}".strip() or f"{name} exited with {done.returncode} and said nothing"
        raise Failed(told if len(told) <= LONGEST else f"{told[:LONGEST]}\n... and more")
    return done.stdout


def files(folder: Path, *patterns: str) -> list[Path]:
    """The files of a folder that fit a pattern, in order. Raises Failed where there is none: a check that looks at
    nothing would pass for ever."""
    found = sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()})
    if not found:
        raise Failed(f"{folder} has no file {' or '.join(patterns)}")
    return found
