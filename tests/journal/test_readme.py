"""The journal's page names files that exist. Its rules for migrations are asserted in test_revisions.py."""

from pathlib import Path

import postern.journal
from tests.pages import missing_files


def test_the_files_that_it_names_are_there():
    assert missing_files(Path(postern.journal.__file__).parent) == []
