"""A browser and a `postern dev` for the tests of a module."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.process.console.chromium import Faults, chromium
from tests.process.console.installation import Installation, installed


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A `postern dev` with the workflows of these tests."""
    with installed(tmp_path_factory.mktemp("console")) as made:
        yield made


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium."""
    with chromium() as opened:
        yield opened


@pytest.fixture
def faults() -> Iterator[Faults]:
    """What went wrong on the pages that the test opened, which has to be nothing."""
    faults = Faults()
    yield faults
    assert faults.found == []


@pytest.fixture
def window(installation: Installation, browser: Browser, faults: Faults) -> Iterator[Callable[..., Page]]:
    """window(person, option=...) -> a page in a browser of its own, in which the person is signed in."""
    with ExitStack() as stack:

        def opened(person: str = "", **options: Any) -> Page:
            if person:
                options["storage_state"] = installation.signed_in(browser, person)
            context = browser.new_context(base_url=installation.server.address, **options)
            stack.callback(context.close)
            context.set_default_timeout(10_000)
            return faults.watch(context.new_page())

        yield opened
        faults.settle()
