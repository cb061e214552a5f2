"""The kit's application is for the tests of this folder alone."""

from collections.abc import Iterator

import pytest

from postern.testing.session import SESSION
from tests.modules import no_modules_left


@pytest.fixture(scope="module", autouse=True)
def application_of_this_module() -> Iterator[None]:
    """Other tests in this process load other folders of workflows."""
    with no_modules_left():
        yield
        SESSION.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """DBOS starts a program when it is imported. No marker is in the tests: authors copy them."""
    for item in items:
        if item.name in ("test_order_laptop", "test_a_crash_after_the_order_is_placed"):
            item.add_marker("process")
