"""Whether a folder can hold keys: nobody but its user, and root, can put other ones there.

The rules are those of OpenSSH for its own files (`StrictModes` of sshd_config): the folder, its files and all folders
above it belong to this user or to root, and others cannot write there. A folder above may be writable for others with
the sticky bit, as /tmp is: they cannot rename what is not theirs. A group of which the user is the only member counts
as the user, because some systems make such groups the default.
"""

import os
import pwd
import stat
from collections.abc import Iterator
from grp import getgrgid
from pathlib import Path
from typing import Literal

ROOT = 0

Kind = Literal["folder", "above", "file"]


def fault_of_folder(folder: Path) -> str:
    """What lets another user change the content of an existing folder, with the fix, "" if nothing does."""
    user = os.geteuid()
    for path, kind in _concerned(folder):
        try:
            found = path.lstat()
        except FileNotFoundError:  # a temporary file of another process
            continue
        private = bool(found.st_mode & stat.S_IWGRP) and _is_private(found.st_gid, user)
        if fault := fault_of(found, kind, user, private_group=private):
            return f"{path} {fault.format(path=path)}"
    return ""


def fault_of(found: os.stat_result, kind: Kind, user: int, *, private_group: bool) -> str:
    """The fault of one file or folder, with `{path}` for its name. Pure. `private_group`: the group has no member but
    this user."""
    owners = (user,) if kind == "folder" else (user, ROOT)
    if found.st_uid not in owners:
        return (
            f"belongs to another user (uid {found.st_uid}, this process has {user}), who could put own keys there: run "
            "this as that user, or in a folder of your own"
        )
    if kind == "file" and not stat.S_ISREG(found.st_mode):
        return "is not a plain file: delete it"
    if kind == "above" and found.st_mode & stat.S_ISVTX:
        return ""
    writable = found.st_mode & (stat.S_IWOTH if private_group else stat.S_IWOTH | stat.S_IWGRP)
    if not writable:
        return ""
    return "can be written by others: run  chmod " + {"above": "go-w", "file": "600", "folder": "700"}[kind] + " {path}"


def _concerned(folder: Path) -> Iterator[tuple[Path, Kind]]:
    """The folder, what is in it, and the folders above it: those of its name, and those that links in it lead to."""
    real = folder.resolve()
    yield real, "folder"
    for above in {*real.parents, *(parent.resolve() for parent in folder.absolute().parents)}:
        yield above, "above"
    for child in sorted(real.iterdir()):
        if child.is_symlink() or not child.is_dir():
            yield child, "file"


def _is_private(group: int, user: int) -> bool:
    if group == ROOT:
        return True
    try:
        name = pwd.getpwuid(user).pw_name
        return set(getgrgid(group).gr_mem) <= {name} and [
            each.pw_name for each in pwd.getpwall() if each.pw_gid == group
        ] == [name]
    except KeyError:  # a container's user has no name
        return False
