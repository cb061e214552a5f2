"""Replaces the base image without a container engine: copies this machine's own Python, with the libraries and the few
tools that it needs, into an empty folder. It also finds the package sources of this machine's pip.

The layout is that of `python:3.11-slim-bookworm`: Python in /usr/local, no compiled modules, no tests.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
"""The variables of the base image."""

TOOLS = ("sh", "cat", "chmod", "chown", "cp", "env", "find", "id", "install", "ln", "ls", "mkdir", "mv", "rm", "touch")
"""The tools that RUN lines may use: dash, coreutils and findutils, of Debian's own set."""

INSTALLERS = ("pip", "setuptools", "wheel")
"""The packages that the base image has besides the standard library, copied if this Python has them."""

LIBRARIES = (
    *("libdl.so.2", "libm.so.6", "libpthread.so.0", "libresolv.so.2", "librt.so.1", "libutil.so.1", "libnss_dns.so.2"),
    *("libgcc_s.so.1", "libstdc++.so.6"),
)
"""The libraries that the base image has for packages: the rest of the C library, and the runtime of C++."""

SOURCES_OF_PACKAGES = re.compile(
    r"PIP_(INDEX_URL|EXTRA_INDEX_URL|FIND_LINKS|NO_INDEX|CERT|CLIENT_CERT|TRUSTED_HOST|PROXY|DEFAULT_TIMEOUT|RETRIES"
    r"|DISABLE_PIP_VERSION_CHECK)|(https?|no|all)_proxy|SSL_CERT_(FILE|DIR)|REQUESTS_CA_BUNDLE",
    re.IGNORECASE,
)
"""Variables that set the sources of packages and how to reach them."""

_LEFT_OUT = (
    *("site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__", "config-*", "_tkinter*"),
    *("EXTERNALLY-MANAGED", "sitecustomize.py"),  # of Debian's own Python
)
_FOLDERS = "etc/ssl/certs opt proc dev root run srv sys tmp usr/bin usr/sbin usr/lib usr/lib64 usr/local/bin var"
_ACCOUNTS = {
    "passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    "group": "root:x:0:\nnogroup:x:65534:\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    "hosts": "",
    "resolv.conf": "",
}


class NoMeans(Exception):
    """This machine lacks something that is needed. The message names it."""


