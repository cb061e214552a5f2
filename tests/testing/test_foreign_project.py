"""The plug-in in a project that has nothing to do with Postern: it loads nothing, and changes nothing."""

from pathlib import Path

import pytest

from tests.testing.author_project import run_tests

TESTS = """
import sys


def test_nothing_of_the_server_is_loaded():
    assert sorted(name for name in sys.modules if name.partition(".")[0] == "postern") == [
        "postern", "postern.testing", "postern.testing.plugin"
    ]
    assert not {"httpx2", "pydantic", "sqlalchemy", "starlette", "cryptography", "asyncio"} & set(sys.modules)


async def test_a_coroutine():
    assert False, "nothing here runs it"
"""


@pytest.mark.process
def test_a_foreign_project_pays_for_three_small_modules_and_its_coroutines_stay_its_own(tmp_path: Path):
    (tmp_path / "test_foreign.py").write_text(TESTS, "utf-8")
    outcome = run_tests(tmp_path, "-p", "no:randomly", "-p", "no:xdist", "-p", "no:anyio", "-p", "no:hypothesispytest")
    assert outcome.tests["test_nothing_of_the_server_is_loaded"] == "passed", outcome.printed
    assert "async def functions are not natively supported" in outcome.tests["test_a_coroutine"]
    assert not (tmp_path / ".pytest_cache" / "d").exists()
