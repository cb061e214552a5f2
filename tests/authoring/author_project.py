"""The examples and recipes of the pages for authors, as a project of its own that the test kit serves."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import postern.authoring
from postern.connections.vault.secret import Secret
from postern.testing.reaching import TestVault
from postern.testing.session import SESSION

ROOM = Path(postern.authoring.__file__).parent
ROOT = ROOM.parents[2]
TOML = """
[people]
lisa = "00000000-0000-4000-8000-00000000000a"
ada = "00000000-0000-4000-8000-00000000000b"
postern = "00000000-0000-4000-8000-00000000000c"
""" + "".join(
    f'\n[connections.{name}]\nbase_url = "https://{name}.example"\nauth = {{ type = "none" }}\n'
    for name in ("graph", "mail", "orders", "rates")
)

SECRET = "A" * 43
SIGNING = ("github-hook", "stripe-hook", "postern-url-")
"""How secrets of senders and of signed URLs begin, which the server looks for between tests too."""
_read_of_test = TestVault.read


async def _read(vault: TestVault, name: str) -> Secret:
    return Secret(name, SECRET, version="1") if name.startswith(SIGNING) else await _read_of_test(vault, name)


@contextmanager
def serving(folder: Path) -> Iterator[None]:
    """Let the kit serve the examples and recipes in a folder, and nothing else, until the block ends. The durable one
    is run by `tests/durable/test_examples.py`."""
    (folder / "workflows").mkdir()
    for file in [*(ROOM / "first_steps").glob("*.py"), *(ROOM / "recipes").glob("*.py")]:
        if "durable=True" not in file.read_text("utf-8"):
            shutil.copy(file, folder / "workflows")
    (folder / "postern.toml").write_text(TOML, "utf-8")
    SESSION.stop()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        try:
            patch.setattr(TestVault, "read", _read)
            yield
        finally:
            SESSION.stop()
