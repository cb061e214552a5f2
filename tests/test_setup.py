"""`make setup`: what a new user sees of it."""

import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from tests.process.servers import environment

pytestmark = pytest.mark.process

ROOT = Path(__file__).parent.parent
PYTHON = """#!/bin/sh
# In place of Python: `-m venv` makes an environment of this script, and its pip says what pip says.
case "$*" in
  "-m venv .venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
  *"install --quiet"*) ;;
  *) n=0; while [ $n -lt 120 ]; do n=$((n + 1)); echo "Collecting package-$n"; echo "  Downloading package-$n"; done
     EXIT ;;
esac
"""


def set_up(folder: Path, ends: str) -> "subprocess.CompletedProcess[str]":
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    (folder / "python").write_text(PYTHON.replace("EXIT", ends), encoding="utf-8")
    (folder / "python").chmod(0o755)
    command = ["make", "setup", f"PYTHON={folder / 'python'}"]
    environ = {name: value for name, value in environment().items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=20, check=False)


def test_it_prints_its_progress_in_a_few_lines(tmp_path: Path):
    done = set_up(tmp_path, "exit 0")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("Making the virtual environment")
    shown = [int(line.split(" of ")[0]) for line in lines[2:-1]]
    assert 1 <= len(shown) <= 120 // 25
    assert all(later - earlier >= 25 for earlier, later in pairwise([0, *shown]))
    assert lines[-1] == "The virtual environment is ready."
    assert (tmp_path / ".venv" / "ready").exists()


@pytest.mark.parametrize("ends", ["echo 'ERROR: no such package' >&2; exit 1", "echo 'ERROR: no such package'; exit 7"])
def test_a_failure_shows_all_that_pip_says(tmp_path: Path, ends: str):
    done = set_up(tmp_path, ends)
    assert done.returncode == 2
    assert "ERROR: no such package" in done.stderr
    assert "Collecting package-7" in done.stderr
    assert not (tmp_path / ".venv" / "ready").exists()
