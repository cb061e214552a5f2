"""The state folder: files that only their owner can read. They are written so that no reader sees an incomplete one."""

import fcntl
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from postern.errors import UserFault
from postern.local_tenant.directory import TENANT_ID
from postern.local_tenant.ownership import fault_of_folder
from postern.own_folder import make_folder

HOST = "127.0.0.1"
STATE_FILE = "state.json"
LOCK_FILE = "lock"
CA_FILE = "ca.pem"
SERVER_FILE = "server.pem"
SERVER_KEY_FILE = "server-key.pem"


class TenantFault(UserFault):
    """The state folder cannot be used. The message says how to fix it."""


@dataclass(frozen=True, slots=True)
class State:
    """The content of `state.json`, which other commands and outside checks read. `server_url` is the Postern that is
    served beside the tenant, empty until there was one. `sign_in_url` is the address of the pages where people sign in,
    empty until the tenant was served."""

    authority: str
    key_vault_url: str
    tenant_id: str = TENANT_ID
    server_url: str = ""
    sign_in_url: str = ""


def has_certificates(folder: Path) -> bool:
    """Whether the server's certificate and its authority are there. They may have expired."""
    return all((folder / name).exists() for name in (CA_FILE, SERVER_FILE, SERVER_KEY_FILE))


def state_at(port: int, server_url: str = "", sign_in_port: int = 0) -> State:
    """The state of a tenant that listens on `port`, always on loopback. All parts have the same address but the pages
    for people: browsers do not trust the tenant's certificate, so those are served over http."""
    address = f"https://{HOST}:{port}"
    pages = f"http://{HOST}:{sign_in_port}" if sign_in_port else ""
    return State(authority=address, key_vault_url=address, server_url=server_url, sign_in_url=pages)


def read_state(folder: Path) -> State:
    """The last written state. Raises TenantFault if this module did not write the file."""
    path = folder / STATE_FILE
    try:
        document = json.loads(path.read_bytes())
        authority, server_url = document["authority"], document["server_url"]
        pages = document.get("sign_in_url", "")  # release 0.1 had none
        port, sign_in_port = urlsplit(authority).port or 0, urlsplit(pages).port or 0
        expected = state_at(port, server_url, sign_in_port)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise TenantFault(f"{path} cannot be read: delete it; it is made again at the next start") from error
    if authority != expected.authority or not isinstance(server_url, str) or not port:
        raise TenantFault(
            f"{path}: the authority has to be https://{HOST}:PORT; delete the file, it is made again at the next start"
        )
    if pages != expected.sign_in_url:
        raise TenantFault(f"{path}: sign_in_url has to be http://{HOST}:PORT; delete the file, it is made again")
    return expected


def write_state(folder: Path, state: State) -> None:
    """Write `state.json` in one step."""
    write_file(folder / STATE_FILE, _document(state))


def create_state(folder: Path, make: Callable[[], State]) -> None:
    """Write the first `state.json`, unless there is one."""
    create_file(folder / STATE_FILE, lambda: _document(make()))


def prepare_folder(folder: Path) -> None:
    """Make the folder for its owner only. A folder in which another user can put keys is rejected."""
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
    if not folder.is_dir():
        raise TenantFault(f"{folder} is not a folder: choose another one for the local tenant")
    if fault := fault_of_folder(folder):
        raise TenantFault(f"{fault}. The local tenant keeps its keys in {folder}")
    make_folder(folder, ["*"])


@contextmanager
def hold_folder(folder: Path) -> Iterator[None]:
    """Keep other processes from serving this folder's tenant. The lock ends with the process, even if it is killed.
    Raises TenantFault if another process has it: two servers would overwrite each other's address."""
    descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            # Unlike flock's, this lock is not inherited by the processes that a workflow forks.
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(descriptor, 20).decode("ascii", "replace").strip() or "unknown"
            url = read_state(folder).server_url
            where = f" at {url}" if url else ""
            raise TenantFault(
                f"a server with the local tenant of {folder} is running{where} (process {holder}). Use that one, or "
                "end it first. Two servers in one folder would overwrite each other's local tenant: start another one "
                "in another folder."
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def write_file(path: Path, content: bytes) -> None:
    """Replace the file in one step. Its mode is 0600."""
    with _temporary(path, content) as temporary:
        temporary.replace(path)


def create_file(path: Path, make: Callable[[], bytes]) -> bytes:
    """The content of the file, which is made first if there is none. If several processes make it at once, one wins,
    and all get its content."""
    if not path.exists():
        # Unlike a rename, a link fails where another process was faster.
        with _temporary(path, make()) as temporary, suppress(FileExistsError):
            path.hardlink_to(temporary)
    return path.read_bytes()


@contextmanager
def _temporary(path: Path, content: bytes) -> Iterator[Path]:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp makes files of mode 0600
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _document(state: State) -> bytes:
    return json.dumps(asdict(state), indent=2).encode() + b"\n"
