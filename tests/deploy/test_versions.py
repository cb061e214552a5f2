"""The pages and files of `deploy/` and the changelog name the version of `pyproject.toml`."""

import re
import tomllib
from pathlib import Path

from tests.process.servers import ROOT

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
NAMED = re.compile(r"(?:postern[:-]|\bVERSION=|newTag: )(\d+\.\d+\.\d+)")
"""The tag of an image, the folder of an installation, or the variable of a command."""


def versions(path: Path) -> set[str]:
    """The versions of Postern that a file names."""
    return set(NAMED.findall(path.read_text(encoding="utf-8")))


def test_deploy_names_this_version():
    files = [path for path in (ROOT / "deploy").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    found = {str(path.relative_to(ROOT)): versions(path) for path in files}
    named = {name: each for name, each in found.items() if each}
    assert len(named) > 5
    assert {name: each for name, each in named.items() if each != {VERSION}} == {}


def test_the_changelog_begins_with_this_version():
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] == VERSION
