"""Runs and finds the programs that the checks need."""

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
"""Debian's packages of the programs that are not Python packages."""

PATIENCE = 120
"""The time limit of one program in seconds."""

LONGEST = 6000
"""The most characters of a program's output that are shown."""


class Failed(Exception):
    """The findings of a check, in its own words or those of the program."""


def program(name: str) -> str:
    """The path of a program: in the linters' environment, or else on this machine, /usr/sbin and /sbin included."""
    folders = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    if found := shutil.which(name, path=folders):
        return found
    if name in PACKAGES:
        raise Failed(f"{name} is not installed. On Debian: sudo apt-get install {PACKAGES[name]}")
    raise Failed(f"{name} is not installed. Delete .venv-deploy, and run make check-deploy again")


def run(name: str, *arguments: str | Path, folder: Path, more: Mapping[str, str] | None = None) -> str:
    """A program's standard output. Raises Failed with its whole output if it exits with another code than 0. `more` are
    additional environment variables."""
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
        output = f"{done.stdout}\n{done.stderr}".strip() or f"{name} exited with {done.returncode} without output"
        raise Failed(output if len(output) <= LONGEST else f"{output[:LONGEST]}\n... and more")
    return done.stdout


def files(folder: Path, *patterns: str) -> list[Path]:
    """The files of a folder that match a pattern, in order. Raises Failed if there is none, because a check of no files
    would always pass."""
    found = sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()})
    if not found:
        raise Failed(f"{folder} has no file {' or '.join(patterns)}")
    return found
