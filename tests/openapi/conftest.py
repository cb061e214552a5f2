"""Documents of the examples and of odd types, made once."""

from typing import Any

import pytest

from postern.openapi.document import openapi_document
from tests.modules import no_modules_left
from tests.openapi.catalogs import HERE, ODD, OTHER, triggers_of, write
from tests.shipped import examples_folder

Json = dict[str, Any]


@pytest.fixture(scope="session")
def examples() -> Json:
    """The document of the workflows of the repository."""
    with no_modules_left():
        return openapi_document(triggers_of(examples_folder()), HERE)


@pytest.fixture(scope="session")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Json:
    """The document of two modules with odd types."""
    folder = write(tmp_path_factory.mktemp("odd"), odd=ODD, other=OTHER)
    with no_modules_left():
        return openapi_document(triggers_of(folder), HERE)