def make_base(root: Path, image: str) -> None:
    """Make the replacement of `image` in the new folder `root`. Raises NoMeans if this Python cannot replace it."""
    version = "{}.{}".format(*sys.version_info)
    if not re.search(rf"(^|/)python:{re.escape(version)}(?![0-9])", image):
        raise NoMeans(f"Python {version} of this machine cannot replace {image}")
    for folder in _FOLDERS.split():
        (root / folder).mkdir(parents=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    (root / "tmp").chmod(0o1777)
    for name, text in _ACCOUNTS.items():
        (root / "etc" / name).write_text(text, "ascii")
    authorities = Path("/etc/ssl/certs/ca-certificates.crt")
    if authorities.exists():
        shutil.copy(authorities, root / "etc/ssl/certs")
    binaries = [_tool(root, name) for name in TOOLS] + _python(root, version)
    for library in _libraries(binaries):
        _library(root, library)


def build_environment() -> dict[str, str]:
    """The variables of this machine that a RUN line gets besides the image's. They are not stored in the image."""
    return {name: value for name, value in os.environ.items() if SOURCES_OF_PACKAGES.fullmatch(name)}


def build_binds() -> list[tuple[str, str, bool]]:
    """The files of this machine that a RUN line sees read-only: name resolution, pip's configuration, and the folders
    and certificates that the configuration and the variables name."""
    config = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser()
    files = {
        Path("/etc/resolv.conf"): "/etc/resolv.conf",
        Path("/etc/hosts"): "/etc/hosts",
        Path("/etc/xdg/pip/pip.conf"): "/etc/xdg/pip/pip.conf",
        Path("/etc/pip.conf"): "/etc/pip.conf",
        Path("~/.pip/pip.conf").expanduser(): "/root/.pip/pip.conf",
        config / "pip/pip.conf": "/root/.config/pip/pip.conf",
        Path(sys.prefix, "pip.conf"): "/usr/local/pip.conf",
    }
    there = {path: place for path, place in files.items() if path.is_file()}
    texts = [path.read_text("utf-8") for path in there if path.name == "pip.conf"] + [*build_environment().values()]
    mentioned = {path: str(path) for path in _mentioned(" ".join(texts))}
    return [(str(path), place, True) for path, place in (mentioned | there).items()]


def pip_cache() -> Path:
    """The download cache of this machine's pip, which checks every hash again."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    folder = Path(os.environ.get("PIP_CACHE_DIR") or caches / "pip")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _mentioned(text: str) -> set[Path]:
    """The folders and files that a text names by absolute path. For a package index in a folder, which ends with
    /simple, it is the parent folder, because the index's pages link to files there."""
    words = (word.removeprefix("file://") for word in re.split(r"[\s=,]+", text))
    paths = {Path(word) for word in words if word.startswith("/") and Path(word).exists()}
    return {path.parent if path.name == "simple" else path for path in paths}


def _tool(root: Path, name: str) -> Path:
    found = shutil.which(name)
    if found is None:
        raise NoMeans(f"the tool {name} is not on the PATH")
    shutil.copy(Path(found).resolve(), root / "usr/bin" / name)
    return Path(found).resolve()


def _python(root: Path, version: str) -> list[Path]:
    """Copy the interpreter and its library, and return their files that need shared libraries."""
    interpreter, library = Path(sys.executable).resolve(), Path(sysconfig.get_path("stdlib"))
    binary = root / f"usr/local/bin/python{version}"
    shutil.copy(interpreter, binary)
    for name in ("python", "python3"):
        binary.with_name(name).symlink_to(binary.name)
    home = root / f"usr/local/lib/python{version}"
    shutil.copytree(library, home, ignore=shutil.ignore_patterns(*_LEFT_OUT), symlinks=True)
    packages = _packages(interpreter, root)
    for name in INSTALLERS:
        _installer(packages, name)
    return [interpreter, *home.glob("lib-dynload/*.so")]


def _packages(interpreter: Path, root: Path) -> Path:
    """The folder in `root` where this interpreter's pip installs packages: Debian's own Python has another one."""
    program = "import site; print(site.getsitepackages(['/usr/local'])[0])"
    command = [str(interpreter), "-I", "-c", program]
    folder = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    return root / folder.lstrip("/")


def _installer(place: Path, name: str) -> None:
    try:
        found = distribution(name)
    except PackageNotFoundError:
        if name == "pip":
            raise NoMeans("this Python has no pip: python -m ensurepip installs it") from None
        return
    for file in found.files or ():
        if ".." not in file.parts and "__pycache__" not in file.parts:
            target = place / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(Path(str(file.locate())), target)


def _libraries(binaries: list[Path]) -> set[Path]:
    """The shared libraries that the binaries need, the loader included."""
    linked = _output("ldd", *map(str, binaries))
    known = _output(shutil.which("ldconfig") or "/sbin/ldconfig", "-p")
    more = [re.search(rf"^\s+{re.escape(name)} .*=> (\S+)$", known, re.MULTILINE) for name in LIBRARIES]
    used = re.findall(r"^\s+(?:\S+ => )?(/\S+) \(0x", linked, re.MULTILINE)
    return {Path(path) for path in [*used, *(found[1] for found in more if found)]}


def _library(root: Path, library: Path) -> None:
    """Copy a library to its path on this machine, or beside the C library, where the loader finds it."""
    at_home = library.parts[1] in ("lib", "lib64") or library.parts[1:3] in (("usr", "lib"), ("usr", "lib64"))
    place = root / (str(library.parent).lstrip("/") if at_home else f"usr/lib/{sysconfig.get_config_var('MULTIARCH')}")
    place.mkdir(parents=True, exist_ok=True)
    shutil.copy(library.resolve(), place / library.name)


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout
