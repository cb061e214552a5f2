"""Runs one command in a folder that is its whole file system, in its own namespaces: the isolation of a container
without a container engine. It is a separate process, because a process that has made namespaces cannot make others.

    python -m deploy.container.inside '{"root": "/some/root", "argv": ["sh", "-c", "id"], ...}'

Sources: man pages unshare(2), mount(2), pid_namespaces(7), capabilities(7), prctl(2).
"""

import ctypes
import json
import os
import signal
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWPID = 0x20000, 0x4000000, 0x8000000, 0x20000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND = 1, 2, 4, 8, 32, 4096
MS_REC, MS_PRIVATE = 16384, 1 << 18
PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 24, 38
KEPT_FLAGS = MS_NOSUID | MS_NODEV | MS_NOEXEC | 1024 | 2048
"""Flags of a mount that a user namespace may not remove. The flags of statvfs have the same numbers."""

DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
LAST_CAPABILITY = Path("/proc/sys/kernel/cap_last_cap")

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Inside:
    """A command and its isolation. `binds` are (path of the host, path in the root, read-only); the paths must exist.
    `sealed` is how an image runs: a read-only tree, an empty /tmp, no capabilities and no way to get any."""

    root: str
    argv: list[str]
    environment: dict[str, str]
    folder: str
    user: tuple[int, int]
    binds: list[tuple[str, str, bool]]
    sealed: bool

    def command(self) -> list[str]:
        """The command line that runs this."""
        return [sys.executable, "-m", "deploy.container.inside", json.dumps(asdict(self))]


def main() -> None:
    """Run the command that the argument describes. The exit code is the command's; after a signal it is 128 plus the
    signal's number."""
    inside = Inside(**json.loads(sys.argv[1]))
    try:
        _call("unshare", CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID)
    except OSError as error:
        sys.exit(f"this machine does not permit namespaces ({error.strerror}): run it as root")
    child = os.fork()
    if child == 0:
        try:
            _enter(inside)
            os.execvpe(inside.argv[0], inside.argv, inside.environment)
        except OSError as error:
            sys.stderr.write(f"{inside.argv[0]}: {error}\n")
        os._exit(127)

    def pass_on(number: int, _: FrameType | None) -> None:
        os.kill(child, number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, pass_on)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    sys.exit(code if code >= 0 else 128 - code)


def _enter(inside: Inside) -> None:
    _mount("none", "/", "", MS_REC | MS_PRIVATE)
    root = Path(inside.root)
    last_capability = int(LAST_CAPABILITY.read_text("ascii"))
    flags = os.statvfs(root).f_flag & KEPT_FLAGS
    _mount(root, root, "", MS_BIND)
    _mount("proc", root / "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    _devices(root / "dev", sealed=inside.sealed)
    for source, place, read_only in inside.binds:
        _bind(Path(source), root / place.lstrip("/"), read_only=read_only)
    if inside.sealed:
        _mount("tmpfs", root / "tmp", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=1777")
        _mount("none", root / "dev", "", MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NOEXEC)
        _mount("none", root, "", MS_REMOUNT | MS_BIND | MS_RDONLY | flags)
    os.chroot(root)
    os.chdir(inside.folder)
    os.umask(0o022)
    if inside.sealed:
        for capability in range(last_capability + 1):
            _call("prctl", PR_CAPBSET_DROP, capability, 0, 0, 0)
    uid, gid = inside.user
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)  # changing from 0 drops every capability
    if inside.sealed:
        _call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _devices(place: Path, *, sealed: bool) -> None:
    """Bind some of the host's devices. A sealed command gets no /dev/shm, so that it can write only to /tmp."""
    _mount("tmpfs", place, "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=755")
    for name in DEVICES:
        (place / name).touch()
        _mount(Path("/dev", name), place / name, "", MS_BIND)
    for name, to in {"fd": "", "stdin": "/0", "stdout": "/1", "stderr": "/2"}.items():
        (place / name).symlink_to(f"/proc/self/fd{to}")
    if not sealed:
        (place / "shm").mkdir()
        _mount("tmpfs", place / "shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")


def _bind(source: Path, place: Path, *, read_only: bool) -> None:
    if not place.exists():  # below /dev, which is new
        (place if source.is_dir() else place.parent).mkdir(parents=True, exist_ok=True)
        if not source.is_dir():
            place.touch()
    _mount(source, place, "", MS_BIND | MS_REC)
    if read_only:
        flags = os.statvfs(place).f_flag & KEPT_FLAGS
        _mount("none", place, "", MS_REMOUNT | MS_BIND | MS_RDONLY | flags)


def _mount(source: Path | str, place: Path | str, kind: str, flags: int, options: str = "") -> None:
    arguments = [str(text).encode() for text in (source, place, kind)]
    _call("mount", *arguments, ctypes.c_ulong(flags), options.encode(), about=f" {source} at {place}")


def _call(name: str, *arguments: object, about: str = "") -> None:
    """Call a function of the C library that returns 0 on success. Raises OSError."""
    if getattr(_libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}{about}: {os.strerror(number)}")


if __name__ == "__main__":
    main()
