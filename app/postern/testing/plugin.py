"""The plug-in of pytest. Every pytest of the environment loads it, so it imports nothing but pytest until a test
uses the kit."""

import sys
from collections.abc import Generator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from postern.testing import session

OTHERS = frozenset({"anyio", "asyncio", "trio", "twisted"})
"""Markers of tests that another plug-in runs."""


CONFIG: "list[pytest.Config]" = []
"""That of this session."""


def pytest_configure(config: pytest.Config) -> None:
    """Remember where this session keeps what later ones can use."""
    CONFIG[:] = [config]


def _session() -> "session.Session | None":
    """The session of the tests that use the kit; None if no module has imported anything of it."""
    module = sys.modules.get("postern.testing.session")
    if module is None:
        return None
    found: session.Session = module.SESSION
    found.kept = _kept
    return found


def _kept() -> "Path | None":
    """A folder of pytest's cache, if there is one."""
    cache = getattr(CONFIG[0], "cache", None) if CONFIG else None
    return cache.mkdir("postern") if cache is not None else None


def pytest_pyfunc_call(pyfuncitem: "pytest.Function") -> bool | None:
    """Run an `async def` test in a loop of its own, if the kit is used here, and no other plug-in runs it."""
    import inspect

    function = pyfuncitem.obj
    if not inspect.iscoroutinefunction(function) or _session() is None:
        return None
    if any(mark.name in OTHERS for mark in pyfuncitem.iter_markers()):
        return None
    import asyncio

    named = pyfuncitem._fixtureinfo.argnames
    asyncio.run(function(**{name: pyfuncitem.funcargs[name] for name in named}))
    return True


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Let the session know the cache before a fixture uses the kit."""
    _session()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    """Fail a test that passed, if a workflow did what no test allowed."""
    try:
        result = yield
    except BaseException:
        if (session := _session()) is not None:
            session.finish()
        raise
    if (session := _session()) is not None:
        session.finish()
        session.check()
    return result


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown() -> Generator[None, object, object]:
    """Forget what the test set, after its fixtures have ended."""
    try:
        return (yield)
    finally:
        if (session := _session()) is not None:
            session.end()


def pytest_sessionfinish() -> None:
    """Stop the application of the tests, if there is one."""
    if (session := _session()) is not None:
        session.close()
