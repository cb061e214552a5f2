"""One `postern dev` for all that a new user does."""

from collections.abc import Iterator

import pytest

from postern.cli.workspace import STATE_FOLDER
from postern.local_tenant import LocalTenant
from tests.process.servers import Server, running
from tests.shipped import copy_examples


@pytest.fixture(scope="session")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`postern dev` in a folder that holds a copy of the repository's workflows."""
    folder = tmp_path_factory.mktemp("afternoon")
    copy_examples(folder / "workflows")
    with running("dev", folder, {"POSTERN_PORT": "0"}) as server:
        yield server


@pytest.fixture(scope="session")
def tenant(dev: Server) -> LocalTenant:
    """The local tenant of that process."""
    return LocalTenant.open(dev.folder / STATE_FOLDER)
