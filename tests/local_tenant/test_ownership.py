"""Which owners and modes let another user put keys in the local tenant's folder."""

import os
import stat

from postern.local_tenant.ownership import Kind, fault_of
from tests.table import table

ME, OTHER, ROOT = 1000, 1001, 0
FOLDER, FILE, LINK, PIPE = stat.S_IFDIR, stat.S_IFREG, stat.S_IFLNK, stat.S_IFIFO


@table(
    ("kind", "owner", "mode", "private_group", "expected"),
    [
        ("folder", ME, FOLDER | 0o700, False, ""),
        ("folder", ME, FOLDER | 0o755, False, ""),
        ("folder", OTHER, FOLDER | 0o700, False, "another user"),
        ("folder", ROOT, FOLDER | 0o700, False, "another user"),
        ("folder", ME, FOLDER | 0o770, False, "chmod 700"),
        ("folder", ME, FOLDER | 0o770, True, ""),
        ("folder", ME, FOLDER | 0o707, True, "chmod 700"),
        ("folder", ME, FOLDER | 0o1777, False, "chmod 700"),
        ("above", ME, FOLDER | 0o755, False, ""),
        ("above", ROOT, FOLDER | 0o755, False, ""),
        ("above", OTHER, FOLDER | 0o755, False, "another user"),
        ("above", OTHER, FOLDER | 0o1777, False, "another user"),
        ("above", ROOT, FOLDER | 0o1777, False, ""),
        ("above", ROOT, FOLDER | 0o777, False, "chmod go-w"),
        ("above", ME, FOLDER | 0o775, False, "chmod go-w"),
        ("above", ME, FOLDER | 0o775, True, ""),
        ("file", ME, FILE | 0o600, False, ""),
        ("file", ROOT, FILE | 0o644, False, ""),
        ("file", OTHER, FILE | 0o600, False, "another user"),
        ("file", ME, FILE | 0o620, False, "chmod 600"),
        ("file", ME, FILE | 0o602, True, "chmod 600"),
        ("file", ME, LINK | 0o777, False, "not a plain file"),
        ("file", ME, PIPE | 0o600, False, "not a plain file"),
    ],
)
def test_owners_and_modes(kind: Kind, owner: int, mode: int, private_group: bool, expected: str) -> None:
    """The rules of sshd's StrictModes."""
    found = os.stat_result((mode, 1, 1, 1, owner, 100, 0, 0, 0, 0))
    fault = fault_of(found, kind, ME, private_group=private_group)
    assert (expected in fault) if expected else fault == ""
